"""Check the pictures coded by AV1: if a tile of a grid cannot be decoded, libheif shows black and reports nothing.

The check decodes with dav1d, the decoder that libheif uses; Pillow's libavif contains it. Its strict mode finds most
damage: damaged data hardly ever ends in the padding that the AV1 specification demands at the end of a tile ("exit
process for symbol decoder").
Source: dav1d.h, data.h, headers.h and picture.h of dav1d. Their structures are fixed for each DAV1D_API_VERSION_MAJOR.
"""

from __future__ import annotations

import ctypes
import errno
import os

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged
from tiler.decode import bundled
from tiler.decode.readers.heif.items import Coded, Picture, Signal

VERSION = 7
"""DAV1D_API_VERSION_MAJOR."""

_CONFIGURATION_AT = 4
"""Offset of the OBUs within the av1C property. libheif decodes them before those of the picture."""

_PADDING = 64
"""Pixels by which each edge of a frame may exceed its item's size before dav1d refuses it: half of dav1d's largest
block."""

_MOST_PIXELS = 1 << 30
"""Most pixels of a frame: libheif's own limit."""


def load() -> None:
    """Load dav1d; raises bundled.NoLibrary. Must be called before the process is confined."""
    global _library  # noqa: PLW0603  a library is loaded once a process
    try:
        library = bundled.load("dav1d", "Pillow", "PIL", "pillow.libs/libavif", _FUNCTIONS)
    except AttributeError as error:
        raise bundled.NoLibrary("Pillow's libavif does not export dav1d's functions") from error
    if library.dav1d_version_api() >> 16 != VERSION:
        raise bundled.NoLibrary(f"Pillow's dav1d does not have version {VERSION} of its interface")
    _library = library


def require_sound(coded: Coded) -> Picture:
    """Decode a picture, discard its pixels and return its properties.

    Raises
    ------
    StageError: image_corrupt, if the data is invalid, or the picture is larger than its item says.
    MemoryError: if memory runs out.
    """
    settings, decoder = _Settings(), ctypes.c_void_p()
    _library.dav1d_default_settings(settings)
    settings.n_threads = len(os.sched_getaffinity(0))
    settings.max_frame_delay = 1
    settings.apply_grain = settings.all_layers = 0
    if coded.width and coded.height:
        settings.frame_size_limit = min((coded.width + _PADDING) * (coded.height + _PADDING), _MOST_PIXELS)
    else:
        settings.frame_size_limit = _MOST_PIXELS
    settings.logger = None
    settings.strict_std_compliance = 1
    _check(_library.dav1d_open(decoder, settings))
    try:
        return _decode(decoder, coded.configuration[_CONFIGURATION_AT:] + coded.data)
    finally:
        _library.dav1d_close(decoder)


def _decode(decoder: ctypes.c_void_p, data: bytes) -> Picture:
    packet, picture = _Data(), _Picture()
    found: Picture | None = None
    place = _library.dav1d_data_create(packet, len(data))
    if not place:
        raise MemoryError
    ctypes.memmove(place, data, len(data))
    try:
        # dav1d takes as much data as it can, or asks for a picture to be fetched first.
        while True:
            if packet.size and (code := _library.dav1d_send_data(decoder, packet)) != _AGAIN:
                _check(code)
            left = packet.size
            code = _library.dav1d_get_picture(decoder, picture)
            if code == 0:
                try:
                    found = found or _described(picture)
                finally:
                    _library.dav1d_picture_unref(picture)
                continue
            if code != _AGAIN:
                _check(code)
            # The data behind the picture has to be valid, too: libheif reads all of it.
            if not left and found:
                return found
            if not left:
                raise _damaged("a part of the picture is missing")
    finally:
        _library.dav1d_data_unref(packet)


def _described(picture: _Picture) -> Picture:
    sequence = picture.sequence.contents
    signal = Signal(sequence.primaries, sequence.transfer, bool(sequence.full_range))
    return Picture(picture.width, picture.height, (picture.layout, picture.bits), signal)


def _check(code: int) -> None:
    if code == -errno.ENOMEM:
        raise MemoryError
    if code == -errno.ERANGE:
        raise _damaged("a coded picture is larger than its item says")
    if code:
        raise _damaged(f"a coded picture is invalid ({errno.errorcode.get(-code, code)})")


def _damaged(how: str) -> StageError:
    return damaged(f"AV1: {how}")


class _Settings(ctypes.Structure):
    _fields_ = (
        ("n_threads", ctypes.c_int),
        ("max_frame_delay", ctypes.c_int),
        ("apply_grain", ctypes.c_int),
        ("operating_point", ctypes.c_int),
        ("all_layers", ctypes.c_int),
        ("frame_size_limit", ctypes.c_uint),
        ("allocator", ctypes.c_void_p * 3),
        ("logger_cookie", ctypes.c_void_p),
        ("logger", ctypes.c_void_p),
        ("strict_std_compliance", ctypes.c_int),
        ("rest", ctypes.c_byte * 252),  # more than dav1d's structure has
    )


class _Data(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("rest", ctypes.c_byte * 256),
    )


class _Sequence(ctypes.Structure):
    _fields_ = (
        ("profile", ctypes.c_uint8),
        ("largest", ctypes.c_int * 2),
        ("layout", ctypes.c_int),
        ("primaries", ctypes.c_int),
        ("transfer", ctypes.c_int),
        ("matrix", ctypes.c_int),
        ("chroma_position", ctypes.c_int),
        ("depth", ctypes.c_uint8),
        ("full_range", ctypes.c_uint8),
    )


class _Picture(ctypes.Structure):
    _fields_ = (
        ("sequence", ctypes.POINTER(_Sequence)),
        ("frame", ctypes.c_void_p),
        ("data", ctypes.c_void_p * 3),
        ("stride", ctypes.c_ssize_t * 2),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("layout", ctypes.c_int),
        ("bits", ctypes.c_int),
        ("rest", ctypes.c_byte * 1024),
    )


_AGAIN = -errno.EAGAIN

_SETTINGS, _DATA, _PICTURE = map(ctypes.POINTER, (_Settings, _Data, _Picture))
_FUNCTIONS: dict[str, tuple[type | None, ...]] = {
    "dav1d_version_api": (ctypes.c_uint,),
    "dav1d_default_settings": (None, _SETTINGS),
    "dav1d_open": (ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), _SETTINGS),
    "dav1d_close": (None, ctypes.POINTER(ctypes.c_void_p)),
    "dav1d_data_create": (ctypes.c_void_p, _DATA, ctypes.c_size_t),
    "dav1d_data_unref": (None, _DATA),
    "dav1d_send_data": (ctypes.c_int, ctypes.c_void_p, _DATA),
    "dav1d_get_picture": (ctypes.c_int, ctypes.c_void_p, _PICTURE),
    "dav1d_picture_unref": (None, _PICTURE),
}
_library: ctypes.CDLL
