"""Entries of hundreds of megabytes that no pixel depends on: they take no memory, and no bytes of a preflight."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips

from pipeline.formats.probe import child as probe_child
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.protocol import Found
from pipeline.formats.tiff.heavy import patches
from tests.support.images import heavy_tiffs, pictures
from tests.support.images.heavy_tiffs import DESCRIPTION, IPTC, LAYERS, RESOURCES, UNKNOWN, XMP
from tiler.decode import reader_of

MB = 1 << 20

DECODE = """
import resource, sys
from pathlib import Path
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter
reader = reader_of(Path(sys.argv[1]), None)
reader.prepare()
picture = open_picture(reader, meter=Meter(lambda *_: None))
with picture.heeded():
    picture.image.avg()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak(path: Path) -> int:
    """The most memory of a process that decodes a file, in MB."""
    done = subprocess.run([sys.executable, "-c", DECODE, str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("tags", [(XMP, LAYERS), (RESOURCES, UNKNOWN), (IPTC, DESCRIPTION)])
def test_layers_and_xmp_take_no_memory(tags: tuple[int, ...], tmp_path: Path) -> None:
    # Given a picture of a megabyte, with and without two entries of 300 MB each
    scene = pictures.scene(700, 500)
    plain = heavy_tiffs.write(tmp_path / "plain.tif", scene, (), 0)
    heavy = heavy_tiffs.write(tmp_path / "heavy.tif", scene, tags, 300 * MB)
    # Then both take about the same memory, and show the same
    assert peak(heavy) - peak(plain) < 100
    assert np.array_equal(reader_of(heavy).open().numpy(), scene)


def test_a_preflight_does_not_fetch_them(tmp_path: Path) -> None:
    path = heavy_tiffs.write(tmp_path / "source.tif", pictures.scene(700, 500), (XMP, LAYERS), 300 * MB)
    asked: list[int] = []

    def ask(at: int, size: int) -> bytes:
        asked.append(size)
        with path.open("rb") as file:
            file.seek(at)
            return file.read(size)

    seen = probe_child.find_header(pyvips, Blocks(ask, path.stat().st_size), None)
    assert isinstance(seen, Found)
    assert (seen.width, seen.height, seen.pages) == (700, 500, 1)
    assert sum(asked) < MB


def test_entries_that_pixels_depend_on_stay(tmp_path: Path) -> None:
    # Given places of strips that take megabytes, as those of an image of a million rows
    path = heavy_tiffs.write(tmp_path / "source.tif", pictures.scene(70, 50), (273, 279, XMP), 8 * MB)
    with path.open("rb") as file:
        (patch,) = patches(file, 0)
        file.seek(patch.offset - 4)
        assert struct.unpack("<H", file.read(2)) == (XMP,)
