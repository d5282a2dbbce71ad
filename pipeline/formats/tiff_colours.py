"""What the numbers of a TIFF's pixels stand for, and which of these are shown here. Pure.

Sources: TIFF 6.0, sections 4, 5, 8, 16 and 20 to 23; DNG 1.7; for the defaults of YCbCr libtiff, which takes the whole
range as JFIF does.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, NoReturn

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff_layout import APART, DECODED, YCBCR, Compression, is_coarse

COEFFICIENTS = (0.299, 0.587, 0.114)
"""Default of Tag.COEFFICIENTS: red's, green's and blue's share of brightness."""

BLACK_AND_WHITE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
"""Default of Tag.BLACK_AND_WHITE for YCbCr."""

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, CIELAB = 0, 1, 2, 3, 5, 8
"""Values of Tag.PHOTOMETRIC."""

SHOWN = {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR, CIELAB}

CMYK = 1
"""Value of Tag.INK_SET."""

LACKING = {
    4: "a transparency mask",
    9: "CIELAB as ICC codes it",
    10: "CIELAB as ITU codes it",
    32803: "a sensor's mosaic",
    32844: "LogL",
    32845: "LogLuv",
    34892: "what a sensor measured",
    51177: "a depth map",
    52527: "a mask of what is seen",
}
"""Names of those values of Tag.PHOTOMETRIC that nobody reads here."""

_LABS = {(16, 1), (16, 2), (32, 3)}
"""Bits and sample formats of CIELAB that libvips takes for what they are."""

_FRACTIONS = {5: "II", 11: "f", 12: "d"}
"""struct's letters by the types of a fraction."""


class Ycbcr(NamedTuple):
    """How to make RGB, of 0 to 255, of stored YCbCr: `rows` times the three samples, plus `offsets`."""

    rows: tuple[tuple[float, float, float], ...]
    offsets: tuple[float, float, float]


def ycbcr_of(directory: Directory) -> Ycbcr | None:
    """Tell how to make RGB of what a decoder gives; None where it gives RGB or no YCbCr at all.

    libjpeg converts by itself, and libtiff where colours are coarse. All else comes as it is stored.

    Raises
    ------
    StageError: image_corrupt, where it makes no sense.
    struct.error: where the file ends within the directory's values.
    """
    if directory.value(Tag.PHOTOMETRIC, 0) != YCBCR or is_coarse(directory):
        return None
    if directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.JPEG:
        return None
    red, green, blue = _fractions(directory, Tag.COEFFICIENTS, COEFFICIENTS)
    black, white, *colours = _fractions(directory, Tag.BLACK_AND_WHITE, BLACK_AND_WHITE)
    spans = (white - black, colours[1] - colours[0], colours[3] - colours[2])
    if not all(0 <= share <= 1 for share in (red, green, blue)) or green == 0 or 0 in spans:
        raise damaged("what it says of its YCbCr makes no sense")
    brightness, to_blue, to_red = 255 / spans[0], 127 / spans[1] * (2 - 2 * blue), 127 / spans[2] * (2 - 2 * red)
    rows = (
        (brightness, 0.0, to_red),
        (brightness, -to_blue * blue / green, -to_red * red / green),
        (brightness, to_blue, 0.0),
    )
    zeros = (black, colours[0], colours[2])
    first, second, third = (-sum(a * b for a, b in zip(row, zeros, strict=True)) for row in rows)
    return Ycbcr(rows, (first, second, third))


def require_shown(directory: Directory) -> None:
    """Raise StageError("unsupported_format"), by name, where a page's colours cannot be shown as they are meant.

    Raises
    ------
    StageError: image_corrupt, where what it says of its colours makes no sense.
    struct.error: where the file ends within the directory's values.
    """
    # Where the tag is absent libtiff has the last word.
    photometric = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO)
    samples, bits = directory.value(Tag.SAMPLES, 1), directory.value(Tag.BITS, 1)
    if photometric not in SHOWN:
        _refuse(LACKING.get(photometric, f"of a kind without a known name (photometric interpretation {photometric})"))
    if photometric == WHITE_IS_ZERO and samples > 2:
        _refuse("grey where white is zero, of more than one sample")
    if photometric == RGB and samples < 3:
        _refuse("RGB of fewer than three samples")
    if photometric == PALETTE and (bits > 8 or samples > 2):
        _refuse("a palette of more than 8 bits or of several samples")
    if photometric == SEPARATED:
        _require_cmyk(directory, samples)
    if photometric == YCBCR:
        _require_plain_ycbcr(directory)
    if photometric == CIELAB and (samples < 3 or (bits, directory.value(Tag.SAMPLE_FORMAT, 1)) not in _LABS):
        _refuse("CIELAB other than of 16-bit whole numbers or 32-bit floats")


def is_reversed(directory: Directory) -> bool:
    """Tell whether its greatest samples are black, and libvips leaves them so: it turns round whole numbers only."""
    signed_or_float = directory.value(Tag.SAMPLE_FORMAT, 1) in {2, 3}
    return directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO and signed_or_float


def _require_cmyk(directory: Directory, samples: int) -> None:
    inks = directory.value(Tag.INK_SET, CMYK), directory.value(Tag.INKS, 4)
    if inks != (CMYK, 4) or samples < 4:
        _refuse("inks other than cyan, magenta, yellow and black")


def _require_plain_ycbcr(directory: Directory) -> None:
    samples, bits = directory.value(Tag.SAMPLES, 1), directory.value(Tag.BITS, 1)
    if (samples, bits, directory.value(Tag.SAMPLE_FORMAT, 1)) != (3, 8, 1):
        _refuse("YCbCr of other than three samples of 8 bits")
    compression, coarse = directory.value(Tag.COMPRESSION, Compression.NONE), is_coarse(directory)
    if directory.value(Tag.PLANAR, 1) == APART and (coarse or compression not in DECODED):
        # libvips mixes them up, and libtiff refuses the coarse ones.
        _refuse("YCbCr in planes that lie apart, and coarse or compressed otherwise than by deflate or Zstandard")
    if coarse and compression in {Compression.ZSTD, Compression.WEBP}:
        _refuse("YCbCr with coarser colours, compressed by Zstandard or WebP")
    # libtiff takes the size of such a tile for another.
    both_ways = min(directory.values(Tag.SUBSAMPLING) or (2, 2)) > 1
    if both_ways and Tag.TILE_WIDTH in directory.entries and compression == Compression.NONE:
        _refuse("YCbCr with colours coarser both ways, in uncompressed tiles")
    ycbcr_of(directory)


def _refuse(what: str) -> NoReturn:
    raise StageError("unsupported_format", f"The TIFF's colours are {what}, which is not read here. Save it as RGB.")


def _fractions(directory: Directory, tag: Tag, default: tuple[float, ...]) -> tuple[float, ...]:
    entry = directory.entries.get(tag)
    if entry is None:
        return default
    letters = _FRACTIONS.get(entry.kind)
    if letters is None or entry.values != len(default):
        raise damaged("what it says of its YCbCr makes no sense")
    raw = directory.raw(entry)[: entry.length]
    found = struct.unpack(f"{directory.order}{letters * len(default)}", raw)
    if letters != "II":
        return found
    return tuple(above / (below or 1) for above, below in zip(found[::2], found[1::2], strict=True))
