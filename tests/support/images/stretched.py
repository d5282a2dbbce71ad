"""What samples become whose range nothing states: a second computation, by numpy, of the rule of docs/formats.md."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.images.pictures import Pixels


def nearest_rank(values: npt.NDArray[np.number[Any]], percent: float) -> float:
    """The percentile that is one of the values."""
    ordered = np.sort(values, axis=None)
    return float(ordered[max(1, math.ceil(percent / 100 * ordered.size)) - 1])


def stretched(
    values: npt.NDArray[np.number[Any]],
    low: float = 2,
    high: float = 98,
    *,
    seen: npt.NDArray[np.bool_] | None = None,
    reverse: bool = False,
) -> Pixels:
    """8-bit pixels of samples without a range, of 1 or 3 colours; or of 2 or 4 bands of 16 bits, the last one alpha.

    seen: which pixels are not wholly transparent.
    """
    if values.shape[2] in {2, 4}:
        alpha = values[..., -1:]
        colours = stretched(values[..., :-1], low, high, seen=alpha[..., 0] > 0, reverse=reverse)
        return np.concatenate([colours, (alpha.astype(np.uint16) >> 8).astype(np.uint8)], axis=2)
    counted = values.astype(float) if seen is None else values[seen].astype(float)
    counted = counted[np.isfinite(counted)]
    first, last = nearest_rank(counted, low), nearest_rank(counted, high)
    if first == last and values.dtype == np.uint16:
        levels: Pixels = (values.astype(np.uint16) >> 8).astype(np.uint8)
    else:
        scaled = (values.astype(float) - first) * (255 / (last - first) if last > first else 1)
        levels = np.rint(np.clip(np.nan_to_num(scaled, nan=0, posinf=255, neginf=0), 0, 255)).astype(np.uint8)
        levels = 255 - levels if reverse else levels
    return np.repeat(levels, 3, axis=2) if values.shape[2] == 1 else levels
