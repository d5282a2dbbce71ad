"""Check that a TIFF's directory is unambiguous, and lists all of its pixels. Pure functions.

Sources: TIFF 6.0, section 2; libtiff, which ignores a tag with an unexpected type or number of values.
"""

from __future__ import annotations

from collections.abc import Sized

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff.changed_tags import TEXT_KINDS, TEXTS, require_unchanged
from pipeline.formats.tiff.codecs import require_read
from pipeline.formats.tiff.colours import require_shown
from pipeline.formats.tiff.directory import PLACES, Directory, Tag
from pipeline.formats.tiff.layout import Layout, layout_of
from pipeline.formats.tiff.lengths import require_fitting
from pipeline.formats.tiff.sample_checks import require_samples

HEAD_SIZE = 8
"""Bytes at the beginning of a file that contain no pixels."""

UNSIGNED = {1, 3, 4, 16}
"""Types of unsigned integers. The last one is BigTIFF's own: libtiff ignores such a tag in other files."""

SINGLE = (
    Tag.WIDTH,
    Tag.HEIGHT,
    Tag.PHOTOMETRIC,
    Tag.FILL_ORDER,
    Tag.ORIENTATION,
    Tag.SAMPLES,
    Tag.ROWS_PER_STRIP,
    Tag.PLANAR,
    Tag.PREDICTOR,
    Tag.TILE_WIDTH,
    Tag.TILE_HEIGHT,
)
"""Tags with one value."""

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
    """Check by a page's tags that it is supported: used before the download and after it.

    Raises
    ------
    StageError: as require_unchanged, require_read, require_plain, require_flat, require_samples and require_shown.
    struct.error: if the file ends within the directory's values.
    """
    require_unchanged(directory)
    require_read(directory)
    require_plain(directory)
    require_flat(directory)
    require_samples(directory)
    require_shown(directory)


def require_plain(directory: Directory) -> None:
    """Raise StageError("image_corrupt") if a tag about pixels has an unexpected type or number of values.

    libtiff and other readers do not always treat such a tag in the same way.
    """
    kinds = UNSIGNED if directory.big else UNSIGNED - {16}
    for tag in (*SINGLE, *SEVERAL):
        entry = directory.entries.get(tag)
        if entry is None:
            continue
        if entry.kind not in kinds or entry.values == 0 or (tag in SINGLE and entry.values != 1):
            raise damaged(f"its directory's entry {int(tag)} has a wrong type or number of values")
    for number in TEXTS:
        entry = directory.entries.get(number)
        if entry is not None and entry.kind not in TEXT_KINDS:
            raise damaged(f"its directory's entry {number} is a text, but holds numbers")


def require_flat(directory: Directory) -> None:
    """Raise StageError("unsupported_format") for a volume, whose strips or tiles lie behind each other as well."""
    depth = max(directory.value(Tag.IMAGE_DEPTH, 1), directory.value(Tag.TILE_DEPTH, 1))
    if depth > 1:
        raise StageError(
            "unsupported_format",
            f"The TIFF is a volume of {depth:,} planes in depth, which is not supported. Save each plane as a page.",
        )


def require_listed(offsets: Sized, lengths: Sized, layout: Layout) -> None:
    """Raise StageError("image_corrupt") if there are fewer offsets or lengths than a page has strips or tiles."""
    found = min(len(offsets), len(lengths))
    if found < layout.chunks:
        raise damaged(f"its directory lists {found:,} of {layout.chunks:,} strips or tiles")


def require_complete(directory: Directory) -> None:
    """Check that all strips or tiles of a page are listed, and are stored unless they are left out on purpose.

    Some programs leave out strips or tiles (GDAL's SPARSE_OK): both their offset and their length are 0.

    Raises
    ------
    StageError: image_corrupt, if some are not listed, have an offset but no bytes, or lie in the file's head.
    struct.error: if the file ends within the directory's values.
    """
    places = [pair for pair in PLACES if pair[1] in directory.entries]
    for offsets_tag, lengths_tag in places[-1:]:
        offsets, lengths = directory.numbers(offsets_tag), directory.numbers(lengths_tag)
        if layout := layout_of(directory):
            require_listed(offsets, lengths, layout)
            require_fitting(directory, offsets, lengths, layout)
        # The length of a single strip may be 0: it then extends to the end of the file.
        several = len(lengths) > 1 or lengths_tag == Tag.TILE_LENGTHS
        for number, (offset, length) in enumerate(zip(offsets, lengths, strict=False)):
            if several and length == 0 and offset:
                raise damaged(f"strip or tile {number:,} has no bytes")
            if length and offset < HEAD_SIZE:
                raise damaged(f"strip or tile {number:,} lies in the file's head")
