"""What the segments before a JPEG's first scan tell of its remarks. Pure.

Source: ITU-T T.81, annex B.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_SEGMENTS = 1000
"""Looked at before a JPEG's pixels at most: a profile of 4 MB takes 64."""

_START_OF_SCAN = 0xDA
_SEQUENTIAL_FRAMES = {0xC0, 0xC1}
_WHOLE_SPECTRUM = bytes((0, 63, 0))
"""Start and end of the spectral selection, and the successive approximation, of a sequential scan."""


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


def has_stray_bytes(file: BinaryIO) -> bool:
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
