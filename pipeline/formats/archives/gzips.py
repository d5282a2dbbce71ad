"""Read the content of a gzip file.

Source: RFC 1952.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.formats.archives.member import Member, guarded, shown
from pipeline.formats.kinds import HEAD
from pipeline.formats.signatures import GZIP

_HEADER, _EXTRA, _NAMED = 10, 0x4, 0x8
_WITH_HEADER = 31
"""zlib's `wbits` for data with gzip's header."""


def content(archive: BinaryIO, piece: int) -> Member:
    """Return what a gzip file contains; see pipeline.formats.archives.find.find."""
    label = _label(archive)
    archive.seek(0)
    return Member("", label, guarded(_unpacked(archive, piece), label))


def _label(archive: BinaryIO) -> str:
    """Return what messages call the content: by the name in the header, if there is one."""
    archive.seek(0)
    head = archive.read(HEAD)
    at = _HEADER
    if len(head) > at and head[3] & _EXTRA:
        at += 2 + int.from_bytes(head[at : at + 2], "little")
    name = head[at : max(at, head.find(b"\0", at))] if len(head) > at and head[3] & _NAMED else b""
    return f"{shown(name.decode('latin-1'))} in the gzip file" if name else "The content of the gzip file"


def _unpacked(archive: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the content of all members of a gzip file. As in gzip, what follows them is ignored."""
    unpacker = zlib.decompressobj(_WITH_HEADER)
    rest = b""
    while piece := rest or archive.read(size):
        if unpacker.eof:
            if not piece.startswith(GZIP):
                return
            unpacker = zlib.decompressobj(_WITH_HEADER)
        yield unpacker.decompress(piece, size)
        rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    yield unpacker.flush()
    if not unpacker.eof:
        raise EOFError
