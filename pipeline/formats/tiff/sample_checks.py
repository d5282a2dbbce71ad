"""Check that the samples of a TIFF's page can be read. Pure functions."""

from __future__ import annotations

from typing import NoReturn

from pipeline.errors import StageError
from pipeline.formats.tiff.alpha import premultiplied_by
from pipeline.formats.tiff.codecs import READ
from pipeline.formats.tiff.colours import BLACK_IS_ZERO, WHITE_IS_ZERO
from pipeline.formats.tiff.directory import Directory, Tag
from pipeline.formats.tiff.layout import APART, DECODED, PALETTE, RGB, UNPACKED, YCBCR, Compression, layout_of
from pipeline.formats.tiff.samples import (
    COMPLEX,
    COMPLEX_INTEGER,
    COMPLEXES,
    FLOAT,
    SIGNED,
    SUPPORTED,
    UNDEFINED,
    UNSIGNED,
    group_of,
    is_jpeg_of_12_bits,
    is_packed,
    is_unpacked,
    kind_of_samples,
)

NAMES = {
    UNSIGNED: "unsigned integers",
    SIGNED: "signed integers",
    FLOAT: "floats",
    UNDEFINED: "samples of no stated format",
    COMPLEX_INTEGER: "complex integers",
    COMPLEX: "complex numbers",
}

DIFFERENCES, BYTES_OF_FLOATS = 2, 3
"""Values of Tag.PREDICTOR other than none."""

PREDICTED = (DECODED - {Compression.NONE}) | {Compression.LZW}
"""Compressions that have a predictor."""


def require_samples(directory: Directory) -> None:
    """Check that a page's samples are of a supported type, and stored in a supported way.

    Raises
    ------
    StageError: unsupported_format, with the type of the samples.
    struct.error: if the file ends within the directory's values.
    """
    bits, kind = kind_of_samples(directory)
    name = f"{bits}-bit {NAMES.get(kind, f'samples of an unknown format ({kind})')}"
    if len(set(directory.values(Tag.BITS))) > 1:
        _refuse("samples with different numbers of bits")
    if bits not in SUPPORTED.get(kind, ()):
        _refuse(name)
    compression = directory.value(Tag.COMPRESSION, Compression.NONE)
    predictor = 1 if compression == Compression.NONE else directory.value(Tag.PREDICTOR, 1)
    if predictor != 1:
        _require_predictor(predictor, compression)
    if not is_unpacked(directory):
        return
    is_jpeg = is_jpeg_of_12_bits(directory)
    if compression not in UNPACKED and not is_jpeg:
        _refuse(f"{name}, compressed with {READ.get(compression, 'an unknown method')}")
    shown = {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB} | ({YCBCR} if is_jpeg else {PALETTE})
    if directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) not in shown:
        _refuse(f"{name} that are neither grey, RGB nor a palette's")
    if premultiplied_by(directory) is not None and bits > 32 and kind != FLOAT:
        _refuse(f"{name} that are multiplied by their transparency")
    whole = bits == 64 and kind not in COMPLEXES
    if (
        predictor != 1
        and not is_jpeg
        and not (whole and (predictor == DIFFERENCES or (predictor, kind) == (BYTES_OF_FLOATS, FLOAT)))
    ):
        _refuse(f"{name} with predictor {predictor}")
    _require_whole_rows(directory, bits, name)


def _require_predictor(predictor: int, compression: int) -> None:
    """Refuse predictors of later technical notes, and those of compressions that have none for most readers."""
    if compression == Compression.PACKBITS:
        _refuse_predictor(f"a predictor ({predictor}) with PackBits", ": some programs apply it, and others ignore it")
    if compression in PREDICTED and predictor not in {DIFFERENCES, BYTES_OF_FLOATS}:
        _refuse_predictor(f"predictor {predictor}")


def _refuse_predictor(what: str, why: str = "") -> NoReturn:
    raise StageError(
        "unsupported_format",
        f"The TIFF has {what}, which is not supported{why}. Save it without a predictor.",
    )


def _require_whole_rows(directory: Directory, bits: int, name: str) -> None:
    """Refuse tiles whose rows end within a group of packed samples. TIFF allows widths of multiples of 16 only."""
    layout = layout_of(directory)
    if layout is None or not layout.tiled or not is_packed(bits):
        return
    samples = 1 if directory.value(Tag.PLANAR, 1) == APART else directory.value(Tag.SAMPLES, 1)
    if layout.columns * samples % group_of(bits)[1]:
        _refuse(f"{name} in tiles of {layout.columns:,} columns, which is no multiple of 16")


def _refuse(what: str) -> NoReturn:
    raise StageError(
        "unsupported_format",
        f"The TIFF has {what}, which is not supported. Save it with 8 or 16 bits a sample, or with 32-bit floats.",
    )
