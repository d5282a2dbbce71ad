"""Report libvips' progress to a meter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyvips

from tiler.progress import Meter

PASS_SHARE = 0.3
"""Share of the whole progress for an extra pass, which only decodes, while the main pass decodes and encodes."""


def follow(image: pyvips.Image, meter: Meter, is_enough: Callable[[], bool] = lambda: False) -> None:
    """Move `meter` whenever `image` is evaluated.

    Parameters
    ----------
    is_enough: called each time. If it returns true, the evaluation ends with a pyvips.Error.
    """

    def on_eval(_: pyvips.Image, progress: Any) -> None:  # a cffi struct: VipsProgress
        if is_enough():
            image.set_kill(True)
        meter.move(progress.npels / progress.tpels if progress.tpels else 0.0)

    image.set_progress(True)
    image.signal_connect("eval", on_eval)
