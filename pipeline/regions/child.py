"""A process that joins tiles, one result after another: `python -I -m pipeline.regions.child`.

It may open no file and no connection: its parent sends it the tiles and receives the results (see
pipeline.regions.protocol). Tiles are not trusted, because a malicious source may have taken over the process that made
them.
"""

from __future__ import annotations

import sys

from pipeline.regions.protocol import JOBS, LENGTH, REPORTS, STARTS, Failed, Made
from pipeline.sandbox import child
from pipeline.sandbox import confine as sandbox

NICENESS = 5
"""Less than that of a child that tiles: somebody waits for the result."""

LOG_BYTES = 1 << 20
"""Most bytes of a file that is written: the log is the only one."""


def main() -> None:
    """Answer jobs until the parent closes standard input, which ends the process."""
    start = STARTS.decode(child.first_line())
    # Load what is needed before the process is confined.
    from PIL import Image  # noqa: PLC0415

    from pipeline.regions.joining import BrokenTile, Tiles, load, make  # noqa: PLC0415

    load(Image)
    sandbox.confine(sandbox.Allowance(memory=start.memory, file=LOG_BYTES, niceness=NICENESS))
    child.watch_life_line()
    while True:
        job = JOBS.decode(_receive())
        tiles = Tiles(job, _receive)
        try:
            result = make(job, tiles)
        except BrokenTile as error:
            tiles.skip()
            _send(REPORTS.encode(Failed(child.origin(error)[:500])))
        except MemoryError:
            raise
        except Exception as error:
            sys.stderr.write(f"{child.origin(error)}\n")
            raise SystemExit(1) from error
        else:
            _send(REPORTS.encode(Made()))
            _send(result)


def _receive() -> bytes:
    (length,) = LENGTH.unpack(child.receive(LENGTH.size))
    return child.receive(length)


def _send(data: bytes | memoryview) -> None:
    child.say(LENGTH.pack(len(data)))
    child.say(data)


if __name__ == "__main__":
    main()
