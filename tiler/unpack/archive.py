"""Find the image in an archive, and unpack it. The names in an archive are texts to compare, never paths.

Sources: PKWARE's APPNOTE 6.3.10 (ZIP), read by Python's zipfile; RFC 1952 (gzip).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from pipeline.errors import StageError
from pipeline.formats.kinds import HEAD, kind_of
from pipeline.formats.signatures import GZIP, archive_kind, image_kind, other_kind
from pipeline.texts import amount, sentence

MOST_DIRECTORY = 8 << 20
"""Most bytes of a ZIP archive's directory. Python needs about 20 times as much memory for it."""

MOST_FILES = 10_000
"""Most files whose first bytes are looked at: a tenth of a millisecond each."""

MOST_RATIO = 250
"""Most bytes that are unpacked for each byte of the archive. Deflate reaches 1,032, for nothing but zeros."""

FREE_BYTES = 256 << 20
"""Bytes that any archive may unpack to: a blank image of this size is 256 kB."""

LISTED, LISTED_NAME = 6, 60
"""Most names in a message, and most characters of each."""

PIECE = 1 << 20

_DOCUMENTS = {"[Content_Types].xml", "mimetype"}
"""Files that mark an archive as an Office document, an e-book or a drawing."""

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_GZIP_HEAD, _GZIP_EXTRA, _GZIP_NAMED = 10, 0x4, 0x8


class Found(NamedTuple):
    """The image in an archive.

    Parameters
    ----------
    name: in the archive; empty in a gzip file.
    label: names it in messages, such as "earth.tif in the ZIP archive".
    pieces: its bytes.
    """

    name: str
    label: str
    pieces: Iterator[bytes]


def open_image(archive: BinaryIO, member: str) -> Found:
    """Find the one image of an archive, or the one that is asked for.

    Parameters
    ----------
    member: name of a file in a ZIP archive; empty if there is only one image.

    Raises
    ------
    StageError: member_not_found, not_an_image, unsupported_format, image_corrupt, image_truncated, image_too_large.
    """
    kind = archive_kind(archive.read(4))
    archive.seek(0)
    if kind == "gzip":
        if member:
            raise StageError("member_not_found", "The file is a gzip file, which has one content: leave out `member`.")
        label = _gzip_label(archive)
        return Found("", label, _image_of(_guarded(_gunzipped(archive), label), label))
    try:
        found = zipfile.ZipFile(_Bounded(archive))
        info = _chosen(found, member)
        label = f"{_shown(info.filename)} in the ZIP archive"
        return Found(info.filename, label, _image_of(_guarded(_read(found, info), label), label))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise _damaged("The ZIP archive", error) from error


def write(found: Found, target: BinaryIO, archive_bytes: int, most: int) -> int:
    """Write an image to a file and return its length.

    Parameters
    ----------
    archive_bytes: of the archive.
    most: bytes that any source may have.

    Raises
    ------
    StageError: as `open_image`.
    """
    limit = most_unpacked(archive_bytes)
    done = 0
    for piece in found.pieces:
        done += len(piece)
        if done > limit:
            raise StageError(
                "image_too_large",
                f"{found.label} ({amount(archive_bytes)}) unpacks to more than {amount(limit)}; above "
                f"{amount(FREE_BYTES)} the limit is {MOST_RATIO} bytes for each byte. Give the address of the image.",
            )
        if done > most:
            raise StageError(
                "image_too_large",
                f"{found.label} has more than {amount(most)}, the limit for a source (TILEWRIGHT_MAX_SOURCE_BYTES).",
            )
        target.write(piece)
    return done


def most_unpacked(archive_bytes: int) -> int:
    """Return the bytes that an archive may unpack to."""
    return max(FREE_BYTES, archive_bytes * MOST_RATIO)


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
    files = [info for info in archive.infolist() if not info.is_dir()]
    if member:
        chosen = next((info for info in files if info.filename == member), None)
        if chosen is None:
            raise _not_found(f"The ZIP archive has no file {_shown(member)}.", _images(archive, files[:MOST_FILES]))
        return _readable(chosen)
    if _DOCUMENTS & {info.filename for info in files}:
        raise StageError("unsupported_format", f"The file is an Office document or an e-book, not an image. {_ADVICE}")
    if len(files) > MOST_FILES:
        raise StageError(
            "member_not_found",
            f"The ZIP archive has {len(files):,} files. Choose one by `member`, its name in the archive.",
        )
    images = _images(archive, files)
    if len(images) > 1:
        raise _not_found(f"The ZIP archive has {len(images):,} images.", images)
    if images:
        return images[0]
    if hidden := next((info for info in files if info.flag_bits & _ENCRYPTED), None):
        return _readable(hidden)
    if nested := [info for info in files if archive_kind(_head(archive, info))]:
        raise StageError(
            "unsupported_format", f"The ZIP archive has another archive, {_shown(nested[0].filename)}, in it. {_ADVICE}"
        )
    raise StageError("not_an_image", f"The ZIP archive has no image among its {len(files):,} files. {_ADVICE}")


