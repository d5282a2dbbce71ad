"""Which samples of a TIFF are transparency. Pure functions."""

from __future__ import annotations

from pipeline.formats.tiff.directory import Directory, Tag
from pipeline.formats.tiff.layout import PALETTE

ANYTHING, PREMULTIPLIED = 0, 1
"""Values of Tag.EXTRA_SAMPLES: a sample of any meaning, and transparency that the colours are multiplied by."""


def premultiplied_by(directory: Directory) -> int | None:
    """Return the sample that the colours are multiplied by, from 0; None if there is none.

    As in libvips, it is the last one that ExtraSamples describes so.
    """
    samples = directory.value(Tag.SAMPLES, 1)
    extra = directory.values(Tag.EXTRA_SAMPLES)[:samples]
    found = [number for number, meaning in enumerate(extra, samples - len(extra)) if meaning == PREMULTIPLIED]
    return found[-1] if found and found[-1] > 0 else None


def is_transparency(directory: Directory, bands: int) -> bool:
    """Return whether the last of `bands` is transparency; there is one more than there are colours.

    ExtraSamples 0 is data of any kind, such as infrared. Without the tag, the sample counts as transparency: TIFF 6.0
    does not say so, but programs do. A sample that the file does not have was added by the decoder, and is opaque.
    All colours of a palette are one sample in the file.
    """
    is_anything = directory.values(Tag.EXTRA_SAMPLES)[:1] == (ANYTHING,)
    samples = 2 if directory.value(Tag.PHOTOMETRIC, 0) == PALETTE else bands
    return not is_anything and directory.value(Tag.SAMPLES, samples) >= samples
