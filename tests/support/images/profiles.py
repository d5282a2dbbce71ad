"""Makes ICC profiles, and says in numpy what colours they stand for: a reference of its own beside libvips' littlecms.

Sources: ICC.1:2001-04 for the layout; IEC 61966-2-1 for sRGB; the primaries of Adobe RGB (1998) and Display P3.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

D50 = np.array([0.9642, 1.0, 0.8249])
"""White of the profile connection space."""

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D65 = np.array([0.95047, 1.0, 1.08883])

SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
DISPLAY_P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
"""Chromaticities of red, green and blue."""

Primaries = Sequence[tuple[float, float]]


def to_d50(primaries: Primaries) -> Floats:
    """The matrix from linear light of these primaries, white D65, to XYZ of white D50, by Bradford's adaptation."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    native = columns * np.linalg.solve(columns, _D65)
    cones = np.diag((_BRADFORD @ D50) / (_BRADFORD @ _D65))
    adapted: Floats = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ native
    return adapted


def srgb_of(colours: npt.NDArray[np.uint8], primaries: Primaries, gamma: float) -> Floats:
    """8-bit sRGB, unrounded, of 8-bit colours of such a space."""
    linear = (colours / 255.0) ** gamma
    light = linear @ (np.linalg.inv(to_d50(SRGB)) @ to_d50(primaries)).T
    clipped = np.clip(light, 0, 1)
    curved = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return curved * 255.0


def rgb_profile(primaries: Primaries, gamma: float) -> bytes:
    """A matrix profile of an RGB space."""
    columns = to_d50(primaries).T
    tags = {f"{name}XYZ": _xyz(column) for name, column in zip("rgb", columns, strict=True)}
    return _profile("RGB ", tags | {f"{name}TRC": _gamma(gamma) for name in "rgb"})


def hdr_profile(primaries: int, transfer: int) -> bytes:
    """A matrix profile that is marked with code points of CICP (ICC.1:2022, 9.2.17 and 10.3)."""
    columns = to_d50(SRGB).T
    tags = {f"{name}XYZ": _xyz(column) for name, column in zip("rgb", columns, strict=True)}
    mark = {"cicp": b"cicp" + bytes(4) + bytes([primaries, transfer, 0, 1])}
    return _profile("RGB ", tags | {f"{name}TRC": _gamma(2.2) for name in "rgb"} | mark)


def grey_profile(gamma: float) -> bytes:
    """A profile of grey alone."""
    return _profile("GRAY", {"kTRC": _gamma(gamma)})


def _profile(space: str, tags: dict[str, bytes]) -> bytes:
    text = b"text\0\0\0\0test\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67)
    tags = {"desc": description, "cprt": text, "wtpt": _xyz(D50)} | tags
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name.encode() + struct.pack(">II", start + len(data), len(value))
        data += value + b"\0" * (-len(value) % 4)
    size = start + len(data)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02200000, b"mntr", space.encode(), b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    return head.ljust(68, b"\0") + _xyz(D50)[8:] + bytes(48) + table + data


def _xyz(value: Floats) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(float(part) * 65536)) for part in value)


def _gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
