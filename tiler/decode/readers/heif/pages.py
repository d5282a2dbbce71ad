"""Ask libheif which item of a HEIF each page is, since libheif counts and decodes the pages."""

from __future__ import annotations

import ctypes
from pathlib import Path

from tiler.decode import bundled

_MOST = 100_000
"""Most pages requested: libheif accepts far fewer items."""


def load() -> None:
    """Load libheif; raises bundled.NoLibrary. Must be called before the process is confined."""
    global _library  # noqa: PLW0603  a library is loaded once a process
    _library = bundled.load("libheif", "pi-heif", "_pi_heif", "pi_heif.libs/libheif", _FUNCTIONS)


def pages_of(path: Path) -> list[int]:
    """Return the item of each page of a file: the primary one, then the others in the file's order.

    The list is empty if libheif does not accept the file.
    """
    context = _library.heif_context_alloc()
    if not context:
        raise MemoryError
    try:
        if _library.heif_context_read_from_file(context, str(path).encode(), None).code:
            return []
        count = min(_library.heif_context_get_number_of_top_level_images(context), _MOST)
        numbers = (ctypes.c_uint32 * max(1, count))()
        found = _library.heif_context_get_list_of_top_level_image_IDs(context, numbers, count)
        primary = ctypes.c_uint32()
        if _library.heif_context_get_primary_image_ID(context, primary).code:
            return []
        return sorted(numbers[:found], key=lambda number: number != primary.value)
    finally:
        _library.heif_context_free(context)


class _Error(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int), ("more", ctypes.c_int), ("message", ctypes.c_char_p))


_CONTEXT = ctypes.c_void_p
_FUNCTIONS: dict[str, tuple[type | None, ...]] = {
    "heif_context_alloc": (_CONTEXT,),
    "heif_context_free": (None, _CONTEXT),
    "heif_context_read_from_file": (_Error, _CONTEXT, ctypes.c_char_p, ctypes.c_void_p),
    "heif_context_get_primary_image_ID": (_Error, _CONTEXT, ctypes.POINTER(ctypes.c_uint32)),
    "heif_context_get_number_of_top_level_images": (ctypes.c_int, _CONTEXT),
    "heif_context_get_list_of_top_level_image_IDs": (
        ctypes.c_int,
        _CONTEXT,
        ctypes.POINTER(ctypes.c_uint32),
        ctypes.c_int,
    ),
}
_library: ctypes.CDLL
