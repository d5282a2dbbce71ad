"""The colours that the samples of a TIFF stand for, and which of them are supported. Pure functions.

Sources: TIFF 6.0, sections 4, 5, 8, 16 and 20 to 23; DNG 1.7; libtiff for the defaults of YCbCr, which use the full
range as in JFIF.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, NoReturn

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.tiff.alpha import is_transparency, premultiplied_by
from pipeline.formats.tiff.directory import Directory, Tag
from pipeline.formats.tiff.layout import APART, DECODED, FOREIGN, PALETTE, RGB, SEPARATED, YCBCR, Compression, is_coarse
from pipeline.formats.tiff.samples import MOST_PACKED, UNDEFINED, UNSIGNED, is_jpeg_of_12_bits, kind_of_samples

COEFFICIENTS = (0.299, 0.587, 0.114)
"""Default of Tag.COEFFICIENTS: the shares of red, green and blue in brightness."""

BLACK_AND_WHITE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
"""Default of Tag.BLACK_AND_WHITE for YCbCr."""

WHITE_IS_ZERO, BLACK_IS_ZERO, CIELAB, ICCLAB = 0, 1, 8, 9
"""Values of Tag.PHOTOMETRIC."""

SHOWN = {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR, CIELAB, ICCLAB}

LABS = {CIELAB, ICCLAB}

SHORT = 3
"""Type of a palette's values."""

CMYK = 1
"""Value of Tag.INK_SET."""

LACKING = {
    4: "a transparency mask",
    10: "CIELAB in ITU's encoding",
    32803: "a sensor's mosaic",
    32844: "LogL",
    32845: "LogLuv",
    34892: "undeveloped samples of a sensor",
    51177: "a depth map",
    52527: "a semantic mask",
}
"""Names of the values of Tag.PHOTOMETRIC that are not supported."""

_LABS = {(CIELAB, 16, 1), (CIELAB, 16, 2), (CIELAB, 32, 3)}
"""Kind, bits and sample formats of CIELAB that libvips reads correctly."""

_LABS_BY_BYTES = {(CIELAB, 8, 1), (CIELAB, 8, 2), (ICCLAB, 8, 1), (ICCLAB, 16, 1)}
"""Those that libvips is shown as RGB: see tiler.decode.readers.tiff.lab."""

_FRACTIONS = {5: "II", 11: "f", 12: "d"}
"""Letters of `struct` for the types of fractions."""


class Ycbcr(NamedTuple):
    """Conversion of stored YCbCr to RGB of 0 to 255: `rows` times the three samples, plus `offsets`."""

    rows: tuple[tuple[float, float, float], ...]
    offsets: tuple[float, float, float]


def ycbcr_of(directory: Directory) -> Ycbcr | None:
    """Return the conversion of the decoder's YCbCr to RGB; None if the decoder returns RGB, or the page has no YCbCr.

    libjpeg converts to RGB, and libtiff does if colours are subsampled. Other YCbCr is returned as stored.

    Raises
    ------
    StageError: image_corrupt, if the tags are inconsistent.
    struct.error: if the file ends within the directory's values.
    """
    if directory.value(Tag.PHOTOMETRIC, 0) != YCBCR:
        return None
    if directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.JPEG:
        return None
    red, green, blue = _fractions(directory, Tag.COEFFICIENTS, COEFFICIENTS)
    black, white, *colours = _fractions(directory, Tag.BLACK_AND_WHITE, BLACK_AND_WHITE)
    spans = (white - black, colours[1] - colours[0], colours[3] - colours[2])
    if not all(0 <= share <= 1 for share in (red, green, blue)) or green == 0 or 0 in spans:
        raise damaged("its tags about YCbCr are inconsistent")
    if is_coarse(directory):
        return None
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
    """Check that a page's colours can be shown correctly.

    Raises
    ------
    StageError: unsupported_format, with the name of the colours; image_corrupt, if the tags are inconsistent.
    struct.error: if the file ends within the directory's values.
    """
    # If the tag is missing, libtiff decides.
    photometric = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO)
    samples, bits = directory.value(Tag.SAMPLES, 1), directory.value(Tag.BITS, 1)
    if photometric not in SHOWN:
        _refuse(LACKING.get(photometric, f"of an unknown kind (photometric interpretation {photometric})"))
    if photometric == WHITE_IS_ZERO and samples > 2:
        _refuse("grey with zero as white, with more than one sample")
    if photometric == RGB and samples < 3:
        _refuse("RGB with fewer than three samples")
    if photometric == PALETTE and (bits > 8 or samples > 2):
        _refuse("a palette with more than 8 bits or several samples")
    if photometric == PALETTE:
        _require_palette(directory, bits)
    if photometric == SEPARATED:
        _require_cmyk(directory, samples)
    if photometric == YCBCR:
        _require_plain_ycbcr(directory)
    if photometric in LABS:
        _require_lab(directory, samples)
    _require_read_jpeg(directory, samples)


def is_lab_of_bytes(directory: Directory) -> bool:
    """Return whether a page is CIELAB that libvips does not read: of 8 bits, or in the encoding of ICC profiles."""
    return _kind_of_lab(directory) in _LABS_BY_BYTES


