"""Whether a TIFF's directory says where all of its pixels are, in a way that all readers take alike. Pure.

Sources: TIFF 6.0, section 2; libtiff, which passes over a tag whose type or number of values it does not expect.
"""

from __future__ import annotations

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff import PLACES, Directory, Tag
from pipeline.formats.tiff_codecs import require_read
from pipeline.formats.tiff_colours import require_shown

HEAD_SIZE = 8
"""Bytes at a file's beginning that hold no pixels."""

UNSIGNED = {1, 3, 4, 16}
"""Types of whole numbers without sign."""

SINGLE = (
    Tag.WIDTH,
    Tag.HEIGHT,
    Tag.PHOTOMETRIC,
    Tag.FILL_ORDER,
    Tag.SAMPLES,
    Tag.ROWS_PER_STRIP,
    Tag.PLANAR,
    Tag.PREDICTOR,
    Tag.TILE_WIDTH,
    Tag.TILE_HEIGHT,
)
"""Tags of one value."""

SEVERAL = (
    Tag.BITS,
    Tag.COMPRESSION,
    Tag.STRIP_OFFSETS,
    Tag.STRIP_LENGTHS,
    Tag.TILE_OFFSETS,
    Tag.TILE_LENGTHS,
    Tag.EXTRA_SAMPLES,
    Tag.SAMPLE_FORMAT,
    Tag.SUBSAMPLING,
)


def require_readable(directory: Directory) -> None:
    """Hold a page to what is read here, by its tags alone: the same before the download and after it.

    Raises
    ------
    StageError: as require_read, require_plain and require_shown.
    struct.error: where the file ends within the directory's values.
    """
    require_read(directory)
    require_plain(directory)
    require_shown(directory)


def require_plain(directory: Directory) -> None:
    """Raise StageError("image_corrupt") where a tag that decides on pixels has a type or number of values of its own.

    What libtiff makes of it, and others, is not always the same.
    """
    for tag in (*SINGLE, *SEVERAL):
        entry = directory.entries.get(tag)
        if entry is None:
            continue
        if entry.kind not in UNSIGNED or entry.values == 0 or (tag in SINGLE and entry.values != 1):
            raise damaged(f"its directory's entry {int(tag)} is not of the type, or the number of values, that it has")


def require_complete(directory: Directory) -> None:
    """See that all strips or tiles that a page lists are somewhere.

    What is to be seen in place of those that are left out on purpose, as GDAL's SPARSE_OK does, only their writer
    knows. Whoever reads them as black cannot tell them from a loss.

    Raises
    ------
    StageError: unsupported_format, where some are left out; image_corrupt, where some have no bytes, or lie where the
    file's head is.
    struct.error: where the file ends within the directory's values.
    """
    places = [pair for pair in PLACES if pair[1] in directory.entries]
    for offsets_tag, lengths_tag in places[-1:]:
        offsets, lengths = directory.numbers(offsets_tag), directory.numbers(lengths_tag)
        if left_out := sum(1 for place in zip(offsets, lengths, strict=False) if place == (0, 0)):
            raise StageError(
                "unsupported_format",
                f"The TIFF leaves out {left_out:,} of its strips or tiles (it is sparse), which is not read here. Save "
                "it with all of them.",
            )
        # A single strip's length may be left to its reader: it is the rest of the file.
        several = len(lengths) > 1 or lengths_tag == Tag.TILE_LENGTHS
        for number, (offset, length) in enumerate(zip(offsets, lengths, strict=False)):
            if several and length == 0:
                raise damaged(f"strip or tile {number:,} has no bytes")
            if length and offset < HEAD_SIZE:
                raise damaged(f"strip or tile {number:,} lies where the file's head is")
