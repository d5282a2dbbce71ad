"""Find the image in a ZIP archive.

Source: PKWARE's APPNOTE 6.3.10, read by Python's zipfile.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from pipeline.errors import StageError
from pipeline.formats.archives.limits import MOST_DIRECTORY, MOST_FILES
from pipeline.formats.archives.member import ADVICE, ERRORS, Member, Withheld, damaged, guarded, is_image, shown
from pipeline.formats.kinds import HEAD
from pipeline.formats.side_files import MOST_AUX, SideFiles, names_beside
from pipeline.formats.signatures import archive_kind, packed_kind

LISTED = 6
"""Most names in a message."""

_DOCUMENTS = {"[Content_Types].xml", "mimetype"}
"""Files that mark an archive as an Office document, an e-book or a drawing."""

_BESIDE = (".msk", ".ovr")
"""Endings that GDAL adds to an image's name for its mask and its smaller versions. Both are TIFFs."""

_OTHERS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd"}
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_LOCAL_HEADER = struct.Struct("<26xHH")
"""Up to the lengths of the name and the extra field, which follow."""


def chosen(archive: BinaryIO, member: str, piece: int) -> Member:
    """Return the image of a ZIP archive; see pipeline.formats.archives.find.find."""
    try:
        found = zipfile.ZipFile(_Bounded(archive))
        info = _chosen(found, member)
        label = f"{shown(info.filename)} in the ZIP archive"
        stored_at = _stored_at(archive, info) if info.compress_type == zipfile.ZIP_STORED else None
        return Member(info.filename, label, guarded(_read(found, info, piece), label), info.file_size, stored_at)
    except ERRORS as error:
        raise damaged("The ZIP archive", error) from error


def beside(archive: BinaryIO, image: str) -> SideFiles:
    """Return the small files that say where an image of a ZIP archive lies; empty ones for those that are not there.

    Parameters
    ----------
    image: its name in the archive.
    """
    contents = dict.fromkeys(SideFiles._fields, "")
    try:
        found = zipfile.ZipFile(_Bounded(archive))
        by_name = {info.filename.lower(): info for info in found.infolist() if _is_readable(info)}
        for field, names in names_beside(image).items():
            info = next((by_name[name] for name in names if name in by_name), None)
            if info is not None:
                contents[field] = _text(found, info)
    except (*ERRORS, StageError, Withheld):
        pass  # The image itself is sound.
    return SideFiles(**contents)


def _text(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """Return the text of a small file; none if it is too large."""
    with archive.open(info) as file:
        data = file.read(MOST_AUX + 1)
    return data.decode("utf-8-sig", errors="replace") if len(data) <= MOST_AUX else ""


class _Bounded(io.BufferedIOBase):
    """A file of which nothing is read that is as large as only a hostile directory is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int | None = -1, /) -> bytes:
        most = MOST_DIRECTORY + 1 if size is None or size < 0 else size
        data = self._file.read(most) if most <= MOST_DIRECTORY + 1 else b""
        if most > MOST_DIRECTORY + 1 or len(data) > MOST_DIRECTORY:
            raise StageError("image_too_large", "The ZIP archive lists more files than are looked at. Pack fewer.")
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def _chosen(archive: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    # Of files with one name, the last is meant: it was added in place of the others.
    files = list({info.filename: info for info in archive.infolist() if not info.is_dir()}.values())
    if member:
        named = next((info for info in files if info.filename == member), None)
        if named is None:
            what = f"The ZIP archive has no file {shown(member)}."
            raise _not_found(what, _images(archive, files[:MOST_FILES]))
        return _readable(named)
    if _DOCUMENTS & {info.filename for info in files}:
        raise StageError("unsupported_format", f"The file is an Office document or an e-book, not an image. {ADVICE}")
    if len(files) > MOST_FILES:
        raise StageError(
            "member_not_found",
            f"The ZIP archive has {len(files):,} files. Choose one by `member`, its name in the archive.",
        )
    found = _images(archive, files)
    if len(found.images) > 1:
        count = f"{len(found.images)}" if found.is_all else "several"
        raise _not_found(f"The ZIP archive has {count} images.", found)
    if found.images:
        return found.images[0]
    if hidden := next((info for info in files if not _is_readable(info)), None):
        return _readable(hidden)
    if nested := [info for info in files if archive_kind(head := _head(archive, info)) or packed_kind(head)]:
        raise StageError(
            "unsupported_format", f"The ZIP archive has another archive, {shown(nested[0].filename)}, in it. {ADVICE}"
        )
    raise StageError("not_an_image", f"The ZIP archive has no image among its {len(files):,} files. {ADVICE}")


class _Images(NamedTuple):
    """Images of an archive in its order, and whether there are no others."""

    images: list[zipfile.ZipInfo]
    is_all: bool


def _images(archive: zipfile.ZipFile, files: Sequence[zipfile.ZipInfo]) -> _Images:
    """Return the images, as many as are listed. Raises Withheld, unless two are known, since two are too many.

    Files that belong to an image are none.
    """
    names = {info.filename for info in files}
    images: list[zipfile.ZipInfo] = []
    for info in files:
        if info.filename.lower().endswith(_BESIDE) and info.filename[:-4] in names:
            continue
        try:
            if not is_image(_head(archive, info)):
                continue
        except Withheld:
            if len(images) < 2:
                raise
            return _Images(images, is_all=False)
        if len(images) == LISTED:
            return _Images(images, is_all=False)
        images.append(info)
    return _Images(images, is_all=True)


def _head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return a file's first bytes; none of a file that cannot be read."""
    if not _is_readable(info):
        return b""
    with archive.open(info) as file:
        return file.read(HEAD)


def _is_readable(info: zipfile.ZipInfo) -> bool:
    return not info.flag_bits & _ENCRYPTED and info.compress_type in _METHODS


def _readable(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    name = shown(info.filename)
    if info.flag_bits & _ENCRYPTED:
        raise StageError("unsupported_format", f"{name} in the ZIP archive is encrypted. {ADVICE}")
    if info.compress_type not in _METHODS:
        raise StageError(
            "unsupported_format",
            f"{name} in the ZIP archive is compressed by {_OTHERS.get(info.compress_type, 'an unknown method')} "
            f"(method {info.compress_type}). Only stored and deflated files are read. {ADVICE}",
        )
    return info


def _stored_at(archive: BinaryIO, info: zipfile.ZipInfo) -> int | None:
    """Return where a file's bytes begin; None if they cannot: `_read` then says what is wrong."""
    archive.seek(info.header_offset)
    head = archive.read(_LOCAL_HEADER.size)
    if len(head) < _LOCAL_HEADER.size or info.compress_size != info.file_size:
        return None
    name, extra = _LOCAL_HEADER.unpack(head)
    return int(info.header_offset + _LOCAL_HEADER.size + name + extra)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> Iterator[bytes]:
    with archive.open(_readable(info)) as file:
        while piece := file.read(size):  # at the end, zipfile checks the length and the checksum
            yield piece


def _not_found(what: str, found: _Images) -> StageError:
    listed = ", ".join(shown(info.filename) for info in found.images)
    more = "" if found.is_all else " and more"
    which = f"Choose one by `member`: {listed}{more}." if found.images else "There is no image in it."
    return StageError("member_not_found", f"{what} {which}")
