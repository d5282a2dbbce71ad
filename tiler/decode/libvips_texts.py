"""Handle texts of libvips that quote bytes of the file. pyvips decodes them as UTF-8, but they may be anything."""

from __future__ import annotations

import pyvips

ERRORS = (pyvips.Error, UnicodeDecodeError)
"""Errors that pyvips raises if libvips fails. It raises UnicodeDecodeError if libvips' message quotes bytes of the file
that are not UTF-8. pipeline.formats.decoder_errors.said_by returns the text of both."""


def field_names(image: pyvips.Image) -> list[bytes]:
    """Return the names of an image's metadata as bytes: the name of a PNG's comment is Latin-1 from the file."""
    names = []
    fields = pyvips.vips_lib.vips_image_get_fields(image.pointer)
    place = 0
    while fields[place] != pyvips.ffi.NULL:
        names.append(pyvips.ffi.string(fields[place]))
        pyvips.glib_lib.g_free(fields[place])
        place += 1
    pyvips.glib_lib.g_free(fields)
    return names
