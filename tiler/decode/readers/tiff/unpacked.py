"""Read samples that libvips cannot read: its own operations make them of the bytes of each row.

Which pages need this is decided by pipeline.formats.tiff.samples.is_unpacked. `recoded` presents such a page, or each
of its separate planes, as a page of bytes. All that follows is streamed by libvips.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from functools import reduce
from operator import or_
from pathlib import Path

import pyvips

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.tiff import NATIVE, PLACES, Directory, Tag
from pipeline.formats.tiff.checks import require_listed
from pipeline.formats.tiff.colours import BLACK_IS_ZERO, WHITE_IS_ZERO
from pipeline.formats.tiff.layout import PALETTE, RGB, YCBCR, Layout, layout_of
from pipeline.formats.tiff.samples import (
    COMPLEX,
    COMPLEXES,
    FLOAT,
    SIGNED,
    group_of,
    is_packed,
    kind_of_samples,
    packed_range,
)
from tiler.decode.percentiles import INTEGERS, SCALED
from tiler.decode.readers.tiff.hidden import palette_of
from tiler.decode.readers.tiff.recoded import Recoded

_NUMBERS = {(16, False): "short", (32, False): "int", (32, True): "float", (64, True): "double"}
"""libvips' names of numbers, by their bits and whether they are floats."""

_WORD = 1 << 32


def opened(path: Path, directory: Directory, options: dict[str, str | bool]) -> tuple[pyvips.Image, list[Recoded]]:
    """Open a page to be read once from top to bottom.

    Parameters
    ----------
    path: of the real file.
    directory: of the page; its file may be closed afterwards.
    options: of libvips' loader.

    Returns
    -------
    The page, with samples as they are stored, and what libvips reads. 64-bit integers become doubles, exact up to 2^53,
    and complex samples their magnitudes. Samples of fewer than 8 bits are scaled to 8, or become a palette's colours.
    If zero is white, unsigned samples of up to 32 bits are inverted. Bands after the colours of 9 to 15 bits are scaled
    to 16.

    Raises
    ------
    StageError: image_corrupt, image_truncated, unsupported_format.
    pyvips.Error: if libvips cannot open it.
    """
    layout = layout_of(directory)
    if layout is None:
        raise damaged("its directory is inconsistent")
    try:
        parts = list(_planes(directory, layout))
        made = [Recoded(path, part, as_bytes=True) for part in parts]
        images = [
            _samples(pyvips.Image.new_from_source(each.source(), "", **options), part)
            for each, part in zip(made, parts, strict=True)
        ]
        joined = images[0].bandjoin(images[1:]) if len(images) > 1 else images[0]
        return _named(_scaled(joined, directory), directory), made
    except struct.error as error:
        raise StageError("image_truncated", CUT_SHORT) from error


def _planes(directory: Directory, layout: Layout) -> Iterator[Directory]:
    """Yield the directory of each separate plane as that of a page of its own; the directory itself if it has none."""
    if layout.planes == 1:
        yield directory
        return
    offsets, lengths = directory.listed()
    require_listed(offsets, lengths, layout)
    offsets_tag, lengths_tag = PLACES[layout.tiled]
    of_plane, one = layout.chunks // layout.planes, array("Q", [1])
    for number in range(layout.planes):
        place = slice(number * of_plane, (number + 1) * of_plane)
        changed = {offsets_tag: array("Q", offsets[place]), lengths_tag: array("Q", lengths[place])}
        yield directory.replaced({Tag.PLANAR: one, Tag.SAMPLES: one, **changed})


