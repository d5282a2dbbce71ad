"""Spread samples of limited range, as video has it, over the full range."""

from __future__ import annotations

import pyvips

BLACK, RANGE = 16, 219
"""Black, and the distance from black to white, of 8-bit samples of limited range (ISO/IEC 23091-2, 8.3). Samples of
more bits have the same shares of their range."""


def spread(image: pyvips.Image) -> pyvips.Image:
    """Return an 8- or 16-bit image of limited range with full range; transparency stays as it is."""
    colours = image.bands - 1 if image.hasalpha() else image.bands
    unit, white = (1, 255) if image.format == "uchar" else (256, 65535)
    scale = white / (RANGE * unit)
    full = image.extract_band(0, n=colours).linear(scale, -BLACK * unit * scale).rint().cast(image.format)
    return full.bandjoin(image.extract_band(colours)) if image.bands > colours else full
