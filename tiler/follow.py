"""Tells a meter how far libvips is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyvips

from tiler.meter import Meter

PASS_SHARE = 0.3
"""Share of the whole that an extra pass over the source takes: decoding against decoding and encoding."""


def follow(image: pyvips.Image, meter: Meter, is_enough: Callable[[], bool] = lambda: False) -> None:
    """Have `meter` told how far `image` is, whenever something evaluates it.

    Parameters
    ----------
    is_enough: asked as often; once it is true, the evaluation ends with a pyvips.Error.
    """

    def on_eval(_: pyvips.Image, progress: Any) -> None:  # a cffi struct: VipsProgress
        if is_enough():
            image.set_kill(True)
        meter.move(progress.npels / progress.tpels if progress.tpels else 0.0)

    image.set_progress(True)
    image.signal_connect("eval", on_eval)
