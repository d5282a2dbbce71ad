"""Check the scans of a progressive JPEG: there must not be too many, and each component needs one.

A scan of a few bytes costs a pass over the whole image. A component without a scan becomes a flat colour, and libjpeg
gives no warning.

Source: ITU-T T.81, B.1.1. libjpeg itself has no limit; its authors ask for one in "Two Issues with the JPEG Standard".
"""

from __future__ import annotations

import re
from typing import BinaryIO

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged

MOST_SCANS = 100
"""libtiff's limit for JPEG in TIFF (LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER). Encoders write 10 to 20 scans."""

_MOST_SEGMENTS = 1000
"""Most segments of a damaged JPEG that are read: a scan and its tables are up to five."""

_FIRST_PIECE, _PIECE = 32, 1 << 16
"""Bytes read at once: few while segments follow each other, many within coded data."""

_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA

_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a frame's header. The excluded ones mark tables."""

_SEQUENTIAL_FRAMES = {0xC0, 0xC1}
"""Those of the sequential process with Huffman codes."""

_MARKER = re.compile(rb"\xff+[^\x00\x01\xd0-\xd7\xff]")
"""The marker that ends coded data. Within coded data, 0xFF is followed by 0 or by the number of a restart marker. TEM
(1) does not end it either: TEM has no length (T.81, B.1.1.3), and a scan may follow it."""


def require_sound_scans(file: BinaryIO) -> None:
    """Check the scans of an open JPEG. A file that ends early passes: its decoder reports that.

    A progressive JPEG may lack scans that refine it, but not those with the mean of each block (T.81, G.1.1.1).

    Raises
    ------
    StageError: decoder_too_slow, if there are more than MOST_SCANS; image_corrupt, if a component has no scan.
    """
    file.seek(2)
    scans = 0
    without: set[int] = set()
    while (marker := _next_marker(file)) not in (None, _END_OF_IMAGE):
        length = max(2, int.from_bytes(file.read(2), "big"))
        behind = file.tell() + length - 2
        if marker in _FRAMES:
            body = file.read(length - 2)
            without |= set(body[6::3][: body[5]] if len(body) > 5 else b"")
        elif marker == _START_OF_SCAN:
            scans += 1
            without -= _begun(file.read(length - 2))
        if scans > MOST_SCANS:
            raise StageError(
                "decoder_too_slow",
                f"The JPEG has more than {MOST_SCANS} scans, and each needs a pass over the whole image. Programs "
                "write 10 to 20. Save it again.",
            )
        # Skip the segment's body: its bytes may look like markers.
        file.seek(behind)
    if marker == _END_OF_IMAGE and without:
        raise damaged(f"{len(without)} of the JPEG's components have no scan")


def ends_of_scans(file: BinaryIO) -> list[int]:
    """Return where the coded data of each scan ends from which on no component lacks a scan.

    A scan that the file cuts off is left out.
    """
    file.seek(2)
    ends: list[int] = []
    without: set[int] = set()
    for _ in range(_MOST_SEGMENTS):
        if (marker := _next_marker(file)) in (None, _END_OF_IMAGE):
            break
        body = file.read(max(2, int.from_bytes(file.read(2), "big")) - 2)
        behind = file.tell()
        if marker in _FRAMES:
            without |= set(body[6::3][: body[5]] if len(body) > 5 else b"")
        elif marker == _START_OF_SCAN:
            without -= _begun(body)
            if _next_marker(file) is None:
                break
            if not without:
                ends.append(file.tell() - 2)
        file.seek(behind)
    return ends


def begin_of_only_scan(file: BinaryIO) -> int | None:
    """Return where the coded data begins of a sequential JPEG whose first scan has all components; None for another."""
    file.seek(2)
    components = -1
    for _ in range(_MOST_SEGMENTS):
        if (marker := _next_marker(file)) in (None, _END_OF_IMAGE):
            return None
        body = file.read(max(2, int.from_bytes(file.read(2), "big")) - 2)
        if marker in _FRAMES:
            components = body[5] if marker in _SEQUENTIAL_FRAMES and len(body) > 5 else -1
        elif marker == _START_OF_SCAN:
            return file.tell() if body[:1] == bytes((max(0, components),)) else None
    return None


def _begun(body: bytes) -> set[int]:
    """Return the components whose means are in a scan with this header."""
    count = body[0] if body else 0
    return set(body[1 : 1 + 2 * count : 2]) if body[1 + 2 * count : 2 + 2 * count] == b"\0" else set()


def ends_after_scan(file: BinaryIO) -> bool:
    """Return whether the first marker behind the first scan's header, apart from restart markers, is the end marker."""
    file.seek(2)
    marker: int | None = 0
    while marker not in (None, _START_OF_SCAN):
        marker = _next_marker(file)
        # Skip the segment's body: its bytes may look like markers.
        file.seek(max(2, int.from_bytes(file.read(2), "big")) - 2, 1)
    return _next_marker(file) == _END_OF_IMAGE


def _next_marker(file: BinaryIO) -> int | None:
    """Move behind the next marker and return its code, or None at the end of the file."""
    start, size = file.tell(), _FIRST_PIECE
    while piece := file.read(size):
        if found := _MARKER.search(piece):
            file.seek(start + found.end())
            return piece[found.end() - 1]
        # A marker may begin with the piece's last byte, which is then read again.
        start += max(1, len(piece) - 1) if piece.endswith(b"\xff") else len(piece)
        file.seek(start)
        size = _PIECE
    return None
