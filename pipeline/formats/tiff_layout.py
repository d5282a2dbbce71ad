"""How a page of a TIFF is cut into strips or tiles, and what decoding them takes. Pure.

Source: TIFF 6.0, sections 2, 3 and 15. The memory is that of libvips and libtiff, measured with strips, tiles and
planes of 128 to 6,000 rows: within a third above what was found.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from pipeline.formats.tiff import PLACES, Directory, File, Tag, find

ALL_ROWS = (1 << 32) - 1
"""RowsPerStrip where it is absent: one strip."""

MOST_BYTES = 1 << 48
"""Of a strip or tile, with all its planes: far more than any memory."""

HELD_STRIPS = 2
"""Rows of strips or tiles that libvips holds at once."""

COMMON_ROWS = 512
"""Of a picture of COMMON_BYTES a pixel: what they take is part of what any picture takes (pipeline.formats.header)."""

COMMON_BYTES = 4

SCANNED_ROWS = 128
"""Of the highest strip that libvips reads as a whole; of a higher one it reads single rows, if it can."""

SMALL_CHUNK = 1 << 20
"""Bytes of a decoded strip or tile of which libtiff reads no more than a few times as many."""

WINDOW = 1 << 27
"""Bytes of what went before that a zstd decoder may hold: what its encoder's highest level takes."""

STRIP_BYTES = 1 << 18
"""Of a strip as tiler.decode.readers.tiff.chunks cuts it anew: what asking for it costs is small beside it."""

HELD_RECODED = 4
"""Copies of a tile there: as its planes are decoded, joined, stored, and read by libtiff."""

DECODER_BYTES = 1 << 19
"""Of a decoder at work, besides its window: what it was given, and what it gives."""


class Compression(IntEnum):
    """Values of Tag.COMPRESSION that are looked at."""

    NONE = 1
    OLD_JPEG = 6
    JPEG = 7
    DEFLATE = 8
    OLD_DEFLATE = 32946
    ZSTD = 50000
    WEBP = 50001


DECODED = {Compression.NONE, Compression.DEFLATE, Compression.OLD_DEFLATE, Compression.ZSTD}
"""What tiler.decode.readers.tiff.frame decodes."""

DEFLATED = {Compression.DEFLATE, Compression.OLD_DEFLATE}

APART = 2
"""Value of Tag.PLANAR."""

FLOAT = 3
"""Value of Tag.SAMPLE_FORMAT."""

YCBCR = 6
"""Value of Tag.PHOTOMETRIC; tiff_colours has the others."""


