"""The layout of a TIFF's page in strips or tiles, and the memory to decode them. Pure functions.

The memory is that of libvips and libtiff, measured with strips, tiles and planes of 128 to 6,000 rows. The estimates
are at most a third above the measured values. Source: TIFF 6.0, sections 2, 3 and 15.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from pipeline.formats.tiff.directory import PLACES, Directory, File, Tag
from pipeline.formats.tiff.pages import find
from pipeline.formats.tiff.samples import FLOAT, is_unpacked

ALL_ROWS = (1 << 32) - 1
"""RowsPerStrip if the tag is missing: one strip."""

MOST_BYTES = 1 << 48
"""Most bytes of a strip or tile with all its planes: far more than any machine's memory."""

HELD_STRIPS = 2
"""Rows of strips or tiles that libvips holds at once."""

COMMON_ROWS = 512
"""Rows of COMMON_BYTES a pixel whose memory pipeline.formats.header counts for every image."""

COMMON_BYTES = 4

SCANNED_ROWS = 128
"""Rows of the highest strip that libvips reads as a whole. It reads higher strips row by row if it can."""

SMALL_CHUNK = 1 << 20
"""Bytes of a decoded strip or tile. For smaller ones, libtiff reads at most a few times their size from the file."""

WINDOW = 1 << 27
"""Most bytes of earlier output that a zstd decoder may hold: the window of the encoder's highest level."""

STRIP_BYTES = 1 << 18
"""Bytes of a strip as tiler.decode.readers.tiff.chunks cuts it: so large that the cost of a read hardly counts."""

HELD_RECODED = 4
"""Copies of a recoded tile in memory: decoded planes, joined planes, stored blocks, and libtiff's copy."""

HELD_WHOLE = 3
"""Copies of a strip or tile that libtiff decodes as a whole: libtiff's, libvips', and that of its rows."""

DOUBLE_BYTES = 8

DECODER_BYTES = 1 << 19
"""Bytes of a working decoder besides its window: its input and output."""


class Compression(IntEnum):
    """Values of Tag.COMPRESSION that Tilewright treats separately."""

    NONE = 1
    LZW = 5
    OLD_JPEG = 6
    JPEG = 7
    DEFLATE = 8
    PACKBITS = 32773
    OLD_DEFLATE = 32946
    LZMA = 34925
    ZSTD = 50000
    WEBP = 50001


DECODED = {Compression.NONE, Compression.DEFLATE, Compression.OLD_DEFLATE, Compression.LZMA, Compression.ZSTD}
"""Compressions that tiler.decode.readers.tiff.frame decodes."""

LIBRARY = {Compression.LZW, Compression.PACKBITS}
"""Compressions of which tiler.decode.readers.tiff.libtiff_frame lets libtiff decode a whole strip or tile."""

UNPACKED = DECODED | LIBRARY
"""Compressions of pages that are read as bytes: see pipeline.formats.tiff.samples."""

FOREIGN = {Compression.LZMA, Compression.ZSTD}
"""Compressions that the libtiff of pyvips-binary lacks."""

DEFLATED = {Compression.DEFLATE, Compression.OLD_DEFLATE}

APART = 2
"""Value of Tag.PLANAR: separate planes."""

RGB, PALETTE, SEPARATED, YCBCR = 2, 3, 5, 6
"""Values of Tag.PHOTOMETRIC; tiff_colours has the others."""


