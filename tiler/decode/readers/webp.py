"""Read WebP. libvips decodes all frames of an animation, whichever frame is requested; so their number is limited.

libvips opens no WebP that is cut short. Of such a file, the libwebp in Pillow's wheel decodes the rows that are there.

Source: RFC 9649, 2.7 and 3.4.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, ClassVar

import pyvips

from pipeline.formats import budget
from pipeline.formats.decoder_errors import damaged
from tiler.decode import bundled
from tiler.decode.metadata import EXIF, PROFILE
from tiler.decode.missing import no_pixels_missing, only_rows, rows_missing
from tiler.decode.reader import Reader

_EXTENDED = b"VP8X"
_METADATA = ((b"ICCP", 0x20, PROFILE), (b"EXIF", 0x08, EXIF))
"""Chunks of metadata, their flags in the extended header, and libvips' names of them."""

_EXTENDED_SIZE = 10
_ALPHA_FLAG = 0x10
_ALPHA, _LOSSY, _LOSSLESS, _ANIMATED = b"ALPH", b"VP8 ", b"VP8L", b"ANIM"

_USED_AT = 28
"""Bit of alpha_is_used in lossless data, behind its first byte and two sizes of 14 bits."""

_HEADER = struct.Struct("<4sI")
_FIRST = 12


class WebpReader(Reader):
    """Reads a WebP that does not have too many frames."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"webp"})
    _is_counted = False
    _size: tuple[int, int] | None = None
    _rest: pyvips.Image | None = None

    def prepare(self) -> None:
        """As Reader.prepare: loads libwebp if it is installed."""
        super().prepare()
        with suppress(bundled.NoLibrary, AttributeError):
            _load_library()

    def salvage(self, reason: str) -> bool:
        """As Reader.salvage. The rows are decoded by `open`: only the header's limits are known here."""
        if not _library:
            return False
        with self.path.open("rb") as file:
            self._size = _size_of(file.read(_HEAD))
        if self._size:
            self.missing = no_pixels_missing(reason)
        return self._size is not None

    def open(self, **options: int) -> pyvips.Image:
        """As Reader.open. Of a damaged file, decodes the rows before the fault into memory."""
        if self._size is None or self.missing is None:
            return super().open(**options)
        if self._rest is None:
            image, rows = _decoded(self.path.read_bytes(), *self._size)
            if not rows:
                raise damaged("WebP: no row can be decoded")
            if image.crop(0, 0, image.width, rows).extract_band(3).min() == _OPAQUE:
                image = image.extract_band(0, n=3)
            self.missing = rows_missing(range(rows), image.width, image.height, self.missing.why)
            self._rest = only_rows(_like(image, self._profile()), range(rows))
        return self._rest

    def shown_by(self) -> frozenset[str]:
        """As Reader.shown_by. libvips leaves out a chunk that the extended header does not announce."""
        names, flags = set(), 0
        with self.path.open("rb") as file:
            for name, _, first in _chunks(file):
                names.add(name)
                if name == _EXTENDED:
                    flags = first
        return frozenset(found for name, flag, found in _METADATA if name in names or flags & flag)

    def _load(self, **options: int) -> pyvips.Image:
        if self._size is None:
            return super()._load(**options)
        return _like(pyvips.Image.black(*self._size, bands=4), b"")

    def _profile(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(_FIRST)
            name, length = _HEADER.unpack(file.read(_HEADER.size))
            if name != _EXTENDED:
                return b""
            file.seek(length + length % 2, 1)
            name, length = _HEADER.unpack(file.read(_HEADER.size))
            return file.read(length) if name == b"ICCP" else b""

    def _refuse(self, page: int, subifd: int | None) -> None:
        super()._refuse(page, subifd)
        if not self._is_counted:
            with self.path.open("rb") as file:
                budget.require_few_frames(self.kind, file)
                _require_consistent(file)
            self._is_counted = True


def _require_consistent(file: BinaryIO) -> None:
    """Raise StageError("image_corrupt") if the header and the chunks of a still image disagree on its transparency.

    libwebp then shows the image without it. A lossless image needs no chunk of its own for it, but says whether it has
    any. Encoders announce it in the extended header; some announce it where there is none.
    """
    flags, has_alpha, is_extended = 0, False, False
    for name, length, first in _chunks(file):
        if name == _EXTENDED:
            if length != _EXTENDED_SIZE:
                raise damaged(f"its VP8X chunk has {length:,} bytes instead of {_EXTENDED_SIZE}")
            flags, is_extended = first, True
        if name == _ANIMATED:
            return
        if name == _LOSSLESS:
            if is_extended and not flags & _ALPHA_FLAG and _is_transparent(file):
                raise damaged("its header and its lossless data disagree on transparency")
            return
        has_alpha |= name == _ALPHA
        if name == _LOSSY:
            if has_alpha != bool(flags & _ALPHA_FLAG):
                raise damaged("its header and its chunks disagree on transparency")
            return


def _is_transparent(file: BinaryIO) -> bool:
    """Return whether lossless data of which the first byte was read uses transparency (RFC 9649, 3.4)."""
    return bool(int.from_bytes(file.read(4), "little") >> _USED_AT & 1)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, length and first byte of each chunk, as far as the file can be read."""
    at = _FIRST
    with suppress(struct.error):
        while True:
            file.seek(at)
            name, length = _HEADER.unpack(file.read(_HEADER.size))
            yield name, length, int.from_bytes(file.read(1), "little")
            at += _HEADER.size + length + length % 2


def _like(image: pyvips.Image, profile: bytes) -> pyvips.Image:
    """Return an image with the header fields that libvips' own loader sets."""
    image = image.copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gstr_type, "vips-loader", "webpload")
    if profile:
        image.set_type(pyvips.GValue.blob_type, PROFILE, profile)
    return image


