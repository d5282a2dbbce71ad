"""Measure what finding the range of 16-bit samples costs, as a share of decoding the image.

`make bench` prints this too; `python -m bench.samples` prints it alone.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import pyvips

from pipeline.stretch import DEFAULT
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter

SIDE = 16_000
ROUNDS = 3
LIMIT = 0.1
"""Of a TIFF. A PNG has to be decoded once more, so it has no limit."""

SOURCES: dict[str, tuple[str, dict[str, object]]] = {
    "TIFF in tiles, deflate": ("tiles.tif", {"tile": True, "compression": "deflate"}),
    "TIFF in strips, LZW": ("strips.tif", {"compression": "lzw"}),
    "PNG": ("source.png", {"compression": 1}),
}


def compare() -> None:
    """Print the table."""
    print(f"\nRange of the samples of {SIDE:,} x {SIDE:,} pixels of 16 bits, as a share of decoding them")
    pyvips.cache_set_max(0)  # as the tiler's child does
    with tempfile.TemporaryDirectory(prefix="tilewright-bench-") as name:
        image = (pyvips.Image.xyz(SIDE, SIDE).extract_band(0) % 4096).cast("ushort").copy(interpretation="grey16")
        for what, (file, options) in SOURCES.items():
            path = Path(name) / file
            image.write_to_file(str(path), **options)
            shares = [_opening(path) / _decoding(path) for _ in range(ROUNDS)]
            limit = f"   at most {LIMIT}" if path.suffix == ".tif" else ""
            print(f"  {what:<24} {statistics.median(shares):6.3f}{limit}")
            path.unlink()


def _opening(path: Path) -> float:
    """Return the seconds to open the image and find the range; nothing else is decoded for it."""
    begun = time.perf_counter()
    open_picture(reader_of(path), meter=Meter(lambda *_: None), stretch=DEFAULT)
    return time.perf_counter() - begun


def _decoding(path: Path) -> float:
    begun = time.perf_counter()
    reader_of(path).open().avg()
    return time.perf_counter() - begun


if __name__ == "__main__":
    compare()
