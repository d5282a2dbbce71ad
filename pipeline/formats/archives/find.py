"""Find the image in an archive of either kind."""

from __future__ import annotations

from typing import BinaryIO

from pipeline.errors import StageError
from pipeline.formats.archives import gzips, zips
from pipeline.formats.archives.member import Member
from pipeline.formats.side_files import SideFiles
from pipeline.formats.signatures import archive_kind

PIECE = 1 << 20

NO_ARCHIVE = "The file is no archive: leave out `member`."


def find(archive: BinaryIO, member: str, piece: int = PIECE) -> Member:
    """Find the one image of an archive, or the one that is asked for.

    Parameters
    ----------
    archive: an archive by its first bytes (pipeline.formats.signatures.archive_kind).
    member: name of a file in a ZIP archive; empty if there is only one image.
    piece: bytes to read at once.

    Raises
    ------
    StageError: member_not_found, not_an_image, unsupported_format, image_corrupt, image_truncated, image_too_large.
    Withheld: if `archive.read` does.
    """
    archive.seek(0)
    kind = archive_kind(archive.read(4))
    archive.seek(0)
    if kind == "zip":
        return zips.chosen(archive, member, piece)
    if member:
        raise StageError("member_not_found", "The file is a gzip file, which has one content: leave out `member`.")
    return gzips.content(archive, piece)


def beside(archive: BinaryIO, image: str) -> SideFiles:
    """Return the small files beside an image of a ZIP archive; none of a gzip file, where `image` is empty."""
    archive.seek(0)
    return zips.beside(archive, image) if image else SideFiles()
