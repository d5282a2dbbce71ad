"""Archives that ask for much work: measure what each costs the child process that unpacks them.

`python -m bench.attack archives` takes about half a minute.
"""

from __future__ import annotations

import gzip
import io
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from pipeline.errors import StageError
from pipeline.formats import admission
from pipeline.formats.archives import FREE_BYTES, MOST_DIRECTORY, MOST_FILES
from pipeline.formats.settings import PictureSettings
from pipeline.formats.tile_sets import TileSet, entry
from pipeline.sandbox import parent
from tiler.unpack import unpacked
from tiler.unpack.child import FREE_SECONDS

MOST = 100 << 30
"""The default limit for a source, in bytes."""

SETTINGS = PictureSettings()

_HEAD = b"P6 100000 100000 255 "


def main() -> int:
    """Print a table. Returns 1 if an archive costs more than it may, or ends otherwise than expected."""
    print(f"{'archive':<44}{'bytes':>12}{'CPU s':>8}  ended")
    missed = 0
    for name, make, expected in ATTACKERS:
        data = make()
        seconds, ended = _cost(data)
        print(f"{name:<44}{len(data):12,}{seconds:8.2f}  {ended}")
        missed += ended != expected or seconds > FREE_SECONDS
    print(f"goal: at most {FREE_SECONDS} seconds each, {'missed' if missed else 'met'}")
    return int(bool(missed))


def _cost(data: bytes) -> tuple[float, str]:
    """Return the CPU seconds of the child, and how it ended: "unpacked", or the code of its error."""
    started: list[parent.Child] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.write_bytes(data)
        began = time.monotonic()
        try:
            unpacked(
                source,
                Path(folder),
                member="",
                most=MOST,
                limits=admission.Limits(SETTINGS.max_pixels, SETTINGS.max_pixels_per_byte),
                min_libvips=SETTINGS.min_libvips,
                on_start=started.append,
            )
            ended = "unpacked"
        except StageError as error:
            ended = error.code
        return (started[0].worked() if started else time.monotonic() - began), ended


def _zip(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def _wide_directory() -> bytes:
    """A directory of more than MOST_DIRECTORY bytes: its names have 60,000 characters each."""
    return _zip({f"{number:060000}": b"" for number in range(MOST_DIRECTORY // 60_000 + 2)})


def _tiles(width: int, height: int, edge: int) -> bytes:
    """A file of IIIF tiles: PNGs of one colour, of the size that the head names."""
    found = TileSet(width, height, edge, edge)
    file = io.BytesIO()
    Image.new("RGB", (edge, edge)).save(file, "PNG")
    return found.head() + entry(file.getvalue()) * found.total


ATTACKERS: tuple[tuple[str, Callable[[], bytes], str], ...] = (
    ("ZIP, zeros to the limit", lambda: _zip({"a.ppm": _HEAD + bytes(FREE_BYTES - 100)}), "unpacked"),
    ("ZIP, zeros beyond the limit", lambda: _zip({"a.ppm": _HEAD + bytes(FREE_BYTES + 100)}), "image_too_large"),
    ("gzip, zeros beyond the limit", lambda: gzip.compress(_HEAD + bytes(FREE_BYTES + 100)), "image_too_large"),
    (
        "ZIP, as many texts as are looked at",
        lambda: _zip({str(n): bytes(5000) for n in range(MOST_FILES)}),
        "not_an_image",
    ),
    ("ZIP, one text more", lambda: _zip({str(n): b"a" for n in range(MOST_FILES + 1)}), "member_not_found"),
    ("ZIP, a directory of 8 MB", _wide_directory, "image_too_large"),
    (
        "gzip, a million empty members",
        lambda: gzip.compress(_HEAD + bytes(5000)) + gzip.compress(b"") * 1_000_000,
        "unpacked",
    ),
    ("IIIF tiles, a gigapixel of one colour", lambda: _tiles(1 << 15, 1 << 15, 1 << 12), "unpacked"),
    ("IIIF tiles, a million of one pixel", lambda: _tiles(1000, 1000, 1), "decoder_too_slow"),
)
"""Name, maker, and how it has to end."""


if __name__ == "__main__":
    sys.exit(main())
