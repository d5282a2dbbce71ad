"""Write the image of an archive to a file."""

from __future__ import annotations

from typing import BinaryIO

from pipeline.errors import StageError
from pipeline.formats.archives import Member, most_unpacked, too_large
from pipeline.texts import amount


def write(found: Member, target: BinaryIO, archive_bytes: int, most: int) -> int:
    """Write an image to a file and return its length.

    Parameters
    ----------
    archive_bytes: of the archive.
    most: bytes that any source may have.

    Raises
    ------
    StageError: not_an_image, unsupported_format, image_corrupt, image_truncated, image_too_large.
    """
    limit = most_unpacked(archive_bytes)
    done = 0
    for piece in found.image():
        done += len(piece)
        if done > limit:
            raise too_large(found.label, archive_bytes)
        if done > most:
            raise StageError(
                "image_too_large",
                f"{found.label} has more than {amount(most)}, the limit for a source (TILEWRIGHT_MAX_SOURCE_BYTES).",
            )
        target.write(piece)
    return done
