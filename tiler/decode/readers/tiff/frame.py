"""Decode one compressed strip or tile piece by piece, and check its decoded length.

Sources: RFC 8878 (zstd), RFC 1950 (zlib), the format of .xz files (LZMA). Like libtiff, this reads one frame of each
strip or tile.
"""

from __future__ import annotations

import sys
import zlib
from contextlib import suppress
from lzma import FORMAT_XZ, LZMADecompressor, LZMAError
from typing import BinaryIO, Protocol

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.tiff.layout import WINDOW, Compression

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

WINDOW_LOG = 27
"""Binary logarithm of pipeline.formats.tiff.layout.WINDOW. A frame with a larger window is refused."""

LZMA_MEMORY = WINDOW + (1 << 20)
"""Most bytes of an LZMA decoder. One that needs more is refused; the highest level of encoders needs 65 MB."""

PIECE = 1 << 18
"""Bytes of the file read at once."""

REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits reversed: FillOrder 2 (TIFF 6.0, section 8). libtiff applies it to all compressions."""


class Frame:
    """The decoded bytes of one strip or tile, read once from first to last.

    Parameters
    ----------
    file: the caller closes it.
    offset, length: of the compressed bytes.
    compression: one of pipeline.formats.tiff.layout.DECODED.
    size: decoded bytes that are needed.
    most: decoded bytes that are allowed: a last strip may be padded to the height of the others.
    reverse: whether the bits of each byte are reversed.
    """

    def __init__(
        self, file: BinaryIO, offset: int, length: int, *, compression: int, size: int, most: int, reverse: bool
    ) -> None:
        self._file = file
        self._place = offset
        self._rest = length
        self._size = size
        self._most = most
        self._reverse = reverse
        self._given = 0
        self._decoder = _decoder(compression, size)

    @property
    def given(self) -> int:
        """Decoded bytes so far."""
        return self._given

    def skip(self, size: int) -> None:
        """Skip the next `size` bytes; raises as `read`."""
        while size > 0:
            size -= len(self.read(min(PIECE, size)))

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes. With the last ones, check that the frame ends where it should.

        Raises
        ------
        StageError: image_truncated, image_corrupt.
        MemoryError: if memory runs out.
        """
        data = bytearray()
        while len(data) < size:
            data += self._decode(size - len(data))
            if self._decoder.eof and len(data) < size:
                raise _damaged(f"holds {self._given:,} bytes, not {self._size:,}")
        if self._given == self._size:
            self.check()
        return bytes(data)

    def check(self) -> None:
        """Decode the frame to its end, where the checksum is; raises as `read`."""
        while not self._decoder.eof:
            self._decode(PIECE)
            if self._given > self._most:
                raise _damaged(f"holds more than its {self._size:,} bytes")

    def _decode(self, most: int) -> bytes:
        """Return up to `most` decoded bytes, maybe none. Until the frame ends, each call makes some progress."""
        try:
            data = self._decoder.decompress(self._next() if self._decoder.needs_input else b"", most)
        except (ZstdError, LZMAError, zlib.error) as error:
            raise _damaged(f"is broken: {error}") from error
        self._given += len(data)
        return data

    def _next(self) -> bytes:
        if self._rest <= 0:
            raise _damaged("has no end")
        data = b""
        with suppress(OSError, OverflowError, ValueError):  # an offset beyond any file
            self._file.seek(self._place)
            data = self._file.read(min(PIECE, self._rest))
        if not data:
            raise StageError("image_truncated", CUT_SHORT)
        self._place += len(data)
        self._rest -= len(data)
        return data.translate(REVERSED) if self._reverse else data


class _Decoder(Protocol):
    """The interface of compression.zstd.ZstdDecompressor."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Inflater:
    """zlib's decompressor with the interface of zstd's."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj()
        self._full = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not (self._full or self._zlib.unconsumed_tail)

    def decompress(self, data: bytes, most: int, /) -> bytes:
        found = self._zlib.decompress(self._zlib.unconsumed_tail + data, most)
        self._full = len(found) == most
        return found


class _Copier:
    """Returns uncompressed bytes as they are."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._held = b""

    @property
    def eof(self) -> bool:
        return self._left == 0

    @property
    def needs_input(self) -> bool:
        return not self._held

    def decompress(self, data: bytes, most: int, /) -> bytes:
        found = (self._held + data)[: min(most, self._left)]
        self._held = (self._held + data)[len(found) :]
        self._left -= len(found)
        return found


def _decoder(compression: int, size: int) -> _Decoder:
    match compression:
        case Compression.ZSTD:
            return ZstdDecompressor(options={DecompressionParameter.window_log_max: WINDOW_LOG})
        case Compression.NONE:
            return _Copier(size)
        case Compression.LZMA:
            return LZMADecompressor(FORMAT_XZ, memlimit=LZMA_MEMORY)
    return _Inflater()


def _damaged(what: str) -> StageError:
    return damaged(f"a compressed strip or tile {what}")
