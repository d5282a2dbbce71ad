"""Decode one strip or tile that is a JPEG of 12 bits, by the libtiff in Pillow's wheel: that of libvips has only 8.

Sources: tiffio.h and tiffvers.h of libtiff 4; its interface has been the same since version 4.0.
"""

from __future__ import annotations

import ctypes
import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff import NATIVE, Directory, Tag
from pipeline.formats.tiff.colours import BLACK_IS_ZERO
from pipeline.formats.tiff.layout import RGB, YCBCR, Compression, Layout
from tiler.decode import bundled
from tiler.decode.readers.tiff.libtiff_frame import LibtiffFrame
from tiler.decode.readers.tiff.virtual_tiff import SHORT, Entry, long, short

_UNDEFINED = 7
"""Type of bytes."""

_COLOUR_MODE, _AS_RGB = 65538, 1
"""TIFFTAG_JPEGCOLORMODE, which is never in a file, and its value that converts YCbCr to RGB."""

_HARMLESS = b"JPEG strip size exceeds expected dimensions"
"""Beginning of a warning about a last strip that is as high as the others."""

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of frames (ITU-T T.81, table B.1)."""

_WIDTH_AT, _FRAME_SIZE = 7, 9
"""Offset of the width from the marker of a frame, and bytes up to its end."""

_Read = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t)
_Seek = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int)
_Close = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_Size = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)
_Say = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)

_FUNCTIONS: bundled.Functions = {
    "TIFFClientOpen": (
        *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p),
        *(_Read, _Read, _Seek, _Close, _Size, ctypes.c_void_p, ctypes.c_void_p),
    ),
    "TIFFClose": (None, ctypes.c_void_p),
    "TIFFReadEncodedStrip": (*(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_ssize_t),),
    "TIFFSetErrorHandler": (ctypes.c_void_p, _Say),
    "TIFFSetField": (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int),
    "TIFFSetWarningHandler": (ctypes.c_void_p, _Say),
    "TIFFStripSize": (ctypes.c_ssize_t, ctypes.c_void_p),
}

_library: ctypes.CDLL | None = None
_said: list[str] = []
_lock = threading.Lock()
"""libtiff's handlers are those of the process."""


def _heard(_: bytes | None, text: bytes | None, __: int | None) -> None:
    # The text's arguments are a va_list, which cannot be read here.
    if not (text or b"").startswith(_HARMLESS):
        _said.append((text or b"").decode("ascii", "replace"))


_hear = _Say(_heard)


def load() -> None:
    """Load libtiff. Must be called before the process is confined.

    Raises
    ------
    bundled.NoLibrary: if Pillow's package does not bundle it.
    AttributeError: if it lacks a function.
    """
    global _library  # noqa: PLW0603  a library is loaded once a process
    library = bundled.load("libtiff", "Pillow", "PIL", "pillow.libs/libtiff", _FUNCTIONS)
    _library = library


def _require_library() -> ctypes.CDLL:
    with suppress(ImportError, AttributeError, OSError):
        if _library is None:
            load()
    if _library is None:
        raise StageError(
            "unsupported_format",
            "The TIFF is compressed with 12-bit JPEG, for which this machine lacks the libtiff of Pillow's wheel.",
        )
    return _library


