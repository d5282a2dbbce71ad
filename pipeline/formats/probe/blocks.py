"""A file of which only some blocks are had, each when it is first needed.

Decoders read a header in dozens of small pieces; whoever gives the bytes (a server, by ranges) is asked in blocks, and
for longer ones where the reading goes on and on.
"""

from __future__ import annotations

import os
from collections.abc import Callable

BLOCK = 64 << 10
"""Bytes of a block. Of the files measured, JPEG, PNG and strip TIFFs need one or two, pyramidal TIFFs seven."""

LONGEST = 1 << 20
"""Bytes asked for at once at most."""

Ask = Callable[[int, int], bytes | None]
"""Gives the bytes from an offset on, at most so many: fewer than asked for are not the end, none are. None: refused."""


class Blocks:
    """Reads like a file. Where bytes are refused it ends, and `exhausted` tells so.

    Attributes
    ----------
    exhausted: whether bytes were refused. From then on there are none but those that are had already.
    overrun: whether bytes beyond the file's end were wanted.

    Parameters
    ----------
    ask: gives bytes.
    length: of the file in bytes; None where nobody knows.
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
        """Give the next bytes: `size`, or fewer at the end."""
        data = bytearray()
        while len(data) < size and (piece := self._piece(size - len(data))):
            data += piece
            self._position += len(piece)
        return bytes(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position, and give it; -1 where it cannot be told or there is none."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.length}[whence]
        if base is None or base + offset < 0:
            return -1
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Give the position."""
        return self._position

    def seal(self) -> None:
        """Ask for nothing more: what is not had yet is refused."""
        self._ask = lambda _offset, _length: None

    def _piece(self, size: int) -> bytes:
        number, within = divmod(self._position, BLOCK)
        known = self._blocks.get(number, b"")
        if within >= len(known) and not self.exhausted:
            known = self._fill(number, within)
        return known[within : within + size]

    def _fill(self, number: int, within: int) -> bytes:
        """Ask for a block, from what is known of it on, until it holds the byte at `within` or there is no more."""
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
        """Bytes to ask for: to the end of the block, and of as many again as before where the reading goes on."""
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
