"""The process that unpacks the image of an archive: `python -I -m tiler.unpack.child`.

It is confined like the tiler's child, and loads no decoder.
"""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats.archives import find, most_unpacked
from pipeline.formats.decoder_errors import DISK_FULL, MEMORY_FULL
from pipeline.sandbox import child
from pipeline.sandbox import confine as sandbox
from tiler.job import Failed
from tiler.unpack.image_file import write
from tiler.unpack.protocol import JOBS, REPORTS, TARGET, Job, Unpacked

MEMORY = 1 << 30
"""Bytes of address space: the directory of a ZIP archive may need a few hundred megabytes."""

FREE_SECONDS = 30
BYTE_SECONDS = 40e-9
"""Most CPU seconds, and further ones for each byte that may be unpacked: eight times the time measured."""


def main() -> None:
    """Do one job and end the process. The exit code is 0 if an outcome was reported, even a failure."""
    job = JOBS.decode(child.first_line())
    child.say(REPORTS.encode(_outcome(job)))
    child.end()


def _outcome(job: Job) -> Unpacked | Failed:
    source, target = Path(job.source), Path(job.folder) / TARGET
    size = source.stat().st_size
    sandbox.confine(
        sandbox.Allowance(
            read=(source,),
            write=(Path(job.folder),),
            memory=MEMORY,
            cpu=int(FREE_SECONDS + min(job.most, most_unpacked(size)) * BYTE_SECONDS),
            file=job.room,
        )
    )
    child.watch_life_line()
    try:
        with source.open("rb") as archive:
            found = find(archive, job.member)
            with target.open("xb") as file:
                return Unpacked(found.name, write(found, file, size, job.most), found.label)
    except StageError as error:
        return Failed(error.code, error.message)
    except MemoryError:
        return Failed("out_of_memory", MEMORY_FULL)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return Failed("out_of_disk", DISK_FULL)
        raise
    except Exception as error:  # noqa: BLE001  an archive that our own code does not expect fails in the same way next time
        with suppress(OSError):
            sys.stderr.write(f"decoder_crashed: {child.origin(error)}\n")
        return Failed("decoder_crashed", f"The archive could not be unpacked ({type(error).__name__}).")


if __name__ == "__main__":
    main()