class Jpeg12Frame(LibtiffFrame):
    """The decoded samples of one strip or tile, packed as in an uncompressed TIFF. YCbCr is converted to RGB.

    Parameters
    ----------
    file, offset, length, rows, fill_order: as LibtiffFrame.
    directory, layout: of the page, or of one of its separate planes.
    tables: value of Tag.JPEG_TABLES; may be empty.
    """

    def __init__(
        self,
        file: BinaryIO,
        offset: int,
        length: int,
        *,
        rows: int,
        fill_order: int,
        directory: Directory,
        layout: Layout,
        tables: bytes,
    ) -> None:
        super().__init__(
            file,
            offset,
            length,
            compression=Compression.JPEG,
            row_bytes=layout.row_bytes,
            rows=rows,
            fill_order=fill_order,
        )
        self._samples = directory.value(Tag.SAMPLES, 1)
        # libtiff packs two samples at a time, and leaves out the last one of an odd number. No odd width fills the last
        # block of 8 columns, so that one column more can be decoded.
        self._columns = layout.columns + layout.columns * self._samples % 2
        self._tables = tables
        self._photometric = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) if self._samples > 1 else BLACK_IS_ZERO
        self._subsampling = directory.values(Tag.SUBSAMPLING) if self._photometric == YCBCR else ()

    def _entries(self) -> dict[int, Entry]:
        samples = self._samples
        found = super()._entries() | {
            int(Tag.WIDTH): long(self._columns, NATIVE),
            int(Tag.BITS): Entry(SHORT, samples, struct.pack(f"{NATIVE}{samples}H", *[12] * samples)),
            int(Tag.PHOTOMETRIC): short(self._photometric, NATIVE),
            int(Tag.SAMPLES): short(samples, NATIVE),
        }
        if others := samples - (3 if self._photometric in {RGB, YCBCR} else 1):
            found[Tag.EXTRA_SAMPLES] = Entry(SHORT, others, bytes(2 * others))
        if self._subsampling:
            found[Tag.SUBSAMPLING] = Entry(SHORT, 2, struct.pack(f"{NATIVE}2H", *self._subsampling))
        if self._tables:
            found[Tag.JPEG_TABLES] = Entry(_UNDEFINED, len(self._tables), self._tables)
        return found

    def _prepared(self, stored: bytes) -> bytes:
        found = bytearray(stored)
        at = 2
        while at + _FRAME_SIZE <= len(found) and found[at] == 0xFF and found[at + 1] not in _FRAMES:
            at += 2 + int.from_bytes(found[at + 2 : at + 4], "big")
        width = slice(at + _WIDTH_AT, at + _WIDTH_AT + 2)
        if self._columns % 2 == 0 and int.from_bytes(found[width], "big") == self._columns - 1:
            found[width] = self._columns.to_bytes(2, "big")
        return bytes(found)

    def _decode(self, whole: bytes) -> bytes:
        library = _require_library()
        with _lock, _opened(library, whole) as file:
            if file and self._photometric == YCBCR:
                library.TIFFSetField(file, _COLOUR_MODE, _AS_RGB)
            row_bytes = (self._columns * self._samples * 12 + 7) // 8
            size = row_bytes * self._rows
            if file and library.TIFFStripSize(file) == size:
                samples = ctypes.create_string_buffer(size)
                if library.TIFFReadEncodedStrip(file, 0, samples, size) == size and not _said:
                    found = samples.raw
                    return b"".join(found[row : row + self._row_bytes] for row in range(0, size, row_bytes))
            raise damaged(f"the JPEG of a strip or tile cannot be decoded ({'; '.join(_said) or 'its size is wrong'})")


@contextmanager
def _opened(library: ctypes.CDLL, whole: bytes) -> Iterator[int | None]:
    """Open a TIFF in memory; None if libtiff refuses it."""
    file = io.BytesIO(whole)

    def read(_: int, target: int, size: int) -> int:
        data = file.read(size)
        ctypes.memmove(target, data, len(data))
        return len(data)

    _said.clear()
    # Each time, because Pillow removes all handlers when it reads a TIFF.
    library.TIFFSetErrorHandler(_hear)
    library.TIFFSetWarningHandler(_hear)
    callbacks = (
        *(_Read(read), _Read(lambda *_: 0), _Seek(lambda _, offset, whence: file.seek(offset, whence))),
        *(_Close(lambda _: 0), _Size(lambda _: len(whole))),
    )
    opened = library.TIFFClientOpen(b"strip", b"rm", 1, *callbacks, None, None)
    try:
        yield opened
    finally:
        if opened:
            library.TIFFClose(opened)