class Layout(NamedTuple):
    """Sizes of a page and of its strips or tiles.

    Parameters
    ----------
    width, height: of the page, in pixels.
    columns, rows: of a strip or tile, in pixels; a strip's rows are at most the page's.
    tiled: whether they are tiles.
    planes: that lie apart: 1 where all samples of a pixel lie together.
    bits: of a pixel, in one plane.
    """

    width: int
    height: int
    columns: int
    rows: int
    tiled: bool
    planes: int
    bits: int

    @property
    def row_bytes(self) -> int:
        """Of one row of a strip or tile."""
        return (self.columns * self.bits + 7) // 8

    @property
    def chunk_bytes(self) -> int:
        """Of a whole strip or tile."""
        return self.row_bytes * self.rows

    @property
    def down(self) -> int:
        """Strips or tiles from top to bottom."""
        return -(-self.height // self.rows)

    @property
    def chunks(self) -> int:
        """Strips or tiles of all planes."""
        return -(-self.width // self.columns) * self.down * self.planes


def layout_of(directory: Directory) -> Layout | None:
    """Give a page's layout; None where its directory makes no sense.

    Raises
    ------
    struct.error: where the file ends within the directory's values.
    """
    width, height = directory.value(Tag.WIDTH, 0), directory.value(Tag.HEIGHT, 0)
    samples, sample_bits = directory.value(Tag.SAMPLES, 1), directory.value(Tag.BITS, 1)
    tiled = Tag.TILE_WIDTH in directory.entries
    if tiled:
        columns, rows = directory.value(Tag.TILE_WIDTH, 0), directory.value(Tag.TILE_HEIGHT, 0)
    else:
        columns, rows = width, min(height, directory.value(Tag.ROWS_PER_STRIP, ALL_ROWS))
    planes = samples if directory.value(Tag.PLANAR, 1) == APART else 1
    bits = samples * sample_bits // max(1, planes)
    found = Layout(width, height, columns, rows, tiled, planes, bits)
    sensible = min(found[:4]) > 0 and planes > 0 and bits > 0 and planes * found.chunk_bytes <= MOST_BYTES
    return found if sensible else None


def is_recoded(directory: Directory) -> bool:
    """Tell whether libvips reads a page only through tiler.decode.readers.tiff.recoded.

    pyvips-binary's libtiff has no zstd, and does not look at deflate's checksums, which come behind the last pixel: of
    a changed byte most often other pixels come. Of planes that lie apart libvips 8.18 reads no tiles, and mixes up two
    bands, floats of 16 bits and YCbCr without a remark.
    """
    compression = directory.value(Tag.COMPRESSION, Compression.NONE)
    samples, bits = directory.value(Tag.SAMPLES, 1), directory.value(Tag.BITS, 1)
    apart = directory.value(Tag.PLANAR, 1) == APART and samples > 1
    half = bits == 16 and directory.value(Tag.SAMPLE_FORMAT, 1) == FLOAT
    mixed_up = samples == 2 or half or directory.value(Tag.PHOTOMETRIC, 0) == YCBCR
    if compression == Compression.ZSTD or (apart and (Tag.TILE_WIDTH in directory.entries or mixed_up)):
        return True
    return compression in DEFLATED and not is_coarse(directory) and (not apart or bits % 8 == 0)


def is_coarse(directory: Directory) -> bool:
    """Tell whether colours have fewer samples than brightness: then a strip or tile is not rows of pixels."""
    return directory.value(Tag.PHOTOMETRIC, 0) == YCBCR and directory.values(Tag.SUBSAMPLING) != (1, 1)


def stored_bytes(directory: Directory, size: int) -> int:
    """Give the bytes of all strips or tiles that a page lists, each as often as it is listed.

    Parameters
    ----------
    size: of the file in bytes. What lies beyond it is missing, and is not counted.

    Raises
    ------
    struct.error: where the file ends within the directory's values.
    """
    return sum(
        length
        for offsets, lengths in PLACES
        for offset, length in zip(directory.numbers(offsets), directory.numbers(lengths), strict=False)
        if offset + length <= size
    )


def held_bytes(file: File, size: int, page: int) -> int:
    """Estimate the bytes that large strips or tiles of a page take, beyond what any picture takes.

    Parameters
    ----------
    size: of the file in bytes.
    page: from 0.

    Raises
    ------
    struct.error: where the file ends within the directory.
    """
    directory = find(file, page)
    layout = layout_of(directory) if directory is not None else None
    if directory is None or layout is None:
        return 0
    compression = directory.value(Tag.COMPRESSION, Compression.NONE)
    if is_recoded(directory):
        taken = _of_recoded(layout, compression)
    else:
        taken = _stored(directory, layout, compression, size) + (
            _of_whole(layout) if _is_read_whole(layout, compression) else 0
        )
    return max(0, taken - layout.width * COMMON_ROWS * COMMON_BYTES)


def _is_read_whole(layout: Layout, compression: int) -> bool:
    """Tell whether libvips decodes a strip or tile at once, instead of single rows."""
    by_rows = not layout.tiled and layout.planes == 1 and layout.rows > SCANNED_ROWS
    return not by_rows or compression in {Compression.JPEG, Compression.OLD_JPEG}


def _of_whole(layout: Layout) -> int:
    across = -(-layout.width // layout.columns) * layout.row_bytes * layout.planes
    return across * min(HELD_STRIPS, layout.down) * layout.rows + layout.chunk_bytes


def _stored(directory: Directory, layout: Layout, compression: int, size: int) -> int:
    """Give the bytes of the longest strip or tile as it lies in the file: libtiff reads it as a whole."""
    if layout.chunk_bytes <= SMALL_CHUNK:
        return layout.chunk_bytes
    if compression == Compression.NONE and layout.chunks == 1 and not layout.tiled:
        return 0  # which libtiff takes for many
    lengths = directory.numbers(Tag.TILE_LENGTHS) or directory.numbers(Tag.STRIP_LENGTHS)
    return min(size, max(lengths, default=0))


def _of_recoded(layout: Layout, compression: int) -> int:
    """Of a page that tiler.decode.readers.tiff.recoded gives to libvips: strips that are cut anew are never large."""
    window = min(WINDOW, layout.chunk_bytes) if compression == Compression.ZSTD else 0
    if layout.tiled:
        return window + _of_whole(layout) + (HELD_RECODED * layout.planes - 1) * layout.chunk_bytes
    return (window + DECODER_BYTES) * layout.planes
