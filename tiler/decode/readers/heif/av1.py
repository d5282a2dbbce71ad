"""Whether AV1's coded pictures are sound: where its decoder fails at a grid's tile, libheif shows black and goes on.

dav1d, which libheif asks too, comes with Pillow as a part of its libavif. It is asked strictly: behind damage the bytes
hardly ever end in the padding that a tile has to end in (AV1 specification, exit process for symbol decoder).
Source: dav1d.h, data.h and picture.h of dav1d, whose structures stay as they are while DAV1D_API_VERSION_MAJOR does.
"""

from __future__ import annotations

import ctypes
import errno
import os

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged
from tiler.decode.readers.heif import bundled
from tiler.decode.readers.heif.items import Coded, Picture

VERSION = 7
"""DAV1D_API_VERSION_MAJOR."""

_CONFIGURATION_AT = 4
"""Byte of the av1C property at which its OBUs begin, which libheif puts before those of the picture."""

_PADDING = 64
"""Pixels to an edge that a frame may have beyond its size before dav1d refuses it: its largest block is twice that."""

_MOST_PIXELS = 1 << 30
"""Of a frame; libheif takes as many."""


class NoDecoder(ImportError):
    """Raised where dav1d is not there, or of another version."""


def load() -> None:
    """Load dav1d once; raises NoDecoder. Before the process is confined."""
    global _library  # noqa: PLW0603  a library is loaded once a process
    try:
        library = bundled.load("PIL", "pillow.libs/libavif", _FUNCTIONS)
    except FileNotFoundError as error:
        raise NoDecoder("dav1d, which comes with Pillow, is not there") from error
    except AttributeError as error:
        raise NoDecoder("Pillow's libavif does not give dav1d to others") from error
    if library.dav1d_version_api() >> 16 != VERSION:
        raise NoDecoder(f"Pillow's dav1d is not of version {VERSION} of its interface")
    _library = library


def require_sound(coded: Coded) -> Picture:
    """Decode a picture, and throw it away; gives what it is.

    Raises
    ------
    StageError: image_corrupt, where it breaks the code, or is larger than its item says.
    MemoryError: as it says.
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
        # A call takes what it can, or says that a picture has to be fetched first.
        while True:
            if packet.size and (code := _library.dav1d_send_data(decoder, packet)) != _AGAIN:
                _check(code)
            left = packet.size
            code = _library.dav1d_get_picture(decoder, picture)
            if code == 0:
                try:
                    found = found or Picture(picture.width, picture.height, (picture.layout, picture.bits))
                finally:
                    _library.dav1d_picture_unref(picture)
                continue
            if code != _AGAIN:
                _check(code)
            # What comes behind the picture has to be sound, too: libheif reads all of it.
            if not left and found:
                return found
            if not left:
                raise _damaged("a part of the picture is not there")
    finally:
        _library.dav1d_data_unref(packet)


def _check(code: int) -> None:
    if code == -errno.ENOMEM:
        raise MemoryError
    if code == -errno.ERANGE:
        raise _damaged("a coded picture is larger than its item says")
    if code:
        raise _damaged(f"a coded picture breaks the code ({errno.errorcode.get(-code, code)})")


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
        ("rest", ctypes.c_byte * 252),  # more than it has
    )


class _Data(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("rest", ctypes.c_byte * 256),
    )


class _Picture(ctypes.Structure):
    _fields_ = (
        ("headers", ctypes.c_void_p * 2),
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
