"""Take a bounded sample of a page's pixels, to find the range of its samples without a second decoding."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import pyvips

from pipeline.formats.header import pixel_bytes
from pipeline.stretch import Kind, Stretch
from tiler.decode.percentiles import FRACTIONS, SCALED, countable, limits, percentiles
from tiler.decode.reader import Reader
from tiler.image_progress import PASS_SHARE, follow
from tiler.progress import Meter

SAMPLE_PIXELS = 1 << 18
"""Most pixels of a sample. A percentile of as many differs by a tenth of a percent from that of the page."""

SMALL_PIXELS = 1 << 22
"""Pages of at most this many pixels are decoded as a whole, which takes a moment."""

JOINED_BYTES = 1 << 22
"""Rows are thinned this many bytes at a time."""


@dataclass(frozen=True)
class Sample:
    """Pixels of a page.

    Parameters
    ----------
    image: their samples.
    hidden: a mask, 255 where the page shows nothing; None if it shows all.
    """

    image: pyvips.Image
    hidden: pyvips.Image | None = None
    _found: dict[Stretch, tuple[float, float] | None] = field(default_factory=dict, compare=False, repr=False)

    def range(self, rule: Stretch) -> tuple[float, float] | None:
        """Return the samples that become 0 and 255; None if there is no finite sample that is shown.

        Samples of wholly transparent pixels do not count, if there is a band of transparency.
        """
        if rule not in self._found:
            shares = (0.0, 100.0) if rule.kind is Kind.RANGE else rule.percentiles
            found = percentiles(self.image, shares, self.hidden)
            self._found[rule] = None if found is None else (found[0], found[1])
        return self._found[rule]

    def thinned(self, move: Callable[[float], None] = lambda _: None) -> Sample:
        """Return at most SAMPLE_PIXELS of the pixels, evenly spread, in memory. Raises pyvips.Error.

        Parameters
        ----------
        move: receives the share of the image that was decoded.
        """
        bands = self.image.bands
        # Both are read at the same time: see tiler.decode.reader.Reader.
        few = _thinned(self.image if self.hidden is None else self.image.bandjoin(self.hidden), move)
        few = few.copy(interpretation=self.image.interpretation)
        if self.hidden is None:
            return Sample(few)
        return Sample(few.extract_band(0, n=bands), few.extract_band(bands) != 0)


def _thinned(image: pyvips.Image, move: Callable[[float], None]) -> pyvips.Image:
    width, height = image.width, image.height
    factor = math.ceil(math.sqrt(width * height / SAMPLE_PIXELS))
    across = min(factor, width)
    down = min(math.ceil(width * height / (across * SAMPLE_PIXELS)), height)
    if across * down == 1:
        return image.copy_memory()
    # Row by row from top to bottom, since libvips' own subsample reads several at a time, in any order.
    region, joined, lines = pyvips.Region.new(image), bytearray(), bytearray()
    kept = range(0, height // down * down, down)
    for row in kept:
        lines += region.fetch(0, row, width, 1)
        if len(lines) >= JOINED_BYTES or row == kept[-1]:
            joined += _columns(lines, width, across, image)
            lines.clear()
            move((row + down) / height)
    return pyvips.Image.new_from_memory(bytes(joined), width // across, len(kept), image.bands, image.format)


def _columns(lines: bytearray, width: int, across: int, like: pyvips.Image) -> bytes:
    """Return each n-th pixel of some rows."""
    rows = len(lines) // (width * pixel_bytes(like))
    image = pyvips.Image.new_from_memory(bytes(lines), width, rows, like.bands, like.format)
    kept: bytes = image.subsample(across, 1).write_to_memory()
    return kept


def sample_of(reader: Reader, stretch: Stretch, meter: Meter, band: int | None = None) -> Sample:
    """Return some pixels of the page, in memory; all of them if they are few.

    Parameters
    ----------
    stretch: what the sample is for. The least and the greatest sample are found in all pixels, unless they are given.
    meter: receives the progress of an extra pass.
    band: the only one to return; None for all.

    Raises
    ------
    StageError, pyvips.Error: if the page, or the parts of it that are read, cannot be decoded.
    """
    is_of_all = stretch.kind is Kind.RANGE and stretch.low is None
    if not is_of_all and (sample := part_of(reader, band)) is not None:
        return sample
    image = reader.open().copy()
    meter.begin(PASS_SHARE)
    follow(image, meter)
    hidden = reader.hidden
    if reader.missing is not None:
        hidden = reader.missing.mask() if hidden is None else hidden | reader.missing.mask()
    whole = Sample(_band(image, band), hidden)
    with reader.heeded():
        return Sample(_ends(whole, reader)) if is_of_all else whole.thinned(meter.move)


def part_of(reader: Reader, band: int | None = None) -> Sample | None:
    """Return some pixels of a large page, in memory; None if the page is small, or parts of it are not cheap to read.

    Parameters
    ----------
    band: as for `sample_of`.

    Raises
    ------
    As `sample_of`.
    """
    header = reader.header()
    if reader.missing is not None or header.width * header.height <= SMALL_PIXELS:
        return None
    if (part := reader.part(SAMPLE_PIXELS)) is None:
        return None
    image = part.open()
    with part.heeded():
        return Sample(_band(image, band), part.hidden).thinned()


def _band(image: pyvips.Image, band: int | None) -> pyvips.Image:
    if band is None:
        return image
    return image.extract_band(min(band, image.bands - 1)).copy(interpretation="b-w")


def _ends(whole: Sample, reader: Reader) -> pyvips.Image:
    """Return two opaque pixels: in all colours the least and the greatest finite sample, found in one pass.

    The bands after the colours are 1, or 2 in a band of floats that are no transparency: see tiler.decode.samples.
    """
    bands = whole.image.bands
    colours = 1 if bands < 3 else 3
    plain = whole.image.extract_band(0, n=colours)
    found = [_bounded(plain, whole.hidden)]
    if bands == colours + 1 and reader.is_transparency(bands):
        band = whole.image.extract_band(colours)
        found += [_bounded(whole.image, whole.hidden), (band < 0) | (band > 1)]
    # In the table, row 0 covers all bands; columns 0 and 1 are minimum and maximum.
    table = (found[0].bandjoin(found[1:]) if found[1:] else found[0]).stats()
    stored = reader.samples or whole.image.format
    is_fraction = stored in FRACTIONS and bool(found[1:]) and table(1, 4 * colours + 1)[0] == 0
    is_seen = is_fraction or (stored in SCALED and bool(found[1:]))
    first = 2 * colours * is_seen + 1
    low = min(table(0, first + row)[0] for row in range(colours))
    high = max(table(1, first + colours + row)[0] for row in range(colours))
    ends = [low, high] if low <= high else [math.nan] * 2
    after = [1.0 if is_seen else 2.0] * (bands - colours)
    values = array("d", [value for end in ends for value in [end] * colours + after])
    return pyvips.Image.new_from_memory(values.tobytes(), 2, 1, bands, "double").copy(
        interpretation=whole.image.interpretation
    )


def _bounded(image: pyvips.Image, hidden: pyvips.Image | None) -> pyvips.Image:
    """Return the colours twice: once with what does not count as the greatest value, and once as the least."""
    samples, valid = countable(image, hidden)
    if valid is None:
        return samples.bandjoin(samples)
    least, greatest = limits(samples.format)
    return valid.ifthenelse(samples, greatest).bandjoin(valid.ifthenelse(samples, least))
