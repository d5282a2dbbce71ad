"""Tells a meter how far libvips is."""

from __future__ import annotations

from typing import Any

import pyvips

from tiler.meter import Meter

PASS_SHARE = 0.3
"""Share of the whole that an extra pass over the source takes: decoding against decoding and encoding."""


def follow(image: pyvips.Image, meter: Meter) -> None:
    """Have `meter` told how far `image` is, whenever something evaluates it."""

    def on_eval(_: pyvips.Image, progress: Any) -> None:  # a cffi struct: VipsProgress
        meter.move(progress.npels / progress.tpels if progress.tpels else 0.0)

    image.set_progress(True)
    image.signal_connect("eval", on_eval)
