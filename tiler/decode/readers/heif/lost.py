"""Recognize a HEIF that has lost what belongs to a picture, such as its transparency, by a changed bit in its items.

libheif then decodes the picture without it, and reports no error. Sources: ISO/IEC 14496-12 (items, references),
ISO/IEC 23008-12 6.4.2 (hidden items) and 6.5.8 (auxC).
"""

from __future__ import annotations

import io
from collections import defaultdict
from typing import BinaryIO

from pipeline.formats.decoder_errors import damaged
from tiler.decode.readers.heif.boxes import associations, boxes, meta_of, number_at, take
from tiler.decode.readers.heif.items import ALPHA

_PICTURES = {b"hvc1", b"av01", b"grid", b"iovl", b"iden"}
_NEEDED = {b"auxl", b"dimg", b"prem"}
"""Types of references without which a picture is shown differently."""

_GROUPS = b"grpl"
"""Box of groups of items, which may explain a hidden item without a reference."""


def require_nothing_lost(file: BinaryIO) -> None:
    """Check that each hidden picture of a file belongs to another item, and each auxiliary one says what it is.

    Depth maps, gain maps and thumbnails do, even though they are not shown.

    Raises
    ------
    StageError: image_corrupt.
    struct.error: if the file is no HEIF, or ends within a box.
    """
    parts = dict(boxes(meta_of(file, file.seek(0, io.SEEK_END))))
    primary = number_at(parts.get(b"pitm", b""), 4, 2 if parts.get(b"pitm", b"")[:1] == b"\0" else 4)
    references = _references(parts.get(b"iref", b""))
    if any(_is_near(name, _NEEDED) for name, _, _ in references):
        raise damaged("HEIF: a reference between pictures has an unknown type")
    connected = {primary}.union(*({source, *targets} for _, source, targets in references))
    if _GROUPS not in parts and not _hidden(parts.get(b"iinf", b"")) <= connected:
        raise damaged("HEIF: a hidden picture belongs to no other")
    types = _types(parts.get(b"iprp", b""))
    auxiliary = {source for name, source, _ in references if name == b"auxl"}
    parts_of_others = set[int]().union(*(targets for name, _, targets in references if name == b"dimg"))
    if not {number for number, found in types.items() if found} <= auxiliary | parts_of_others:
        # Encoders write transparency as an item that is not hidden.
        raise damaged("HEIF: an auxiliary picture belongs to no other")
    for number in auxiliary:
        if not types[number] or any(_is_near(found, ALPHA) for found in types[number]):
            raise damaged("HEIF: an auxiliary picture has an unknown type")


def _hidden(body: bytes) -> set[int]:
    """Return the hidden pictures of an iinf box."""
    found = set()
    for kind, entry in boxes(body[6 if body[:1] == b"\0" else 8 :]):
        if kind == b"infe" and entry[0] >= 2 and entry[3] & 1:
            width = 2 if entry[0] == 2 else 4
            if entry[6 + width : 10 + width] in _PICTURES:
                found.add(number_at(entry, 4, width))
    return found


def _references(body: bytes) -> list[tuple[bytes, int, list[int]]]:
    """Return type, source and targets of each reference of an iref box."""
    wide, found = 4 if body[:1] > b"\0" else 2, []
    for kind, entry in boxes(body[4:]):
        stream = io.BytesIO(entry)
        source = take(stream, wide)
        found.append((kind, source, [take(stream, wide) for _ in range(take(stream, 2))]))
    return found


def _types(body: bytes) -> dict[int, list[bytes]]:
    """Return what the auxC properties of each item say, in an iprp box."""
    properties: list[tuple[bytes, bytes]] = []
    listed: list[tuple[int, list[int]]] = []
    for kind, content in boxes(body):
        if kind == b"ipco":
            properties = list(boxes(content))
        elif kind == b"ipma":
            listed.extend(associations(content))
    found = defaultdict[int, list[bytes]](list)
    for number, indices in listed:
        for name, data in (properties[index - 1] for index in indices if 0 < index <= len(properties)):
            if name == b"auxC":
                found[number].append(data[4:].partition(b"\0")[0])
    return found


def _is_near(name: bytes, known: set[bytes]) -> bool:
    """Return whether a name is one of the known ones but for one bit."""
    return any(
        len(name) == len(other) and (int.from_bytes(name) ^ int.from_bytes(other)).bit_count() == 1 for other in known
    )
