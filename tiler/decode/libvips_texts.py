"""What libvips says in bytes of the file. It need not be UTF-8, which pyvips takes it for."""

from __future__ import annotations

import pyvips

ERRORS = (pyvips.Error, UnicodeDecodeError)
"""What pyvips raises if libvips fails; the latter if libvips' message quotes bytes of the file that are no UTF-8. Such
an error's text is returned by pipeline.formats.decoder_errors.said_by."""


def field_names(image: pyvips.Image) -> list[bytes]:
    """Return the names of an image's metadata. The name of a PNG's comment is Latin-1, and comes from the file."""
    names = []
    fields = pyvips.vips_lib.vips_image_get_fields(image.pointer)
    place = 0
    while fields[place] != pyvips.ffi.NULL:
        names.append(pyvips.ffi.string(fields[place]))
        pyvips.glib_lib.g_free(fields[place])
        place += 1
    pyvips.glib_lib.g_free(fields)
    return names
