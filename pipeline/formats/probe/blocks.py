"""A file whose blocks are requested when they are first needed.

Decoders read a header in dozens of small pieces. Their source, an HTTP server with ranges, is asked for whole blocks,
and for longer ones while the reading continues.
"""

from __future__ import annotations

import os
from collections.abc import Callable

BLOCK = 64 << 10
"""Bytes of a block. In measurements, JPEG, PNG and TIFF in strips needed one or two blocks, pyramidal TIFF seven."""

LONGEST = 1 << 20
"""Most bytes of one request."""

Ask = Callable[[int, int], bytes | None]
"""Takes an offset and a length, and returns the bytes there. Fewer bytes than requested do not mean the end of the
file; no bytes do. Returns None if the request is refused."""


class Blocks:
    """Reads like a file. If bytes are refused, the file seems to end there, and `exhausted` is set.

    Attributes
    ----------
    exhausted: whether a request was refused. Afterwards only the bytes received before are returned.
    overrun: whether bytes beyond the end of the file were requested.

    Parameters
    ----------
    ask: called to request bytes.
    length: of the file in bytes; None if unknown.
    """

    def __init__(self, ask: Ask, length: int | None) -> None:
        self.exhausted = False
        self.overrun = False
        self.length = length
        self._ask = ask
        self._blocks: dict[int, bytes] = {}
        self._position = 0
        self._reach = BLOCK
        self._asked_to = -1

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, or fewer at the end."""
        data = bytearray()
        while len(data) < size and (piece := self._piece(size - len(data))):
            data += piece
            self._position += len(piece)
        return bytes(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position and return it; -1 if it is negative, or relative to an unknown end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.length}[whence]
        if base is None or base + offset < 0:
            return -1
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seal(self) -> None:
        """Refuse all further requests."""
        self._ask = lambda _offset, _length: None

    def _piece(self, size: int) -> bytes:
        number, within = divmod(self._position, BLOCK)
        known = self._blocks.get(number, b"")
        if within >= len(known) and not self.exhausted:
            known = self._fill(number, within)
        return known[within : within + size]

    def _fill(self, number: int, within: int) -> bytes:
        """Request the missing part of a block, until it contains the byte at `within` or the file ends."""
        block = self._blocks.get(number, b"")
        while len(block) <= within:
            first = number * BLOCK + len(block)
            if self.length is not None and first >= self.length:
                self.overrun = True
                break
            data = self._ask(first, self._size(first))
            if data is None:
                self.exhausted = True
                break
            if not data:
                self.overrun = True
                break
            self._keep(first, data)
            block = self._blocks[number]
        return block

    def _size(self, first: int) -> int:
        """Return how many bytes to request: up to the end of the block, or twice as many as before in a long read."""
        self._reach = min(2 * self._reach, LONGEST) if first == self._asked_to else BLOCK
        end = (first // BLOCK) * BLOCK + self._reach
        if self.length is not None:
            end = min(end, self.length)
        self._asked_to = end
        return end - first

    def _keep(self, first: int, data: bytes) -> None:
        while data:
            number, within = divmod(first, BLOCK)
            part = data[: BLOCK - within]
            known = self._blocks.get(number, b"")
            if within == len(known):
                self._blocks[number] = known + part
            first, data = first + len(part), data[len(part) :]
