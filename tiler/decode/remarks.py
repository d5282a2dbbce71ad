"""Which of a decoder's remarks leave the pixels as they are. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

PASSING = re.compile(
    "Old-style LZW codes|not terminated with EOI code|fax Group 3 data without EOL|JPEG strip size exceeds"
    "|normally not legal for JPEG-in-TIFF|more than one alpha|assuming 8-bit palette|Unknown field with tag"
)
"""What libtiff remarks while it decodes all there is. Whatever else it remarks then, pixels are missing; also whatever
libjpeg does, which words its first remark of each strip or tile alone, and would hide a worse one behind it."""

PAINTED = "error in tile"
"""libvips' remark where it paints a tile black, whatever the format."""


def painted(remarks: Iterable[str]) -> str:
    """Give the remarks that say that a tile was painted black, line by line.

    All decoders but libtiff fail at damage. What libheif keeps to itself is found before it decodes: see
    tiler.decode.readers.heif.sound.
    """
    return "\n".join(remark for remark in remarks if PAINTED in remark)


def without(text: str, harmless: re.Pattern[str]) -> str:
    """Give what decoders said, line by line, without what is harmless."""
    return "\n".join(line for line in text.splitlines() if not harmless.search(line))
