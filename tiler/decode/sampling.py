"""Take a bounded sample of a page's pixels, to find the range of its samples without a second decoding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pyvips

from pipeline.stretch import Kind, Stretch
from tiler.decode.percentiles import countable, limits
from tiler.decode.reader import Reader
from tiler.image_progress import PASS_SHARE, follow
from tiler.progress import Meter

SAMPLE_PIXELS = 1 << 18
"""Most pixels of a sample. A percentile of as many differs by a tenth of a percent from that of the page."""

SMALL_PIXELS = 1 << 22
"""Pages of at most this many pixels are decoded as a whole, which takes a moment."""


class Sample(NamedTuple):
    """Pixels of a page.

    Parameters
    ----------
    image: their samples.
    hidden: a mask, 255 where the page shows nothing; None if it shows all.
    """

    image: pyvips.Image
    hidden: pyvips.Image | None = None

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
    region, rows = pyvips.Region.new(image), []
    for row in range(0, height // down * down, down):
        line = pyvips.Image.new_from_memory(
            region.fetch(0, row, width, 1), width, 1, image.bands, image.format
        ).subsample(across, 1)
        rows.append(line.write_to_memory())
        move((row + down) / height)
    return pyvips.Image.new_from_memory(b"".join(rows), width // across, len(rows), image.bands, image.format)


def sample_of(reader: Reader, stretch: Stretch, meter: Meter) -> Sample:
    """Return some pixels of the page, in memory; all of them if they are few.

    Parameters
    ----------
    stretch: what the sample is for. The least and the greatest sample are found in all pixels.
    meter: receives the progress of an extra pass.

    Raises
    ------
    StageError, pyvips.Error: if the page, or the parts of it that are read, cannot be decoded.
    """
    if stretch.kind is not Kind.RANGE and (sample := part_of(reader)) is not None:
        return sample
    image = reader.open().copy()
    meter.begin(PASS_SHARE)
    follow(image, meter)
    hidden = reader.hidden
    if reader.missing is not None:
        hidden = reader.missing.mask() if hidden is None else hidden | reader.missing.mask()
    whole = Sample(image, hidden)
    with reader.heeded():
        return Sample(_ends(whole)) if stretch.kind is Kind.RANGE else whole.thinned(meter.move)


def part_of(reader: Reader) -> Sample | None:
    """Return some pixels of a large page, in memory; None if the page is small, or parts of it are not cheap to read.

    Raises
    ------
    As `sample_of`.
    """
    header = reader.header()
    if reader.missing is not None:
        return None
    if header.width * header.height <= SMALL_PIXELS or (part := reader.part(SAMPLE_PIXELS)) is None:
        return None
    image = part.open()
    with part.heeded():
        return Sample(image, part.hidden).thinned()


def _ends(whole: Sample) -> pyvips.Image:
    """Return the least and the greatest finite sample of all colours as an image of two pixels, found in one pass."""
    samples, valid = countable(whole.image, whole.hidden)
    both = samples
    if valid is not None:
        least, greatest = limits(samples.format)
        both = valid.ifthenelse(samples, greatest).bandjoin(valid.ifthenelse(samples, least))
    # In the table, row 0 covers all bands; columns 0 and 1 are minimum and maximum.
    table = both.stats()
    rows = range(1, samples.bands + 1)
    low = min(table(0, row)[0] for row in rows)
    high = max(table(1, row + both.bands - samples.bands)[0] for row in rows)
    return pyvips.Image.new_from_array([[low, high] if low <= high else [math.nan] * 2])
