"""What colours mean that a file states by numbers: the formulae of the standards in numpy, with their printed matrices.

Sources: ITU-R BT.2087 (BT.2020 to BT.709), SMPTE EG 432-1 (Display P3), ITU-R BT.2100 (PQ, HLG), docs/formats.md (HDR).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SRGB, LINEAR, PQ, HLG = 13, 8, 16, 18
BT709, BT2020, P3 = 1, 9, 12
"""Code points of CICP."""

TO_BT709 = {
    BT709: np.eye(3),
    BT2020: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),
    P3: np.array([[1.2249, -0.2249, 0.0], [-0.0420, 1.0420, 0.0], [-0.0196, -0.0786, 1.0983]]),
}

LUMINANCE = {BT709: [0.2126, 0.7152, 0.0722], BT2020: [0.2627, 0.6780, 0.0593]}


def srgb_of(samples: npt.NDArray[np.generic], primaries: int, transfer: int, last: int = 255) -> Floats:
    """8-bit sRGB, unrounded, of RGB samples from 0 to `last`."""
    light = CURVES[transfer](samples.astype(float) / last)
    if transfer == HLG:
        light = light * (light @ np.array(LUMINANCE[primaries]))[..., None] ** 0.2 * 1000 / 203
    light = light @ TO_BT709[primaries].T
    if transfer in {PQ, HLG}:
        brightest = np.maximum(light.max(axis=-1, keepdims=True), 0.8)
        excess = (brightest - 0.8) / 0.2
        light = light * (0.8 + 0.2 * excess / (1 + excess)) / brightest
    clipped = np.clip(light, 0, 1)
    levels: Floats = 255 * np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return levels


def _srgb(samples: Floats) -> Floats:
    light: Floats = np.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)
    return light


def _pq(samples: Floats) -> Floats:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = samples ** (1 / m2)
    light: Floats = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / 203
    return light


def _hlg(samples: Floats) -> Floats:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light: Floats = np.where(samples <= 0.5, samples**2 / 3, (np.exp((samples - c) / a) + b) / 12)
    return light


CURVES: dict[int, Callable[[Floats], Floats]] = {SRGB: _srgb, LINEAR: lambda samples: samples, PQ: _pq, HLG: _hlg}
