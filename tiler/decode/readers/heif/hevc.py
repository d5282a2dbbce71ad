"""Check the pictures coded by HEVC: libheif shows damaged pictures and reports nothing.

The check decodes with libde265, whose warnings libheif ignores. They are about invalid data, such as a row that does
not end with its bytes, or a block outside of the picture. Valid files cause none.
Source: de265.h of libde265, which comes with `pi-heif`.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged
from tiler.decode import bundled
from tiler.decode.readers.heif.items import Coded, Picture, Signal

_PARAMETERS_AT = 22
"""Offset of the parameter sets within the configuration. Two bits of the byte before it say how many bytes the length
of a NAL unit has."""

MOST_STEPS = 10_000
"""Most calls to decode one picture. Each call consumes a NAL unit, and a picture has a few slices."""


def load() -> None:
    """Load libde265; raises bundled.NoLibrary. Must be called before the process is confined."""
    global _library  # noqa: PLW0603  a library is loaded once a process
    _library = bundled.load("libde265", "pi-heif", "_pi_heif", "pi_heif.libs/libde265", _FUNCTIONS)


def require_sound(picture: Coded) -> Picture:
    """Decode a picture, discard its pixels and return its properties.

    Raises
    ------
    StageError: image_corrupt, if the data is invalid; image_too_large, if the picture exceeds libde265's limits.
    MemoryError: if memory runs out.
    """
    try:
        units = [*_parameters(picture.configuration), *_units(picture)]
    except struct.error as error:
        raise _damaged("a part of the picture ends within its data") from error
    decoder = _library.de265_new_decoder()
    if not decoder:
        raise MemoryError
    try:
        for unit in units:
            _check(_library.de265_push_NAL(decoder, unit, len(unit), 0, None))
        _check(_library.de265_flush_data(decoder))
        return _decode(decoder)
    finally:
        _library.de265_free_decoder(decoder)


def _decode(decoder: int) -> Picture:
    more = ctypes.c_int(1)
    found: Picture | None = None
    for _ in range(MOST_STEPS):
        _check(_library.de265_decode(decoder, ctypes.byref(more)))
        _check(_library.de265_get_warning(decoder))
        if image := _library.de265_get_next_picture(decoder):
            width, height = _library.de265_get_image_width(image, 0), _library.de265_get_image_height(image, 0)
            samples = _library.de265_get_chroma_format(image), _library.de265_get_bits_per_pixel(image, 0)
            found = found or Picture(width, height, samples, _signal(image))
        if not more.value:
            break
    if not found:
        raise _damaged("a part of the picture is missing")
    return found


def _signal(image: int) -> Signal:
    return Signal(
        _library.de265_get_image_colour_primaries(image),
        _library.de265_get_image_transfer_characteristics(image),
        bool(_library.de265_get_image_full_range_flag(image)),
    )


def _check(code: int) -> None:
    if code == _OUT_OF_MEMORY:
        raise MemoryError
    if code:
        said = _library.de265_get_error_text(code).decode(errors="replace")
        if "security limit" in said:  # libheif has the same limits
            raise StageError("image_too_large", f"A part of the HEIC is larger than its decoder accepts ({said}).")
        raise _damaged(said)


def _parameters(configuration: bytes) -> Iterator[bytes]:
    at = _PARAMETERS_AT + 1
    for _ in range(configuration[_PARAMETERS_AT] if len(configuration) > _PARAMETERS_AT else 0):
        (count,) = struct.unpack_from(">H", configuration, at + 1)
        at += 3
        for _ in range(count):
            (length,) = struct.unpack_from(">H", configuration, at)
            yield _piece(configuration, at + 2, length)
            at += 2 + length


def _units(picture: Coded) -> Iterator[bytes]:
    if len(picture.configuration) <= _PARAMETERS_AT:
        raise struct.error("no configuration")
    width = (picture.configuration[_PARAMETERS_AT - 1] & 3) + 1
    at = 0
    while at < len(picture.data):
        length = int.from_bytes(_piece(picture.data, at, width), "big")
        yield _piece(picture.data, at + width, length)
        at += width + length


def _piece(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise struct.error("beyond the end")
    return data[at : at + length]


def _damaged(how: str) -> StageError:
    return damaged(f"HEVC: {how}")


_OUT_OF_MEMORY = 7

_HANDLE, _CODE = ctypes.c_void_p, ctypes.c_int
_FUNCTIONS: dict[str, tuple[type | None, ...]] = {
    "de265_new_decoder": (_HANDLE,),
    "de265_free_decoder": (_CODE, _HANDLE),
    "de265_push_NAL": (_CODE, _HANDLE, ctypes.c_char_p, ctypes.c_int, ctypes.c_int64, ctypes.c_void_p),
    "de265_flush_data": (_CODE, _HANDLE),
    "de265_decode": (_CODE, _HANDLE, ctypes.c_void_p),
    "de265_get_warning": (_CODE, _HANDLE),
    "de265_get_next_picture": (_HANDLE, _HANDLE),
    "de265_get_image_width": (_CODE, _HANDLE, _CODE),
    "de265_get_image_height": (_CODE, _HANDLE, _CODE),
    "de265_get_chroma_format": (_CODE, _HANDLE),
    "de265_get_bits_per_pixel": (_CODE, _HANDLE, _CODE),
    "de265_get_image_colour_primaries": (_CODE, _HANDLE),
    "de265_get_image_transfer_characteristics": (_CODE, _HANDLE),
    "de265_get_image_full_range_flag": (_CODE, _HANDLE),
    "de265_get_error_text": (ctypes.c_char_p, _CODE),
}
_library: ctypes.CDLL
