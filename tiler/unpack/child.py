"""The process that unpacks the image of an archive: `python -I -m tiler.unpack.child`.

It is confined like the tiler's child. It loads a decoder only to join the tiles of a IIIF image.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import StageError
from pipeline.formats import admission, budget
from pipeline.formats.archives import beside, find, most_unpacked
from pipeline.formats.decoder_errors import DISK_FULL, MEMORY_FULL
from pipeline.formats.header import Header
from pipeline.formats.signatures import ARCHIVE_HEAD, archive_kind
from pipeline.formats.tile_sets import read_head
from pipeline.pyramids import Format
from pipeline.sandbox import child
from pipeline.sandbox import confine as sandbox
from pipeline.texts import amount
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
    with Path(job.source).open("rb") as archive:
        is_tiles = archive_kind(archive.read(ARCHIVE_HEAD)) == "tiles"
        archive.seek(0)
        return _reported(job, archive, _joined if is_tiles else _unpacked)


def _joined(job: Job, archive: BinaryIO) -> Unpacked:
    """Join the tiles of a IIIF image. The sizes that the head names are admitted before a decoder is loaded."""
    found = read_head(archive)
    size, header = os.fstat(archive.fileno()).st_size, Header("pnm", found.width, found.height, 1)
    admission.admit(header, 0, size, admission.Limits(job.max_pixels, job.pixels_per_byte))
    from tiler.unpack import joining  # noqa: PLC0415

    memory = joining.prepare(job.min_libvips)
    needed = joining.joined_bytes(found)
    if needed > job.most:
        raise StageError(
            "image_too_large",
            f"The joined image has {amount(needed)}; the limit for a source is {amount(job.most)} "
            "(TILEWRIGHT_MAX_SOURCE_BYTES).",
        )
    if job.room is not None and needed > job.room:
        raise StageError("out_of_disk", DISK_FULL)
    sandbox.confine(
        sandbox.Allowance(
            read=(Path(job.source),),
            write=(Path(job.folder),),
            memory=memory,
            cpu=budget.seconds(header.pixels, size, Format.PNG),
            file=needed,
        )
    )
    child.watch_life_line()
    with (Path(job.folder) / TARGET).open("xb", buffering=0) as target:
        return Unpacked("", joining.join(archive, found, target), joining.LABEL)


def _unpacked(job: Job, archive: BinaryIO) -> Unpacked:
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
    found = find(archive, job.member)
    with target.open("xb") as file:
        written = write(found, file, size, job.most)
    return Unpacked(found.name, written, found.label, *beside(archive, found.name))


def _reported(job: Job, archive: BinaryIO, work: Callable[[Job, BinaryIO], Unpacked]) -> Unpacked | Failed:
    try:
        return work(job, archive)
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