def _size_of(head: bytes) -> tuple[int, int] | None:
    width, height = ctypes.c_int(), ctypes.c_int()
    if not _library or not _library.WebPGetInfo(head, len(head), ctypes.byref(width), ctypes.byref(height)):
        return None
    return width.value, height.value


def _decoded(data: bytes, width: int, height: int) -> tuple[pyvips.Image, int]:
    """Decode a WebP of one frame as far as possible. Return the image with transparency, and its sound rows.

    Raises
    ------
    MemoryError: if memory runs out.
    """
    assert _library is not None  # noqa: S101  salvage checks it
    pixels = ctypes.create_string_buffer(4 * width * height)
    decoder = _library.WebPINewRGB(_RGBA, pixels, len(pixels), 4 * width)
    if not decoder:
        raise MemoryError
    try:
        status, rows = _library.WebPIUpdate(decoder, data, len(data)), ctypes.c_int()
        if not _library.WebPIDecGetRGB(decoder, ctypes.byref(rows), None, None, None):
            rows.value = 0
    finally:
        _library.WebPIDelete(decoder)
    image = pyvips.Image.new_from_memory(pixels, width, height, 4, "uchar")
    return image, rows.value if status in {_OK, _SUSPENDED} else max(0, rows.value - MARGIN)


def _load_library() -> None:
    global _library  # noqa: PLW0603  a library is loaded once a process
    _library = bundled.load("libwebp", "Pillow", "PIL", "pillow.libs/libwebp-", _FUNCTIONS)


MARGIN = 96
"""Rows before a fault that are distrusted, unless the file is cut there: see tiler.decode.readers.jpeg.damage."""

_HEAD = 4096
_OPAQUE = 255
_OK, _SUSPENDED, _RGBA = 0, 5, 1
_POINTER, _INT = ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
_FUNCTIONS: dict[str, tuple[type | None, ...]] = {
    "WebPGetInfo": (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, _INT, _INT),
    "WebPINewRGB": (_POINTER, ctypes.c_int, _POINTER, ctypes.c_size_t, ctypes.c_int),
    "WebPIUpdate": (ctypes.c_int, _POINTER, ctypes.c_char_p, ctypes.c_size_t),
    "WebPIDecGetRGB": (_POINTER, _POINTER, _INT, _INT, _INT, _INT),
    "WebPIDelete": (None, _POINTER),
}
_library: ctypes.CDLL | None = None
