"""Which of a decoder's remarks leave the pixels as they are. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

HARMLESS = {
    "jpeg": re.compile(
        "Invalid SOS parameters for sequential JPEG|Unknown Adobe color transform code|unknown JFIF revision number"
        "|bad ICC marker"
    ),
    "tiff": re.compile('Bad value .* for ".*" tag|ZSTD compression support is not configured'),
}
"""By a file's kind: remarks of libjpeg (jerror.h) and libtiff that files of several cameras and programs give rise to.
They concern what surrounds the coded pixels, or another page: one compressed by zstd is not left to libtiff."""

PASSING = re.compile(
    "Old-style LZW codes|not terminated with EOI code|fax Group 3 data without EOL|JPEG strip size exceeds"
    "|normally not legal for JPEG-in-TIFF|more than one alpha|assuming 8-bit palette|Unknown field with tag"
)
"""What libtiff remarks while it decodes all there is. Whatever else it remarks then, pixels are missing; also whatever
libjpeg does, which words its first remark of each strip or tile alone, and would hide a worse one behind it."""

STRAY = "extraneous bytes before marker"
"""libjpeg's remark on bytes that belong to nothing: harmless before the pixels, and a sign of damage among them."""

PAINTED = "error in tile"
"""libvips' remark where it paints a tile black, whatever the format."""

_SEGMENTS = 1000
"""Looked at before a JPEG's pixels at most: a profile of 4 MB takes 64."""

_START_OF_SCAN = 0xDA
_SEQUENTIAL_FRAMES = {0xC0, 0xC1}
_WHOLE_SPECTRUM = bytes((0, 63, 0))
"""Start and end of the spectral selection, and the successive approximation, of a sequential scan."""

_JPEGS_END = re.compile(r"read gave \d+ warnings|^VipsJpeg: .*")
"""What is said of a JPEG that was opened before, and goes meanwhile."""

COUNTED = re.compile(r"read gave (\d+) warnings")
"""What libvips says when it is done with a JPEG that libjpeg remarked on."""


def is_harmless(text: str, kind: str, file: BinaryIO) -> bool:
    """Tell whether what a decoder said of an open file of this kind is no more than such a remark."""
    if kind in HARMLESS and HARMLESS[kind].search(text):
        return True
    return kind == "jpeg" and STRAY in text and _has_stray_bytes(file)


def harmful(text: str, kind: str) -> str:
    """Give what decoders said, line by line, without such remarks."""
    lines = text.splitlines()
    return "\n".join(line for line in lines if kind not in HARMLESS or not HARMLESS[kind].search(line))


def harmful_while_decoding(remarks: Iterable[str], errors: Iterable[str], kind: str) -> str:
    """Give what was said during a decoding that shows that pixels are missing, line by line.

    Parameters
    ----------
    remarks: each of which may have lines of its own.
    kind: of the file. All decoders but libtiff fail at damage: of theirs it counts only that a tile was painted. What
        libheif keeps to itself is found before it decodes: see tiler.decode.heif_sound.
    """
    if kind != "tiff":
        return "\n".join(remark for remark in remarks if PAINTED in remark)
    heard = [remark for remark in remarks if not PASSING.search(remark) and not _JPEGS_END.search(remark)]
    return harmful("\n".join((*errors, *heard)), kind).strip()


def has_odd_scan(file: BinaryIO) -> bool:
    """Tell whether a JPEG's first scan names parameters that a sequential one has no use for (T.81, B.2.3).

    libjpeg remarks on it when it begins to decode, and not as it reads the header.
    """
    sequential = False
    for marker, body in _segments(file):
        if marker in _SEQUENTIAL_FRAMES:
            sequential = True
        if marker == _START_OF_SCAN:
            return sequential and body[-3:] != _WHOLE_SPECTRUM
    return False


def _has_stray_bytes(file: BinaryIO) -> bool:
    """Tell whether a JPEG has bytes that belong to no segment before its first scan (T.81, B.1.1)."""
    return any(marker is None for marker, _ in _segments(file))


def _segments(file: BinaryIO) -> Iterator[tuple[int | None, bytes]]:
    """Give the segments of a JPEG, to the first scan's header; no marker, and the end, where bytes belong to none."""
    file.seek(2)
    for _ in range(_SEGMENTS):
        if file.read(1) != b"\xff":
            yield None, b""
            return
        marker = b"\xff"
        while marker == b"\xff":  # fill bytes
            marker = file.read(1)
        body = file.read(max(0, int.from_bytes(file.read(2), "big") - 2))
        if not marker:
            return
        yield marker[0], body
        if marker[0] == _START_OF_SCAN:
            return
