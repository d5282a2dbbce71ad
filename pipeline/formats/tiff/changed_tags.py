"""Recognize a TIFF in whose directory the number of a tag has a changed bit. Pure functions.

Such a tag is lost, and readers show the pixels as if the file had never had it. libtiff only warns of what remains: an
unknown tag, one that is out of order, one that occurs twice, or a text that holds numbers. Sound files of common
programs have such entries too, so an entry counts as changed only if all of this holds:

- one of these warnings applies to it;
- with another bit, its number is that of a tag about pixels that the directory lacks;
- that tag would stand in order at the entry's place, and the entry's type and values are valid for it and no default;
- the page could have that tag: ExtraSamples needs extra samples, and separate planes need their strips or tiles.

A change that cannot be told from a sound file passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff.codecs import READ
from pipeline.formats.tiff.directory import Directory, Entry, Tag
from pipeline.formats.tiff.layout import Compression, Layout, layout_of

TEXTS = {269, 270, 271, 272, 285, 305, 306, 315, 316, 333, 337}
"""Tags of TIFF 6.0 with a text. A reader ignores one with numbers, which may be those of another tag."""

TEXT_KINDS = {1, 2, 6, 7}
"""Types of single bytes: some programs write texts as such."""

_FRACTIONS = {282, 283, 286, 287, 318, 319, 529, 532}
_TRANSFER_RANGE, _CLIP_PATH, _INDEXED = 342, 343, 346
_NUMBERS = {
    *(254, 255, 263, 264, 265, 280, 281, 288, 289, 290, 291, 292, 293, 296, 297, 300, 301, 321),
    *(326, 327, 328, 330, 332, 334, 336, 340, 341, 530, 531),
    *(_INDEXED, 351),
    *(
        *(Tag.WIDTH, Tag.HEIGHT, Tag.BITS, Tag.COMPRESSION, Tag.PHOTOMETRIC, Tag.FILL_ORDER, Tag.STRIP_OFFSETS),
        *(Tag.ORIENTATION, Tag.SAMPLES, Tag.ROWS_PER_STRIP, Tag.STRIP_LENGTHS, Tag.PLANAR, Tag.PREDICTOR),
        *(Tag.COLOUR_MAP, Tag.TILE_WIDTH, Tag.TILE_HEIGHT, Tag.TILE_OFFSETS, Tag.TILE_LENGTHS),
        *(Tag.EXTRA_SAMPLES, Tag.SAMPLE_FORMAT),
    ),
}
"""The other tags of TIFF 6.0 and its supplements by what they hold. All others count as unknown."""

_NEEDED = {
    *(Tag.WIDTH, Tag.HEIGHT, Tag.BITS, Tag.COMPRESSION, Tag.PHOTOMETRIC, Tag.STRIP_OFFSETS, Tag.SAMPLES),
    *(Tag.ROWS_PER_STRIP, Tag.STRIP_LENGTHS, Tag.TILE_WIDTH, Tag.TILE_HEIGHT, Tag.TILE_OFFSETS, Tag.TILE_LENGTHS),
}
"""Tags that nearly every file has: a program that does not sort writes them at any place."""

_RANGE = 336
"""DotRange: two values, or two for each sample."""

_TRANSFERS = 6
"""Values of TransferRange."""

_SHORT, _INTEGERS, _RATIONALS = 3, {3, 4, 16}, {5, 10, 11, 12}

_MOST_MEANING = 2
"""Greatest value of ExtraSamples."""

_SINGLE: dict[Tag, Callable[[int], bool]] = {
    Tag.COMPRESSION: lambda value: value != 1 and value in READ,
    Tag.PHOTOMETRIC: lambda value: value <= 10,
    Tag.FILL_ORDER: lambda value: value == 2,
    Tag.ORIENTATION: lambda value: 2 <= value <= 8,
    Tag.SAMPLES: lambda value: value > 1,
    Tag.PLANAR: lambda value: value == 2,
    Tag.PREDICTOR: lambda value: value in {2, 3},
}
"""Tags with one value that loses its meaning with them: whether it is valid, and not the one without the tag."""

_SEVERAL: dict[Tag, Callable[[int], bool]] = {
    Tag.BITS: lambda value: 1 < value <= 64,
    Tag.EXTRA_SAMPLES: lambda value: value <= _MOST_MEANING,
    Tag.SAMPLE_FORMAT: lambda value: 2 <= value <= 6,
}
"""The same for tags with a value for each sample."""


def require_unchanged(directory: Directory) -> None:
    """Raise StageError("image_corrupt") if an entry seems to be one about pixels with a changed bit in its number.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    stored = directory.stored
    layout = layout_of(directory)
    times = Counter(entry.tag for entry in stored)
    for place, entry in enumerate(stored):
        before = stored[place - 1].tag if place else -1
        after = stored[place + 1].tag if place + 1 < len(stored) else 1 << 16
        is_odd = (
            (not before < entry.tag < after and entry.tag not in _NEEDED)
            or times[entry.tag] > 1
            or not _is_common(entry)
            or _has_odd_number(directory, entry)
        )
        if not is_odd:
            continue
        for tag in (*_SINGLE, *_SEVERAL):
            is_near = (tag ^ entry.tag).bit_count() == 1 and tag not in directory.entries
            could_be = is_near and before < tag < after and _is_valid(directory, entry, tag)
            if could_be and not _is_pointless(directory, layout, entry, tag):
                raise damaged(f"its directory's entry {entry.tag} seems to be entry {int(tag)} with a changed bit")