def _kind_of_lab(directory: Directory) -> tuple[int, int, int]:
    return (
        directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO),
        directory.value(Tag.BITS, 1),
        directory.value(Tag.SAMPLE_FORMAT, 1),
    )


def _require_lab(directory: Directory, samples: int) -> None:
    if samples < 3 or _kind_of_lab(directory) not in _LABS | _LABS_BY_BYTES:
        _refuse("CIELAB in other samples than 8-bit or 16-bit integers, or 32-bit floats")
    compression = directory.value(Tag.COMPRESSION, Compression.NONE)
    if is_lab_of_bytes(directory) and compression in {Compression.JPEG, Compression.WEBP}:
        _refuse("CIELAB of this kind, compressed with JPEG or WebP")
    is_apart = directory.value(Tag.PLANAR, 1) == APART and not is_lab_of_bytes(directory)
    if is_apart and not _is_decoded(directory):
        _refuse("CIELAB in separate planes, compressed with other than deflate, LZMA or Zstandard")
    is_alone = samples == 4 and is_transparency(directory, samples)
    if is_alone or premultiplied_by(directory) is not None:
        _refuse("CIELAB with transparency")


def is_reversed(directory: Directory) -> bool:
    """Return whether the greatest samples are black in the decoded image: libvips inverts unsigned integers only."""
    bits, kind = kind_of_samples(directory)
    no_short = kind not in {UNSIGNED, UNDEFINED} or bits > MOST_PACKED + 1
    return directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO and no_short


def _require_palette(directory: Directory, bits: int) -> None:
    """Raise StageError if the palette is not all there: libtiff would show the indices as grey."""
    entry = directory.entries.get(Tag.COLOUR_MAP)
    if entry is None or entry.kind != SHORT or entry.values != 3 << bits:
        raise damaged("its palette has a wrong type or number of values")
    if len(directory.raw(entry)) < entry.length:
        raise StageError("image_truncated", CUT_SHORT)


def _require_cmyk(directory: Directory, samples: int) -> None:
    inks = directory.value(Tag.INK_SET, CMYK), directory.value(Tag.INKS, 4)
    if inks != (CMYK, 4) or samples < 4:
        _refuse("inks other than cyan, magenta, yellow and black")


def _require_plain_ycbcr(directory: Directory) -> None:
    samples, bits = directory.value(Tag.SAMPLES, 1), directory.value(Tag.BITS, 1)
    if Tag.SUBSAMPLING in directory.entries and len(directory.values(Tag.SUBSAMPLING)) != 2:
        raise damaged("its tags about YCbCr are inconsistent")
    is_plain = (samples, bits, directory.value(Tag.SAMPLE_FORMAT, 1)) == (3, 8, 1)
    if not is_plain and not (samples == 3 and is_jpeg_of_12_bits(directory)):
        _refuse("YCbCr with other than three samples of 8 bits")
    compression, coarse = directory.value(Tag.COMPRESSION, Compression.NONE), is_coarse(directory)
    if directory.value(Tag.PLANAR, 1) == APART and (coarse or compression not in DECODED):
        # libvips confuses the planes, and libtiff refuses subsampled ones.
        _refuse("YCbCr in separate planes, and subsampled or compressed with other than deflate, LZMA or Zstandard")
    if coarse and compression in {*FOREIGN, Compression.WEBP}:
        _refuse("YCbCr with subsampled colours, compressed with LZMA, Zstandard or WebP")
    # libtiff computes a wrong size for such a tile.
    both_ways = min(directory.values(Tag.SUBSAMPLING) or (2, 2)) > 1
    if both_ways and Tag.TILE_WIDTH in directory.entries and compression == Compression.NONE:
        _refuse("YCbCr with colours subsampled both ways, in uncompressed tiles")
    ycbcr_of(directory)


def _require_read_jpeg(directory: Directory, samples: int) -> None:
    """Raise StageError("unsupported_format") for JPEG tiles with an unsupported number of samples."""
    together = samples > 1 and directory.value(Tag.PLANAR, 1) != APART
    in_tiles = Tag.TILE_WIDTH in directory.entries
    is_jpeg = directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.JPEG
    if is_jpeg and in_tiles and together and samples not in {3, 4}:
        _refuse(f"JPEGs of {samples} samples in tiles")


def _is_decoded(directory: Directory) -> bool:
    return directory.value(Tag.COMPRESSION, Compression.NONE) in DECODED


def _refuse(what: str) -> NoReturn:
    raise StageError("unsupported_format", f"The TIFF's colours are {what}, which is not supported. Save it as RGB.")


def _fractions(directory: Directory, tag: Tag, default: tuple[float, ...]) -> tuple[float, ...]:
    entry = directory.entries.get(tag)
    if entry is None:
        return default
    letters = _FRACTIONS.get(entry.kind)
    if letters is None or entry.values != len(default):
        raise damaged("its tags about YCbCr are inconsistent")
    raw = directory.raw(entry)[: entry.length]
    found = struct.unpack(f"{directory.order}{letters * len(default)}", raw)
    if letters != "II":
        return found
    return tuple(above / (below or 1) for above, below in zip(found[::2], found[1::2], strict=True))
