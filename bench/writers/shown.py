"""What the samples of a TIFF have to become, by numpy from what tifffile reads: the rules of docs/formats.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tests.support.images import deep_tiffs, makers
from tests.support.images.pictures import Pixels
from tests.support.images.stretched import stretched

WHITE_IS_ZERO, PALETTE, SEPARATED, YCBCR, CIELAB, ICCLAB = 0, 3, 5, 6, 8, 9
"""Values of PhotometricInterpretation."""

ASSOCIATED, UNASSOCIATED = 1, 2
"""Values of ExtraSamples."""


def shown(path: Path) -> Pixels:
    """Return the first page of a TIFF as 8-bit sRGB."""
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages.first
        values = page.asarray()
        if values.ndim == 2:
            values = values[..., None]
        elif page.planarconfig == 2:
            values = np.moveaxis(values, 0, 2)
        if page.photometric == PALETTE:
            return _as_bytes(np.moveaxis(page.colormap[:, values[..., 0]], 0, 2) >> 8)
        return _of_samples(values, page)


def _of_samples(values: Any, page: Any) -> Pixels:
    if values.dtype.kind == "c":
        values = np.abs(values)
    photometric = int(page.photometric)
    if photometric in {CIELAB, ICCLAB}:
        return _of_lab(values, photometric)
    if photometric == SEPARATED:
        inks = values if values.dtype == np.uint8 else values >> 8
        return makers.ink_on_paper(np.ascontiguousarray(_as_bytes(inks)), makers.cmyk_profile())
    colours = 1 if values.shape[2] < 3 else 3
    alpha = None
    if values.shape[2] == colours + 1 and page.extrasamples and page.extrasamples[0] in {ASSOCIATED, UNASSOCIATED}:
        alpha = values[..., colours:].astype(float)
    levels = _levels(values[..., :colours], page, alpha)
    if colours == 1:
        levels = np.repeat(levels, 3, axis=2)
    if alpha is None:
        return levels
    most = _most(values, page)
    opaque = alpha // 256 if most == 65535 else alpha * (255 / most)
    return np.concatenate([levels, _as_bytes(np.rint(opaque))], axis=2)


def _levels(values: Any, page: Any, alpha: Any) -> Pixels:
    is_white = int(page.photometric) == WHITE_IS_ZERO
    is_unsigned = values.dtype.kind in "bu" and values.dtype.itemsize < 8
    most = _most(values, page)
    if alpha is not None and page.extrasamples[0] == ASSOCIATED:
        share = np.where(alpha > 0, alpha, np.inf) / most
        values = np.clip(np.floor(values / share), 0, most).astype(values.dtype)
    if is_white and is_unsigned:
        values = (most - values.astype(np.int64)).astype(np.uint64 if most > 255 else np.uint8).astype(values.dtype)
    if page.bitspersample <= 8 and is_unsigned:
        return _as_bytes(np.rint(values.astype(float) * (255 / most)))
    if page.bitspersample not in {16, 32, 64} and is_unsigned:
        return _as_bytes(np.rint(values.astype(float) * (255 / most)))
    seen = None if alpha is None else alpha[..., 0] > 0
    found = stretched(values, seen=seen, reverse=is_white and not is_unsigned)
    return found[..., :1] if values.shape[2] == 1 else found


def _most(values: Any, page: Any) -> float:
    return 1.0 if values.dtype.kind == "f" else float((1 << page.bitspersample) - 1)


def _of_lab(values: Any, photometric: int) -> Pixels:
    if values.dtype == np.uint8:
        return deep_tiffs.srgb_of(values ^ np.array([0, 128, 128] if photometric == ICCLAB else [0] * 3, np.uint8))
    if photometric == ICCLAB:
        return deep_tiffs.srgb_of_lab(values / np.array([652.8, 256, 256]) - np.array([0, 128, 128]))
    signed = values.astype(np.int16).astype(float)
    return deep_tiffs.srgb_of_lab(np.concatenate([values[..., :1] / 655.35, signed[..., 1:] / 256], axis=2))


def _as_bytes(values: Any) -> Pixels:
    found: Pixels = values.astype(np.uint8)
    return found
