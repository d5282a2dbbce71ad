"""Read the image in a remote archive like a file, as far as its parts are at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pipeline.errors import StageError
from pipeline.formats.archives import Member, Withheld, find, most_unpacked, too_large
from pipeline.formats.kinds import HEAD
from pipeline.formats.probe.blocks import Blocks

PIECE = 16 << 10
"""Bytes unpacked at once."""

MOST_UNPACKED = 64 << 20
"""Most bytes of a compressed image that are unpacked. They are held in memory, since they are read here and there."""


class Packed:
    """The image of an archive.

    Attributes
    ----------
    label: names it in messages.
    blocks: reads the image.
    failed: what is wrong with the archive; None if nothing is known to be.

    Parameters
    ----------
    archive: bytes of an archive by its first bytes.
    member: name of the image in a ZIP archive; empty if there is only one.

    Raises
    ------
    StageError: as pipeline.formats.archives.find.
    Withheld: if that cannot be told by the bytes at hand.
    """

    def __init__(self, archive: Blocks, member: str) -> None:
        self.failed: StageError | None = None
        self._archive = _Archive(archive)
        found = find(self._archive, member, PIECE)  # type: ignore[arg-type]  # all that is called is there
        self.label = found.label
        length = archive.length
        if length is not None and found.length is not None and found.length > most_unpacked(length):
            raise too_large(found.label, length)
        self._begun = bytearray()
        self._pieces: Iterator[bytes] = found.pieces
        self._stored_at = found.stored_at
        self.blocks = Blocks(self._ask, found.length)
        self._require_image(found)

    def _require_image(self, found: Member) -> None:
        head = self.blocks.read(HEAD)
        if self.failed is not None:
            raise self.failed
        if self.blocks.exhausted:
            raise Withheld
        found.require_image(head)
        self.blocks.seek(0)

    def _ask(self, offset: int, length: int) -> bytes | None:
        try:
            if self._stored_at is not None:
                self._archive.seek(self._stored_at + offset)
                return self._archive.read(length)
            return self._unpacked(offset, length)
        except Withheld:
            return None
        except StageError as error:
            # libvips drops what is raised while it reads.
            self.failed = error
            return None

    def _unpacked(self, offset: int, length: int) -> bytes | None:
        if offset + length > MOST_UNPACKED:
            return None
        while len(self._begun) < offset + length:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._begun += piece
        return bytes(self._begun[offset : offset + length])


class _Archive:
    """The bytes of an archive. Raises Withheld instead of ending where bytes are refused."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    def read(self, size: int = -1, /) -> bytes:
        data = self._blocks.read(size)
        if self._blocks.exhausted and len(data) < size:
            raise Withheld
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if self._blocks.length is None and whence == os.SEEK_END:
            raise Withheld
        at = self._blocks.seek(offset, whence)
        if at < 0:
            raise OSError("there is no such position in the archive")
        return at

    def tell(self) -> int:
        return self._blocks.tell()