def _images(archive: zipfile.ZipFile, files: Sequence[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    return [info for info in files if _is_image(_head(archive, info))]


def _head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return a file's first bytes; none of a file that cannot be read."""
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
        return b""
    with archive.open(info) as file:
        return file.read(HEAD)


def _is_image(head: bytes) -> bool:
    return bool(image_kind(head)) or kind_of(head) == "svg"


def _readable(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    name = _shown(info.filename)
    if info.flag_bits & _ENCRYPTED:
        raise StageError("unsupported_format", f"{name} in the ZIP archive is encrypted. {_ADVICE}")
    if info.compress_type not in _METHODS:
        raise StageError(
            "unsupported_format",
            f"{name} in the ZIP archive is compressed by a method other than deflate ({info.compress_type}). {_ADVICE}",
        )
    return info


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(_readable(info)) as file:
        while piece := file.read(PIECE):  # at the end, zipfile checks the length and the checksum
            yield piece


def _gunzipped(archive: BinaryIO) -> Iterator[bytes]:
    """Yield the content of all members of a gzip file. As in gzip, what follows them is ignored."""
    unpacker = zlib.decompressobj(31)
    rest = b""
    while piece := rest or archive.read(PIECE):
        if unpacker.eof:
            if not piece.startswith(GZIP):
                return
            unpacker = zlib.decompressobj(31)
        yield unpacker.decompress(piece, PIECE)
        rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    yield unpacker.flush()
    if not unpacker.eof:
        raise EOFError


def _gzip_label(archive: BinaryIO) -> str:
    """Return what messages call the content of a gzip file: by the name in its header, if there is one."""
    head = archive.read(HEAD)
    archive.seek(0)
    at = _GZIP_HEAD
    if len(head) > at and head[3] & _GZIP_EXTRA:
        at += 2 + int.from_bytes(head[at : at + 2], "little")
    name = head[at : max(at, head.find(b"\0", at))] if len(head) > at and head[3] & _GZIP_NAMED else b""
    return f"{_shown(name.decode('latin-1'))} in the gzip file" if name else "The content of the gzip file"


def _guarded(pieces: Iterator[bytes], what: str) -> Iterator[bytes]:
    """Yield pieces; raises StageError in place of what unpackers raise."""
    try:
        yield from pieces
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise _damaged(what, error) from error


def _image_of(pieces: Iterator[bytes], what: str) -> Iterator[bytes]:
    """Yield pieces of an image; raises StageError if the first ones are of something else."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= HEAD:
            break
    if archive_kind(head) or (other_kind(head) and not image_kind(head)):
        inner = other_kind(head) or "another archive"
        raise StageError("unsupported_format", f"{what} is {inner}, not an image. {_ADVICE}")
    if not _is_image(head):
        raise StageError("not_an_image", f"{what} is no image. {_ADVICE}")
    yield head
    yield from pieces


def _not_found(what: str, images: Sequence[zipfile.ZipInfo]) -> StageError:
    listed = ", ".join(_shown(info.filename) for info in images[:LISTED])
    more = f" and {len(images) - LISTED:,} more" if len(images) > LISTED else ""
    which = f"Choose one by `member`: {listed}{more}." if images else "There is no image in it."
    return StageError("member_not_found", f"{what} {which}")


def _shown(name: str) -> str:
    return sentence(name, LISTED_NAME)


def _damaged(what: str, error: Exception) -> StageError:
    if isinstance(error, EOFError) or "not a zip file" in str(error):
        return StageError("image_truncated", f"{what} ends early. Upload the archive again at its source.")
    why = sentence(str(error), 100).rstrip(".") or type(error).__name__
    return StageError("image_corrupt", f"{what} is damaged ({why}). Pack it again, then retry.")


_ADVICE = "Give the address of the image itself."