def _samples(stored: pyvips.Image, directory: Directory) -> pyvips.Image:
    """Return samples of a page or plane.

    Parameters
    ----------
    stored: one band of bytes, each row of strips or tiles beside each other.
    """
    bits, kind = kind_of_samples(directory)
    width, samples = directory.value(Tag.WIDTH, 0), directory.value(Tag.SAMPLES, 1)
    if is_packed(bits):
        values = _packed(stored, bits)
    elif kind in COMPLEXES:
        parts = _numbers(stored, _NUMBERS[bits // 2, kind == COMPLEX], directory.order).bandfold(factor=2)
        values = _magnitude(parts)
    elif kind == FLOAT:
        values = _numbers(stored, "double", directory.order)
    else:
        values = _integers(stored, directory.order, is_signed=kind == SIGNED)
    values = values.crop(0, 0, width * samples, values.height)
    return values.bandfold(factor=samples) if samples > 1 else values


def _numbers(stored: pyvips.Image, name: str, order: str, words: int = 1) -> pyvips.Image:
    """Return numbers of so many `words` each, one in each band."""
    size = {"short": 2, "int": 4, "uint": 4, "float": 4, "double": 8}[name]
    found = stored.bandfold(factor=size * words).copy(format=name, bands=words)
    return found if order == NATIVE else found.byteswap()


def _integers(stored: pyvips.Image, order: str, *, is_signed: bool) -> pyvips.Image:
    words = _numbers(stored, "uint", order, words=2)
    low, high = (words.extract_band(band) for band in ((0, 1) if order == "<" else (1, 0)))
    high = high.copy(format="int") if is_signed else high
    return high.cast("double") * _WORD + low.cast("double")


def _magnitude(parts: pyvips.Image) -> pyvips.Image:
    real, imaginary = (parts.extract_band(band).cast("double") for band in (0, 1))
    found = (real * real + imaginary * imaginary) ** 0.5
    return found.cast("float") if parts.format != "double" else found


def _packed(stored: pyvips.Image, bits: int) -> pyvips.Image:
    """Return integers whose bits follow each other, the highest first in any byte order (TIFF 6.0, FillOrder)."""
    size, count = group_of(bits)
    width = -(-stored.width // size) * size
    padded = stored if width == stored.width else stored.embed(0, 0, width, stored.height)
    group = padded.bandfold(factor=size) if size > 1 else padded
    name = next(each for each in ("uchar", "ushort", "uint") if INTEGERS[each][1] >> bits)
    values = [_packed_one(group, number * bits, bits, name) for number in range(count)]
    return values[0].bandjoin(values[1:]).bandunfold(factor=count) if count > 1 else values[0]


def _packed_one(group: pyvips.Image, first: int, bits: int, name: str) -> pyvips.Image:
    """Return the sample that begins at bit `first` of a group of bytes."""
    parts = []
    for byte in range(first // 8, -(-(first + bits) // 8)):
        begin, end = max(first, 8 * byte), min(first + bits, 8 * byte + 8)
        band = group.extract_band(byte) if group.bands > 1 else group
        part = (band >> (8 * byte + 8 - end)) & ((1 << (end - begin)) - 1)
        parts.append(part.cast(name) << (first + bits - end))
    return reduce(or_, parts)


def _scaled(image: pyvips.Image, directory: Directory) -> pyvips.Image:
    """Return packed samples inverted if zero is white, and scaled where `opened` says so."""
    bits, _ = kind_of_samples(directory)
    if not is_packed(bits):
        return image
    most = (1 << bits) - 1
    photometric = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO)
    colours = min(image.bands, 3) if photometric in {RGB, YCBCR} else 1
    shown, others = image.extract_band(0, n=colours), None
    if image.bands > colours:
        others = image.extract_band(colours, n=image.bands - colours)
    if photometric == WHITE_IS_ZERO:
        shown = shown ^ most
    if photometric == PALETTE:
        shown = shown.maplut(pyvips.Image.new_from_memory(palette_of(directory), 1 << bits, 1, 3, "uchar"))
    elif bits < 8:
        shown = _to_range(shown, most)
    if others is not None:
        shown = shown.bandjoin(_to_range(others, most) if image.format in SCALED else others)
    return shown


def limited(image: pyvips.Image, directory: Directory) -> pyvips.Image:
    """Return an image with colours of at most the greatest value of their bits, after a division by transparency."""
    most = packed_range(directory)
    if most is None:
        return image
    colours = min(image.bands - 1, 3)
    shown = image.extract_band(0, n=colours)
    shown = (shown > most[1]).ifthenelse(most[1], shown).cast(image.format)
    return shown.bandjoin(image.extract_band(colours, n=image.bands - colours)).copy(
        interpretation=image.interpretation
    )


def _to_range(image: pyvips.Image, most: int) -> pyvips.Image:
    return (image * (INTEGERS[image.format][1] / most)).rint().cast(image.format)


def _named(image: pyvips.Image, directory: Directory) -> pyvips.Image:
    is_rgb = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) in {PALETTE, RGB, YCBCR}
    is_wide = image.format == "ushort"
    name = ("rgb16" if is_wide else "srgb") if is_rgb else ("grey16" if is_wide else "b-w")
    return image.copy(interpretation=name)
