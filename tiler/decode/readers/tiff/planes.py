"""Present each separate plane of a page to libvips as a TIFF with one sample a pixel, and join the planes.

Which pages need this is decided by pipeline.formats.tiff.layout.is_split: libvips 8.18 cannot read separate planes in
tiles, and reads most others wrongly. Each plane becomes a BigTIFF that is made in memory: its directory comes first,
followed by the unchanged bytes of the real file.
"""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

import pyvips

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff.alpha import premultiplied_by
from pipeline.formats.tiff.checks import require_listed
from pipeline.formats.tiff.colours import BLACK_IS_ZERO, WHITE_IS_ZERO
from pipeline.formats.tiff.layout import PALETTE, RGB, SEPARATED, Layout, layout_of
from tiler.decode.percentiles import SCALED
from tiler.decode.readers.tiff.premultiplied import straight
from tiler.decode.readers.tiff.rewritten import Rewritten, placed
from tiler.decode.readers.tiff.virtual_tiff import Entry, kept, short

OF_ALL = {
    Tag.BITS,
    Tag.COLOUR_MAP,
    Tag.EXTRA_SAMPLES,
    Tag.INK_SET,
    Tag.INKS,
    Tag.PHOTOMETRIC,
    Tag.SAMPLES,
    Tag.SAMPLE_FORMAT,
}
"""Tags that describe all planes together."""


def opened(path: Path, directory: Directory, options: dict[str, str | bool]) -> tuple[pyvips.Image, list[Rewritten]]:
    """Open a page plane by plane, to be read once from top to bottom.

    Parameters
    ----------
    path: of the real file.
    directory: of the page; its file may be closed afterwards.
    options: of libvips' loader.

    Returns
    -------
    The joined image with straight colours, and the planes that are read. If several planes follow the colours, they are
    never shown: only one that the colours are multiplied by is read, and all are black in the image.

    Raises
    ------
    StageError: image_corrupt, image_truncated.
    pyvips.Error: if libvips cannot open a plane.
    """
    layout = layout_of(directory)
    if layout is None:
        raise damaged("its directory is inconsistent")
    photometric = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO)
    colours = 4 if photometric == SEPARATED else 1 if layout.planes < 3 else 3
    shown = colours if layout.planes > colours + 1 else layout.planes
    alpha = premultiplied_by(directory)
    numbers = [*range(shown), *([alpha] if alpha is not None and alpha >= shown else [])]
    try:
        planes = [Rewritten(path, directory, _entries(directory, layout, number)) for number in numbers]
    except struct.error as error:
        raise StageError("image_truncated", CUT_SHORT) from error
    images = [pyvips.Image.new_from_source(plane.source(), "", **options) for plane in planes]
    first = images[0]
    if len(images) > shown:
        images[:shown] = [_straight(images[:shown], images.pop())]
    elif alpha is not None:
        images[:alpha] = [_straight(images[:alpha], images[alpha])]
    if shown < layout.planes:
        images.append(pyvips.Image.black(first.width, first.height, bands=layout.planes - shown).cast(first.format))
    joined = images[0].bandjoin(images[1:]) if len(images) > 1 else first
    return joined.copy(interpretation=_interpretation(first, photometric)), planes


def _straight(planes: list[pyvips.Image], alpha: pyvips.Image) -> pyvips.Image:
    """Return planes as one image, divided by their alpha. The plane of a palette has three colours."""
    joined = planes[0].bandjoin([*planes[1:], alpha])
    return straight(joined, joined.bands - 1).extract_band(0, n=joined.bands - 1)


def _interpretation(first: pyvips.Image, photometric: int) -> str:
    if photometric == SEPARATED:
        return "cmyk"
    if photometric == RGB and first.format in SCALED:
        return "srgb" if first.format == "uchar" else "rgb16"
    return str(first.interpretation)


def _entries(directory: Directory, layout: Layout, number: int) -> dict[int, Entry]:
    order = directory.order
    entries = kept(directory, OF_ALL)
    entries[Tag.PLANAR] = entries[Tag.SAMPLES] = short(1, order)
    entries[Tag.BITS] = short(directory.value(Tag.BITS, 1), order)
    entries[Tag.SAMPLE_FORMAT] = short(directory.value(Tag.SAMPLE_FORMAT, 1), order)
    photometric = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO)
    is_own = number == 0 and photometric in {WHITE_IS_ZERO, PALETTE}
    entries[Tag.PHOTOMETRIC] = short(photometric if is_own else BLACK_IS_ZERO, order)
    if is_own and photometric == PALETTE:
        entries |= {tag: entry for tag, entry in kept(directory, ()).items() if tag == Tag.COLOUR_MAP}
    of_plane = layout.chunks // layout.planes
    place = slice(number * of_plane, (number + 1) * of_plane)
    offsets, lengths = directory.listed()
    require_listed(offsets, lengths, layout)
    return placed(entries, array("Q", offsets[place]), array("Q", lengths[place]), directory, layout)
