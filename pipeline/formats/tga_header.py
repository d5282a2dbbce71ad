"""Recognize a TGA (Truevision), which has no first bytes of its own. Pure functions.

Source: Truevision TGA File Format Specification, version 2.0.
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct("<BBBHHBHHHHBB")
_RUNS = 8
_PALETTE, _COLOUR, _GREY = 1, 2, 3
_DEPTHS = {_PALETTE: {8}, _COLOUR: {15, 16, 24, 32}, _GREY: {1, 8, 16}}
"""Bits of a pixel for each type of image. Grey of 1 bit is not in the specification. Pillow writes it, without runs."""

_ENTRIES = {15, 16, 24, 32}
"""Bits of a palette's entry."""

_ALPHA, _INTERLEAVED = 0x0F, 0xC0
"""Bits of the descriptor."""


def is_header(head: bytes) -> bool:
    """Return whether the bytes are the header of a TGA. It has no signature, so its fields have to agree."""
    if len(head) < _HEADER.size:
        return False
    _, has_map, kind, first, count, entry, _, _, width, height, depth, flags = _HEADER.unpack(head[: _HEADER.size])
    if depth not in _DEPTHS.get(kind & ~_RUNS, set()) or not width or not height or flags & _INTERLEAVED:
        return False
    if depth == 1 and kind & _RUNS:
        return False
    if flags & _ALPHA > (8 if depth in {16, 32} or kind & ~_RUNS == _PALETTE else 0):
        return False
    if kind & ~_RUNS == _GREY and depth == 16 and flags & _ALPHA != 8:
        return False  # two samples, or one of 16 bits
    if kind & ~_RUNS == _PALETTE:
        return bool(has_map == 1 and entry in _ENTRIES and 0 < count <= 1 << 12 and first < 1 << 8)
    return bool(has_map in {0, 1} and (has_map or not (first or count)) and entry in {0, *_ENTRIES})
