"""Compose channels in their colours: docs/decisions/0027.

Each channel becomes 8 bits by its own range. A table of 256 colours maps its levels, and the colours of all channels
are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, reduce
from operator import and_
from typing import NamedTuple

import pyvips

from pipeline.channel_choice import hexadecimal
from pipeline.stretch import Kind, Stretch
from tiler.decode.layers import Layer
from tiler.decode.reader import Reader
from tiler.decode.samples import AUTO, Shown, automatic, show
from tiler.decode.sampling import Sample

AS_IT_IS = Stretch(Kind.NONE)


class Opened(NamedTuple):
    """The page of a layer: its samples, and a mask of what is hidden (tiler.decode.reader.Reader.hidden)."""

    image: pyvips.Image
    hidden: pyvips.Image | None


class Composed(NamedTuple):
    """Composed channels.

    Parameters
    ----------
    image: 8-bit sRGB.
    hidden: where no channel shows anything; None if something is shown everywhere.
    shown: how each channel became 8 bits, in the order of the layers.
    """

    image: pyvips.Image
    hidden: pyvips.Image | None
    shown: list[Shown]


def compose(
    layers: tuple[Layer, ...],
    pages: Mapping[Reader, Opened],
    stretch: Stretch,
    decisions: list[str],
    sample: Callable[[Layer], Sample],
) -> Composed:
    """Compose channels. Nothing is decoded but what `sample` decodes.

    Parameters
    ----------
    layers: at least one.
    pages: the opened page of each reader.
    stretch: how samples become 8 bits, in each channel by itself.
    decisions: receives a line of text for each channel.
    sample: returns pixels of a layer, one band, in memory.

    Raises
    ------
    pyvips.Error: if a sample cannot be decoded.
    """
    parts, masks, shown = [], [], []
    for layer in layers:
        page = pages[layer.reader]
        band = page.image.extract_band(min(layer.band, page.image.bands - 1))
        band = band.copy(interpretation="b-w")
        pixels = cache(lambda layer=layer: sample(layer))
        rule = _rule(band, layer, stretch, pixels)
        if band.format == "uchar" and rule == AS_IT_IS:
            level, used = band, Shown(rule, "uchar", 0.0, 255.0)
        else:
            level, used = show(
                band, rule, pixels, decisions, reverse=layer.reader.is_reversed, stored=layer.reader.samples
            )
        part = level.maplut(_table(layer))
        if page.hidden is not None:
            part = page.hidden.ifthenelse(0, part)
        parts.append(part)
        masks.append(page.hidden)
        shown.append(used)
        decisions.append(f"channel {_named(layer)} in {hexadecimal(layer.colour)}: {used}")
    # The sum is a wider integer, and the cast clips it.
    image = reduce(lambda total, part: total + part, parts[1:], parts[0])
    hidden = reduce(and_, masks) if all(mask is not None for mask in masks) else None
    return Composed(image.cast("uchar").copy(interpretation="srgb"), hidden, shown)


def _named(layer: Layer) -> str:
    return f'{layer.number} "{layer.name}"' if layer.name else str(layer.number)


def _table(layer: Layer) -> pyvips.Image:
    """Return an image of 256 x 1 colours."""
    if layer.table:
        colours = bytes(layer.table[256 * band + level] for level in range(256) for band in range(3))
    else:
        colours = bytes((level * part + 127) // 255 for level in range(256) for part in layer.colour)
    return pyvips.Image.new_from_memory(colours, 256, 1, 3, "uchar")


def _rule(band: pyvips.Image, layer: Layer, asked: Stretch, sample: Callable[[], Sample]) -> Stretch:
    if asked.kind is Kind.NONE and (bits := layer.reader.range_of_bits()):
        return Stretch(Kind.RANGE, *bits)
    if asked.kind is not Kind.AUTO:
        return asked
    if layer.display is not None:
        return Stretch(Kind.RANGE, *layer.display)
    if band.format == "uchar":
        return AS_IT_IS
    found = sample().range(AUTO)
    if layer.stated is not None and found and layer.stated[0] <= found[0] and found[1] <= layer.stated[1]:
        return Stretch(Kind.RANGE, *layer.stated)
    return automatic(sample()) or AUTO