class Layout(NamedTuple):
    """Sizes of a page and of its strips or tiles.

    Parameters
    ----------
    width, height: of the page, in pixels.
    columns, rows: of a strip or tile, in pixels. A strip has at most the rows of the page.
    tiled: whether the page has tiles.
    planes: number of separate planes; 1 if the samples of a pixel are stored together.
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
        """Bytes of one row of a strip or tile, in one plane."""
        return (self.columns * self.bits + 7) // 8

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a whole strip or tile, in one plane."""
        return self.row_bytes * self.rows

    @property
    def down(self) -> int:
        """Strips or tiles from top to bottom."""
        return -(-self.height // self.rows)

    @property
    def chunks(self) -> int:
        """Number of strips or tiles in all planes."""
        return -(-self.width // self.columns) * self.down * self.planes


def layout_of(directory: Directory) -> Layout | None:
    """Return a page's layout; None if its directory is inconsistent.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
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
    """Return whether libvips has to read a page through tiler.decode.readers.tiff.recoded.

    The libtiff of pyvips-binary has neither zstd nor LZMA. It ignores deflate's checksums, which follow the last pixel,
    so a changed byte mostly shows as wrong pixels. libvips reads JPEG tiles with one or three samples only.
    """
    compression = directory.value(Tag.COMPRESSION, Compression.NONE)
    whole_bytes = directory.value(Tag.BITS, 1) % 8 == 0
    if compression in FOREIGN or is_jpeg_of_four(directory) or is_unpacked(directory):
        return True
    if compression in DEFLATED and not is_coarse(directory) and (whole_bytes or not _is_apart(directory)):
        return True
    return _is_misread(directory) and compression in DECODED and whole_bytes


def is_split(directory: Directory) -> bool:
    """Return whether libvips has to read a page through tiler.decode.readers.tiff.planes, one plane at a time.

    This holds for separate planes that libvips misreads, and whose compression `recoded` does not decode. It also holds
    for a single plane that is marked as separate: libvips refuses it in tiles, and shows fewer than 8 bits as black.
    """
    if is_recoded(directory) or directory.value(Tag.PLANAR, 1) != APART:
        return False
    return _is_misread(directory) or not _is_apart(directory)


def is_jpeg_of_four(directory: Directory) -> bool:
    """Return whether a page has JPEG tiles with four samples."""
    compression = directory.value(Tag.COMPRESSION, Compression.NONE)
    together = directory.value(Tag.SAMPLES, 1) == 4 and not _is_apart(directory)
    return compression == Compression.JPEG and Tag.TILE_WIDTH in directory.entries and together


def _is_apart(directory: Directory) -> bool:
    return directory.value(Tag.PLANAR, 1) == APART and directory.value(Tag.SAMPLES, 1) > 1


def _is_misread(directory: Directory) -> bool:
    """Return whether libvips 8.18 cannot read a page's separate planes, or confuses them without a warning.

    It reads none in tiles. In strips of several rows it only reads RGB and CMYK of whole bytes correctly.
    """
    if not _is_apart(directory):
        return False
    half = directory.value(Tag.BITS, 1) == 16 and directory.value(Tag.SAMPLE_FORMAT, 1) == FLOAT
    in_order = directory.value(Tag.PHOTOMETRIC, 0) in {RGB, SEPARATED} and directory.value(Tag.BITS, 1) % 8 == 0
    return Tag.TILE_WIDTH in directory.entries or half or not in_order


def is_coarse(directory: Directory) -> bool:
    """Return whether colours are subsampled: then a strip or tile does not consist of rows of pixels."""
    return directory.value(Tag.PHOTOMETRIC, 0) == YCBCR and directory.values(Tag.SUBSAMPLING) != (1, 1)


def stored_bytes(directory: Directory, size: int) -> int:
    """Return the bytes of all strips or tiles of a page. A strip or tile that is listed twice counts twice.

    Parameters
    ----------
    size: of the file in bytes. Strips or tiles beyond it do not count.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    return sum(
        length
        for offsets, lengths in PLACES
        for offset, length in zip(directory.numbers(offsets), directory.numbers(lengths), strict=False)
        if offset + length <= size
    )


def held_bytes(file: File, size: int, page: int) -> int:
    """Estimate the memory for large strips or tiles of a page, in bytes beyond the estimate for any image.

    Parameters
    ----------
    size: of the file in bytes.
    page: from 0.

    Raises
    ------
    struct.error: if the file ends within the directory.
    """
    directory = find(file, page)
    return 0 if directory is None else held_by(directory, size)


def held_by(directory: Directory, size: int) -> int:
    """As `held_bytes`, for the page of a directory."""
    layout = layout_of(directory)
    if layout is None:
        return 0
    compression = directory.value(Tag.COMPRESSION, Compression.NONE)
    if is_recoded(directory):
        taken = _of_recoded(layout, compression)
        if is_unpacked(directory):
            taken += _of_unpacked(directory, layout, compression, size)
    elif is_split(directory):
        taken = _stored(directory, layout, compression, size) * layout.planes + _of_whole(layout)
    else:
        taken = _stored(directory, layout, compression, size) + (
            _of_whole(layout) if _is_read_whole(layout, compression) else 0
        )
    return max(0, taken - layout.width * COMMON_ROWS * COMMON_BYTES)


def _is_read_whole(layout: Layout, compression: int) -> bool:
    """Return whether libvips decodes a strip or tile as a whole, not row by row."""
    by_rows = not layout.tiled and layout.planes == 1 and layout.rows > SCANNED_ROWS
    return not by_rows or compression in {Compression.JPEG, Compression.OLD_JPEG}


def _of_whole(layout: Layout) -> int:
    across = -(-layout.width // layout.columns) * layout.row_bytes * layout.planes
    return across * min(HELD_STRIPS, layout.down) * layout.rows + layout.chunk_bytes


def _stored(directory: Directory, layout: Layout, compression: int, size: int) -> int:
    """Return the bytes of the longest strip or tile in the file, since libtiff reads it as a whole."""
    if layout.chunk_bytes <= SMALL_CHUNK:
        return layout.chunk_bytes
    if compression == Compression.NONE and layout.chunks == 1 and not layout.tiled:
        return 0  # libtiff splits it into many strips
    lengths = directory.numbers(Tag.TILE_LENGTHS) or directory.numbers(Tag.STRIP_LENGTHS)
    return min(size, max(lengths, default=0))


def _of_recoded(layout: Layout, compression: int) -> int:
    """Return the bytes for a page that is recoded. Its strips are cut to a small size; its tiles are not."""
    window = min(WINDOW, layout.chunk_bytes) if compression in FOREIGN else 0
    if layout.tiled:
        return window + _of_whole(layout) + (HELD_RECODED * layout.planes - 1) * layout.chunk_bytes
    return (window + DECODER_BYTES) * layout.planes


def _of_unpacked(directory: Directory, layout: Layout, compression: int, size: int) -> int:
    """Return the further bytes for a page that is read as bytes: double samples, and strips that libtiff decodes."""
    rows = min(COMMON_ROWS, layout.height) * layout.width * directory.value(Tag.SAMPLES, 1) * DOUBLE_BYTES
    if compression not in {*LIBRARY, Compression.JPEG}:
        return rows
    return rows + layout.planes * (_stored(directory, layout, compression, size) + HELD_WHOLE * layout.chunk_bytes)