def _is_common(entry: Entry) -> bool:
    """Return whether an entry is of TIFF 6.0, and has a type that programs write for it."""
    if entry.tag in TEXTS:
        return entry.kind in TEXT_KINDS
    if entry.tag in _FRACTIONS:
        return entry.kind in _RATIONALS
    if entry.tag == _TRANSFER_RANGE:
        return entry.values == _TRANSFERS
    if entry.tag == _CLIP_PATH:
        return entry.kind in TEXT_KINDS
    return entry.tag in _NUMBERS


def _has_odd_number(directory: Directory, entry: Entry) -> bool:
    """Return whether an entry with a value for each sample, or some of them, has another number of values."""
    samples = directory.value(Tag.SAMPLES, 1)
    if entry.tag == Tag.EXTRA_SAMPLES and entry.values > _extra(directory):
        # Some programs write one meaning too many, but none for every sample, and no meaning that there is not.
        return entry.values >= max(2, samples) or max(directory.integers(entry), default=0) > _MOST_MEANING
    if entry.tag == _INDEXED:
        # What is indexed has one sample.
        return max(directory.integers(entry), default=0) > (samples == 1)
    if entry.tag == _RANGE:
        return entry.values == 1
    # One value for all samples is common.
    is_format = entry.tag == Tag.SAMPLE_FORMAT and entry.values not in {1, samples}
    return is_format and directory.value(Tag.SAMPLE_FORMAT, 1) != 1


def _extra(directory: Directory) -> int:
    """Return the number of samples that are no colours."""
    colours = {2: 3, 5: 4, 6: 3, 8: 3}.get(directory.value(Tag.PHOTOMETRIC, 1), 1)
    return directory.value(Tag.SAMPLES, 1) - colours


def _is_pointless(directory: Directory, layout: Layout | None, entry: Entry, tag: Tag) -> bool:
    """Return whether a page can never have had the tag, by its samples and its strips or tiles."""
    samples = directory.value(Tag.SAMPLES, 1)
    if tag == Tag.EXTRA_SAMPLES:
        return entry.values > _extra(directory)
    if tag == Tag.PLANAR and layout is not None:
        return samples == 1 or len(directory.listed()[0]) < layout.chunks * samples
    if tag == Tag.PREDICTOR:
        return directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.NONE
    return tag in {Tag.BITS, Tag.SAMPLE_FORMAT} and entry.values not in {1, samples}


def _is_valid(directory: Directory, entry: Entry, tag: Tag) -> bool:
    samples = directory.value(Tag.SAMPLES, 1)
    if entry.kind not in _INTEGERS or not 0 < entry.values <= max(1, samples):
        return False
    values = directory.integers(entry)
    if is_valid := _SINGLE.get(tag):
        return entry.values == 1 and is_valid(values[0])
    return entry.kind == _SHORT and all(map(_SEVERAL[tag], values))
