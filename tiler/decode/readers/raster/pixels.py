"""Make an image of stored rows: libvips computes each pixel when it is needed, from the bytes as they are stored."""

from __future__ import annotations

import struct

import pyvips

from pipeline.errors import StageError
from pipeline.formats.header import SAMPLE_BYTES
from pipeline.formats.rasters import Raster

MOST_EDGE = 10_000_000
"""Most bytes of a padded row, or pixels of an edge, that libvips accepts."""

_NAMES = {("uchar", False): "b-w", ("uchar", True): "srgb", ("ushort", False): "grey16", ("ushort", True): "rgb16"}
_WIDE = 0xFFFF


def image_of(raster: Raster, rows: memoryview) -> pyvips.Image:
    """Return the page as an image that can be read in any order.

    Parameters
    ----------
    rows: bytes of all rows. If there are fewer, the missing ones are black.

    Raises
    ------
    StageError: image_too_large.
    """
    image = _pixels(raster, rows)
    if raster.is_bottom_up:
        image = image.flipver()
    if image.height < raster.height:
        at = raster.height - image.height if raster.is_bottom_up else 0
        image = image.embed(0, at, image.width, raster.height)
    if raster.is_right_to_left:
        image = image.fliphor()
    colours = image.bands - raster.has_alpha
    named = _NAMES.get((image.format, colours > 2), "b-w" if colours < 3 else "srgb")
    image = image.copy(interpretation=named)
    if raster.is_premultiplied:
        kind = image.format
        image = image.unpremultiply().rint().cast(kind).copy(interpretation=named)
    return image


def _pixels(raster: Raster, rows: memoryview) -> pyvips.Image:
    """Return the pixels in the order in which they are stored."""
    if raster.masks:
        return _masked(raster, rows)
    if raster.pixel_bits < 8 or raster.palette:
        return _looked_up(raster, rows)
    stored = raster.pixel_bits // 8
    image = _bytes(raster, rows, stored)
    if raster.sample != "uchar":
        image = image.copy(format=raster.sample, bands=stored // SAMPLE_BYTES[raster.sample])
        image = image.byteswap() if raster.is_big_endian else image
    if raster.order:
        bands = [image.extract_band(band) for band in raster.order]
        image = bands[0].bandjoin(bands[1:]) if len(bands) > 1 else bands[0]
    return _full_range(raster, image)


def _bytes(raster: Raster, rows: memoryview, each: int) -> pyvips.Image:
    """Return the rows as an image with the bytes of a pixel as its bands, without the padding."""
    height = len(rows) // raster.row_bytes
    used = raster.width * each
    if max(raster.row_bytes if raster.row_bytes > used else raster.width, raster.height) > MOST_EDGE:
        raise StageError(
            "image_too_large",
            f"The image has {raster.width:,} x {raster.height:,} pixels, and an edge longer than its decoder accepts.",
        )
    if raster.row_bytes == used:
        return pyvips.Image.new_from_memory(rows, raster.width, height, each, "uchar")
    image = pyvips.Image.new_from_memory(rows, raster.row_bytes, height, 1, "uchar").crop(0, 0, used, height)
    return image.bandfold(factor=each) if each > 1 else image


def _looked_up(raster: Raster, rows: memoryview) -> pyvips.Image:
    """Return pixels of up to 8 bits: colours of a palette, or levels of grey. A byte may have several pixels."""
    bits, bands = raster.pixel_bits, raster.bands
    palette = raster.palette or bytes(level * 255 // ((1 << bits) - 1) for level in range(1 << bits))
    palette = palette.ljust(bands << bits, b"\0")
    each = 8 // bits
    mask = (1 << bits) - 1
    table = bytearray()
    for byte in range(256):
        for at in range(each):
            index = byte >> (8 - bits * (at + 1)) & mask
            table += palette[index * bands : (index + 1) * bands]
    lut = pyvips.Image.new_from_memory(bytes(table), 256, 1, each * bands, "uchar")
    height = len(rows) // raster.row_bytes
    if raster.row_bytes * each > MOST_EDGE:
        raise StageError(
            "image_too_large", f"The image is {raster.width:,} pixels wide, more than its decoder accepts."
        )
    image = pyvips.Image.new_from_memory(rows, raster.row_bytes, height, 1, "uchar").maplut(lut)
    return (image.bandunfold(factor=each) if each > 1 else image).crop(0, 0, raster.width, height)


def _masked(raster: Raster, rows: memoryview) -> pyvips.Image:
    """Return pixels whose bands are groups of bits, spread over 0 to 255."""
    stored = raster.pixel_bits // 8
    image = _bytes(raster, rows, stored).copy(format="ushort" if stored == 2 else "uint", bands=1)
    if stored == 2:
        table = bytearray()
        for value in range(1 << 16):
            table += bytes(_spread(value, mask) for mask in raster.masks)
        return image.maplut(pyvips.Image.new_from_memory(bytes(table), 1 << 16, 1, len(raster.masks), "uchar"))
    bands = [_extracted(image, mask) for mask in raster.masks]
    return bands[0].bandjoin(bands[1:])


def _spread(value: int, mask: int) -> int:
    lowest = mask & -mask
    most = mask // lowest
    return ((value & mask) // lowest * 255 + most // 2) // most


def _extracted(image: pyvips.Image, mask: int) -> pyvips.Image:
    """Return the bits of a mask, spread over 0 to 255. Computed in doubles: libvips' constants are signed integers."""
    lowest = mask & -mask
    most = mask // lowest
    above = (image.cast("double") / lowest).floor()
    value = above - (above / (most + 1)).floor() * (most + 1)
    return (value * (255 / most)).rint().cast("uchar")


def _full_range(raster: Raster, image: pyvips.Image) -> pyvips.Image:
    """Return samples that reach up to `raster.most` spread over the range of their type. Greater ones are the most.

    16-bit samples without transparency stay as they are: see RasterReader.stated_range.
    """
    if raster.sample == "uchar" and raster.most not in {0, 255}:
        table = bytes((min(value, raster.most) * 255 + raster.most // 2) // raster.most for value in range(256))
        return image.maplut(pyvips.Image.new_from_memory(table, 256, 1, 1, "uchar"))
    if raster.sample == "ushort" and raster.has_alpha and raster.most not in {0, _WIDE}:
        levels = ((min(value, raster.most) * _WIDE + raster.most // 2) // raster.most for value in range(1 << 16))
        table = struct.pack(f"={1 << 16}H", *levels)
        return image.maplut(pyvips.Image.new_from_memory(table, 1 << 16, 1, 1, "ushort"))
    return image
