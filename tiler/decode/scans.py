"""How many scans a JPEG has that holds its picture in several: each is a pass over all of it, for a few bytes of file.

Source: ITU-T T.81, B.1.1. libjpeg itself has no limit; "Two Issues with the JPEG Standard" of its authors asks for one.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from pipeline.errors import StageError

MOST_SCANS = 100
"""As libtiff's limit for JPEG inside of TIFF (LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER). Encoders write 10 to 20."""

_FIRST_PIECE, _PIECE = 32, 1 << 16
"""Bytes read at once: few where a segment follows the other, many of coded data."""

_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA

_MARKER = re.compile(rb"\xff+[^\x00\x01\xd0-\xd7\xff]")
"""The end of coded data: within it 0xFF is followed by 0, or by the number of a restart. TEM (1) ends nothing either:
it has no length (T.81, B.1.1.3), and a scan may follow it."""


def require_few_scans(file: BinaryIO) -> None:
    """Raise StageError("decoder_too_slow") where an open JPEG has more than MOST_SCANS scans."""
    file.seek(2)
    scans = 0
    while (marker := _next_marker(file)) not in (None, _END_OF_IMAGE):
        if marker == _START_OF_SCAN:
            scans += 1
        if scans > MOST_SCANS:
            raise StageError(
                "decoder_too_slow",
                f"The JPEG holds its picture in more than {MOST_SCANS} scans, each of which is a pass over all of it; "
                "programs write 10 to 20. Save it again.",
            )
        # The segment itself, whose bytes may look like any marker.
        file.seek(max(0, int.from_bytes(file.read(2), "big") - 2), 1)


def _next_marker(file: BinaryIO) -> int | None:
    """Move behind the next marker and give its code; None at the end of the file."""
    start, size = file.tell(), _FIRST_PIECE
    while piece := file.read(size):
        if found := _MARKER.search(piece):
            file.seek(start + found.end())
            return piece[found.end() - 1]
        # A marker may begin with the piece's last byte, and is looked for again with the next.
        start += max(1, len(piece) - 1) if piece.endswith(b"\xff") else len(piece)
        file.seek(start)
        size = _PIECE
    return None
