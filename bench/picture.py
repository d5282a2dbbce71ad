"""The images of the benchmark: a shaded relief of the Earth in any size, made once and kept in a cache."""

from __future__ import annotations

import os
from pathlib import Path

import pyvips

from tilewright.commands.pictures import earth

SIDE = 16_384
QUALITY = 90

GRAIN = 4.0
"""Standard deviation of the added noise: without it the smooth relief would have far fewer bytes than a photograph."""


def cached_picture(side: int = SIDE) -> Path:
    """Return the path of a JPEG of `side` x `side` pixels. If it is missing, make it.

    It is a mosaic of copies, because enlarging the relief would blur it.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tilewright-bench"
    path = folder / f"earth-{side}-q{QUALITY}-grain{GRAIN:.0f}.jpg"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        relief = pyvips.Image.new_from_file(str(earth()))
        across, down = -(-side // relief.width), -(-side // relief.height)
        unfinished = path.with_suffix(f".{os.getpid()}.jpg")
        mosaic = relief.replicate(across, down).crop(0, 0, side, side)
        grain = pyvips.Image.gaussnoise(side, side, sigma=GRAIN, mean=0, seed=1)
        (mosaic + grain).cast("uchar").copy(interpretation="srgb").jpegsave(str(unfinished), Q=QUALITY)
        unfinished.replace(path)
    return path


def variant(picture: Path, number: int, folder: Path) -> Path:
    """Return a copy with a comment of its own: the same pixels in other bytes, so that it is tiled again."""
    comment = f"round {number}".encode()
    data = picture.read_bytes()
    path = folder / f"round-{number}.jpg"
    # SOI, then COM (T.81 B.2.4.5): marker, length with its own two bytes, text.
    path.write_bytes(data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:])
    return path
