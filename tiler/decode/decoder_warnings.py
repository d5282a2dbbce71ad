"""Tell the warnings of decoders that concern the pixels from those that do not. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable

PASSING = re.compile(
    "Old-style LZW codes|not terminated with EOI code|fax Group 3 data without EOL|JPEG strip size exceeds"
    "|normally not legal for JPEG-in-TIFF|more than one alpha|assuming 8-bit palette|Unknown field with tag"
)
"""Warnings that libtiff gives although it decodes all pixels. After any other warning of libtiff, pixels are missing.
The same holds for any warning of libjpeg: it prints only the first one of each strip or tile, and a worse one may
follow unseen."""

PAINTED = "error in tile"
"""libvips' warning when it paints a tile black, in any format."""


def painted(remarks: Iterable[str]) -> str:
    """Return the warnings about tiles that were painted black, one a line.

    All decoders except libtiff and libheif fail on damage. Damage that libheif hides is found before it decodes: see
    tiler.decode.readers.heif.damage.
    """
    return "\n".join(remark for remark in remarks if PAINTED in remark)


def without(text: str, harmless: re.Pattern[str]) -> str:
    """Return the decoders' messages without the harmless lines."""
    return "\n".join(line for line in text.splitlines() if not harmless.search(line))
