"""The scans of a JPEG that holds its image in several: not too many, and at least one for each component.

Each is a pass over the whole image, for a few bytes of file. A component without any is shown as a flat colour, without
a word from libjpeg.

Source: ITU-T T.81, B.1.1. libjpeg itself has no limit; "Two Issues with the JPEG Standard" of its authors asks for one.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged

MOST_SCANS = 100
"""As libtiff's limit for JPEG inside of TIFF (LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER). Encoders write 10 to 20."""

_FIRST_PIECE, _PIECE = 32, 1 << 16
"""Bytes read at once: few where a segment follows the other, many of coded data."""

_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA

_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a frame's header; the others of these are tables."""

_MARKER = re.compile(rb"\xff+[^\x00\x01\xd0-\xd7\xff]")
"""The end of coded data: within it 0xFF is followed by 0, or by the number of a restart. TEM (1) ends nothing either:
it has no length (T.81, B.1.1.3), and a scan may follow it."""


def require_sound_scans(file: BinaryIO) -> None:
    """Look at the scans of an open JPEG. Where it breaks off is for its decoder to say.

    A progressive JPEG may leave out what refines it; the mean of each block has to be there (T.81, G.1.1.1).

    Raises
    ------
    StageError: decoder_too_slow, where it has more than MOST_SCANS; image_corrupt, where a component has none.
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
            body = file.read(length - 2)
            count = body[0] if body else 0
            if body[1 + 2 * count : 2 + 2 * count] == b"\0":
                without -= set(body[1 : 1 + 2 * count : 2])
        if scans > MOST_SCANS:
            raise StageError(
                "decoder_too_slow",
                f"The JPEG holds its picture in more than {MOST_SCANS} scans, each of which is a pass over all of it; "
                "programs write 10 to 20. Save it again.",
            )
        # Its bytes may look like any marker.
        file.seek(behind)
    if marker == _END_OF_IMAGE and without:
        raise damaged(f"{len(without)} of the JPEG's components have no scan")


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
