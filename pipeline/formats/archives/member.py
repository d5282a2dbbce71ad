"""The image in an archive, and what is wrong with it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.errors import StageError
from pipeline.formats.kinds import HEAD, kind_of
from pipeline.formats.signatures import archive_kind, image_kind, other_kind
from pipeline.texts import sentence

LISTED_NAME = 60
"""Most characters of a name in a message."""

ADVICE = "Give the address of the image itself."

ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)
"""What unpackers raise if an archive is damaged."""


class Withheld(Exception):
    """Raised if a part of an archive that is needed is not at hand."""


class Member(NamedTuple):
    """The image in an archive.

    Parameters
    ----------
    name: in the archive; empty in a gzip file.
    label: names it in messages, such as "earth.tif in the ZIP archive".
    pieces: its bytes. Reading them raises StageError if the archive is damaged.
    length: in bytes, as the archive states it; None in a gzip file.
    stored_at: offset of its bytes in the archive if they are not compressed; else None.
    """

    name: str
    label: str
    pieces: Iterator[bytes]
    length: int | None = None
    stored_at: int | None = None

    def image(self) -> Iterator[bytes]:
        """Yield its bytes; raises StageError if they are no image, or the archive is damaged."""
        head = b""
        for piece in self.pieces:
            head += piece
            if len(head) >= HEAD:
                break
        self.require_image(head)
        yield head
        yield from self.pieces

    def require_image(self, head: bytes) -> None:
        """Raise StageError unless its first bytes, at least HEAD, are those of an image."""
        if archive_kind(head) or (other_kind(head) and not image_kind(head)):
            inner = other_kind(head) or "another archive"
            raise StageError("unsupported_format", f"{self.label} is {inner}, not an image. {ADVICE}")
        if not is_image(head):
            raise StageError("not_an_image", f"{self.label} is no image. {ADVICE}")


def is_image(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is an image of a format that is known."""
    return bool(image_kind(head)) or kind_of(head) == "svg"


def guarded(pieces: Iterator[bytes], label: str) -> Iterator[bytes]:
    """Yield pieces; raises StageError in place of what unpackers raise."""
    try:
        yield from pieces
    except ERRORS as error:
        raise damaged(label, error) from error


def damaged(label: str, error: Exception) -> StageError:
    """Return the error of an archive, or of a file in it, that an unpacker failed at."""
    if isinstance(error, EOFError) or "not a zip file" in str(error):
        return StageError("image_truncated", f"{label} ends early. Upload the archive again at its source.")
    why = sentence(str(error), 100).rstrip(".") or type(error).__name__
    return StageError("image_corrupt", f"{label} is damaged ({why}). Pack it again, then retry.")


def shown(name: str) -> str:
    """Return a name so that a message can quote it."""
    return sentence(name, LISTED_NAME)
