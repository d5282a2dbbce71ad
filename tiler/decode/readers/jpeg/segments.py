"""Explain libjpeg's warnings by the segments before a JPEG's first scan. Pure functions.

Source: ITU-T T.81, annex B.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_SEGMENTS = 1000
"""Most segments read before the pixels: a profile of 4 MB needs 64."""

_START_OF_SCAN, _APP2, _RESTART_INTERVAL = 0xDA, 0xE2, 0xDD
_PROFILE = b"ICC_PROFILE\0"
_SEVERAL_IMAGES = b"MPF\0"
_SEQUENTIAL_FRAMES = {0xC0, 0xC1}
_WHOLE_SPECTRUM = bytes((0, 63, 0))
"""A sequential scan's start and end of the spectral selection, and its successive approximation."""


def has_odd_scan(file: BinaryIO) -> bool:
    """Return whether a sequential JPEG's first scan has parameters of a progressive one (T.81, B.2.3).

    libjpeg warns of it when it begins to decode, and not when it reads the header.
    """
    sequential = False
    for marker, body in segments(file):
        if marker in _SEQUENTIAL_FRAMES:
            sequential = True
        if marker == _START_OF_SCAN:
            return sequential and body[-3:] != _WHOLE_SPECTRUM
    return False


def has_stray_bytes(file: BinaryIO) -> bool:
    """Return whether a JPEG has bytes outside of any segment before its first scan (T.81, B.1.1)."""
    return any(marker is None for marker, _ in segments(file))


def has_profile(file: BinaryIO) -> bool:
    """Return whether a JPEG has a part of a colour profile before its first scan (ICC.1:2022, B.4)."""
    return any(marker == _APP2 and body.startswith(_PROFILE) for marker, body in segments(file))


def has_several_images(file: BinaryIO) -> bool:
    """Return whether further images follow the first one (CIPA DC-007, Multi-Picture Format)."""
    return any(marker == _APP2 and body.startswith(_SEVERAL_IMAGES) for marker, body in segments(file))


def restarts(file: BinaryIO, width: int) -> int | None:
    """Return the rows between two restart markers of a baseline JPEG, rounded up to whole blocks; None if it has none.

    Parameters
    ----------
    width: of the image in pixels.
    """
    interval, across, down = 0, 0, 0
    for marker, body in segments(file):
        if marker == _RESTART_INTERVAL and len(body) >= 2:
            interval = int.from_bytes(body[:2], "big")
        if marker in _SEQUENTIAL_FRAMES and len(body) > 5:
            sampling = body[7::3][: body[5]]
            # A frame of one component has blocks of 8 x 8 pixels, whatever its sampling (T.81, A.2.2).
            across = 8 * max((each >> 4 for each in sampling), default=1) if len(sampling) > 1 else 8
            down = 8 * max((each & 15 for each in sampling), default=1) if len(sampling) > 1 else 8
    if not interval or not across:
        return None
    return down * -(-interval // -(-width // across))


def segments(file: BinaryIO) -> Iterator[tuple[int | None, bytes]]:
    """Yield the segments of a JPEG up to the first scan's header: marker and body.

    If bytes follow that are outside of any segment, None is yielded as the last marker.
    """
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
