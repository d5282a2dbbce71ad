"""Check the stated lengths of a TIFF's strips and tiles against its size. Pure functions."""

from __future__ import annotations

from array import array

from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff.directory import Directory, Tag
from pipeline.formats.tiff.layout import Compression, Layout, is_coarse

ALIGNED = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Multiples to which programs pad strips and tiles, in bytes."""

ALIGNED_WHOLE = (*ALIGNED, 8192, 16384, 32768, 65536)
"""Multiples to which programs pad the only strip of a page."""

UNKNOWN = (1 << 32) - 1
"""Length that stands for "as many as there are"."""


def require_fitting(directory: Directory, offsets: array[int], lengths: array[int], layout: Layout) -> None:
    """Check that a page does not store more than its size needs, which a changed bit of its size would make it do.

    Parameters
    ----------
    offsets, lengths: of the strips or tiles; at least as many as the layout has.

    Raises
    ------
    StageError: image_corrupt.
    struct.error: if the file ends within the directory's values.
    """
    more = zip(offsets[layout.chunks :], lengths[layout.chunks :], strict=False)
    if any(offset and length for offset, length in more):
        raise damaged(f"its directory lists {len(offsets):,} strips or tiles, but its size needs {layout.chunks:,}")
    is_plain = directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.NONE
    if not is_plain or is_coarse(directory) or len(set(directory.values(Tag.BITS))) > 1:
        return
    listed = lengths[: layout.chunks]
    if layout.chunks == 1 and not layout.tiled:
        _require_one(listed[0], layout)
        return
    if not layout.tiled:
        # The last strip may be filled up like the others.
        rest = layout.row_bytes * (layout.height - (layout.down - 1) * layout.rows)
        _require(set(listed[layout.down - 1 :: layout.down]), {rest, layout.chunk_bytes})
        del listed[layout.down - 1 :: layout.down]
    _require(set(listed), {layout.chunk_bytes})


def _require_one(length: int, layout: Layout) -> None:
    """Check the length of the only strip, which some programs extend to the end of the file.

    Another size would need a whole number of rows, or a multiple of the rows that there are.
    """
    needed = layout.chunk_bytes
    is_whole = length % layout.row_bytes == 0 or length % layout.height == 0
    if is_whole and length not in {-(-needed // multiple) * multiple for multiple in ALIGNED_WHOLE}:
        _require({length}, {needed})


def _require(lengths: set[int], needed: set[int]) -> None:
    """Raise StageError if a length is more than a needed one, even if that is padded. Shorter ones fail later."""
    fitting = {-(-size // multiple) * multiple for size in needed for multiple in ALIGNED}
    for length in lengths - fitting:
        if min(needed) < length < UNKNOWN:
            raise damaged(f"a strip or tile has {length:,} bytes, but its size needs {min(needed):,}")
