"""The formats of sources as people write them: the table for the page, `tilewright doctor` and messages."""

from __future__ import annotations

from typing import Final

IMAGES: Final = {
    "jpeg": "JPEG",
    "png": "PNG",
    "tiff": "TIFF",
    "webp": "WebP",
    "gif": "GIF",
    "heif": "HEIC",
    "avif": "AVIF",
    "bmp": "BMP",
    "pnm": "PNM",
    "tga": "TGA",
}
"""Formats that every installation reads, by the name that a status has."""

ARCHIVES: Final = {"zip": "ZIP", "gzip": "gzip"}
"""Kinds of archive (pipeline.formats.kinds) in which an image is found."""


def listed() -> str:
    """Return all of them for a sentence: "JPEG, …, PNM or TGA, also in a ZIP or gzip file"."""
    *others, last = IMAGES.values()
    return f"{', '.join(others)} or {last}, also in a {' or '.join(ARCHIVES.values())} file"
