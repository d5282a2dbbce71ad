"""What the strips and tiles of a TIFF take, told by its header: literal layouts, real files, bombs."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imagecodecs import lzw_encode

from pipeline.errors import StageError
from pipeline.formats import tiff
from pipeline.formats.header import BASE_MEMORY
from pipeline.formats.tiff.layout import Layout, held_bytes, layout_of
from pipeline.run import Run
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.images import pictures, tiffs, zstd_tiffs
from tests.support.images.pictures import Pixels
from tiler.decode import reader_of
from tiler.job import Built, Job
from tiler.parent import build

MB = 10**6


def compressed(path: Path, pixels: Pixels, **options: Any) -> Path:
    """By LZW, which is left to libtiff."""
    return tiffs.write(path, pixels, compression=5, encode=lambda strip: bytes(lzw_encode(strip)), **options)


def slopes(edge: int) -> Pixels:
    """A picture that is soon compressed."""
    x, y = np.meshgrid(np.arange(edge), np.arange(edge))
    return np.stack([x // 8, y // 8, (x + y) // 16], axis=-1).astype(np.uint8)


def built(path: Path, memory_bytes: int) -> Built:
    """What a child makes of it, in its sandbox."""
    job = Job(str(path), str(path.parent), "t" * 64, "s" * 64, 256, 10**10, "8.18.3", memory_bytes=memory_bytes)
    wake_up = pb.WakeUp(dataset_id="custom_0123abcd", attempt=1, stage=pb.STAGE_TILER)
    return build(Run("r" * 32, wake_up, pb.Grant()), job, threads=0)


def test_a_layout_is_what_the_directory_says(tmp_path: Path) -> None:
    tiffs.write(tmp_path / "a.tif", pictures.scene(61, 37), rows=8)
    tiffs.write(tmp_path / "b.tif", pictures.scene(61, 37).astype(np.uint16), planar=True)
    zstd_tiffs.save(tmp_path / "c.tif", pictures.scene(61, 37, bands=1), tile=(32, 16))
    found = {}
    for name in "abc":
        with (tmp_path / f"{name}.tif").open("rb") as file:
            directory = tiff.find(file, 0)
            assert directory is not None
            found[name] = layout_of(directory)
    assert found == {
        "a": Layout(61, 37, 61, 8, tiled=False, planes=1, bits=24),
        "b": Layout(61, 37, 61, 37, tiled=False, planes=3, bits=16),
        "c": Layout(61, 37, 16, 32, tiled=True, planes=1, bits=8),
    }
    assert [layout.chunks for layout in found.values() if layout] == [5, 3, 8]
    assert [layout.chunk_bytes for layout in found.values() if layout] == [1464, 4514, 512]


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ({}, 0),  # single rows are decoded
        ({"rows": 128}, 0),
        ({"planar": True}, 3000 * 3000 * 4 - 3000 * 512 * 4),  # all planes, and one of them apart
        ({"planar": True, "rows": 1000}, 3000 * 1000 * 7 - 3000 * 512 * 4),
    ],
)
def test_only_what_is_decoded_at_once_is_held(options: dict[str, Any], held: int, tmp_path: Path) -> None:
    # Given a file whose compressed strips are next to nothing
    path = compressed(tmp_path / "source.tif", np.zeros((3000, 3000, 3), np.uint8), **options)
    with path.open("rb") as file:
        found = held_bytes(file, path.stat().st_size, 0)
    assert held <= found <= held + path.stat().st_size


MEASURED = """
import re, sys
from pathlib import Path
from tiler.decode import reader_of
def most():
    return int(re.search("VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1]) * 1024
source = reader_of(Path(sys.argv[1]))
estimate = source.memory(256)
before = most()
source.open().dzsave(sys.argv[2], container="szi", overlap=0)
print(estimate, most() - before)
"""


@pytest.mark.parametrize("kind", ["strip", "planes", "planes in tiles", "tiles", "zstd strip", "zstd tiles"])
def test_it_takes_no_more_memory_than_is_told(kind: str, tmp_path: Path) -> None:
    # Given a picture of 48 MB that is cut into few large pieces
    path, pixels = tmp_path / "source.tif", slopes(4000)
    match kind:
        case "strip":
            compressed(path, pixels)
        case "planes":
            compressed(path, pixels, planar=True)
        case "planes in tiles":
            zstd_tiffs.save(path, pixels, compression="lzw", tile=(2048, 2048), planar=True)
        case "tiles":
            zstd_tiffs.save(path, pixels, compression="lzw", tile=(2048, 2048))
        case "zstd strip":
            zstd_tiffs.save(path, pixels, rowsperstrip=4000)
        case "zstd tiles":
            zstd_tiffs.save(path, pixels, tile=(2048, 2048))
    # When it is tiled, then what that took is what its header told, or less
    said = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path), str(tmp_path / "out.szi")],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        check=True,
        timeout=60,
    )
    estimate, found = map(int, said.stdout.split())
    assert 5 * MB < found <= estimate


def test_one_strip_above_the_limit_of_libtiff_is_read(tmp_path: Path) -> None:
    # Given noise, 54 MB in one compressed strip, of which libtiff by itself would take 50
    pixels = pictures.noise(4500, 4000)
    path = compressed(tmp_path / "source.tif", pixels)
    assert path.stat().st_size > 52_428_800
    # When a child is given memory for it, then it is built
    done = built(path, 300 * MB)
    assert (done.width, done.height) == (4500, 4000)
    assert np.array_equal(reader_of(path).open().numpy(), pixels)
    # And where there is less it is refused before a pixel is decoded, with limit and value
    with pytest.raises(StageError) as caught:
        built(path, 100 * MB)
    assert (caught.value.code, caught.value.message) == (
        "image_too_large",
        "A TIFF of 4,500 x 4,000 pixels needs about 150 MB of memory to decode; the limit is 100 MB "
        "(TILEWRIGHT_DECODE_MEMORY_BYTES). Save it in tiles of 256 x 256 pixels.",
    )


def test_a_bomb_that_declares_a_vast_strip_is_refused_by_its_header(tmp_path: Path) -> None:
    # Given a few bytes that are to be three planes of 900 megabytes
    path = compressed(tmp_path / "source.tif", np.zeros((1, 1, 3), np.uint8), planar=True)
    data = bytearray(path.read_bytes())
    for tag in (256, 257, 278):
        at = data.index(struct.pack("<HHI", tag, 4, 1)) + 8
        data[at : at + 4] = struct.pack("<I", 30_000)
    path.write_bytes(data)
    with pytest.raises(StageError) as caught:
        built(path, 3000 * MB)
    assert (caught.value.code, caught.value.message) == (
        "image_too_large",
        "A TIFF of 30,000 x 30,000 pixels needs about 3.7 GB of memory to decode; the limit is 3.0 GB "
        "(TILEWRIGHT_DECODE_MEMORY_BYTES). Save it in tiles of 256 x 256 pixels.",
    )


def test_a_strip_said_to_be_longer_than_the_file_is_cut_short_and_takes_nothing(tmp_path: Path) -> None:
    # Given a strip of four gigabytes in a file of some bytes
    path = compressed(tmp_path / "source.tif", np.zeros((1000, 1000, 3), np.uint8))
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHI", 279, 4, 1)) + 8
    data[at : at + 4] = struct.pack("<I", 2**32 - 1)
    path.write_bytes(data)
    # When it is judged and decoded with little memory
    assert reader_of(path).memory(256) < BASE_MEMORY + 10 * MB
    with pytest.raises(StageError) as caught:
        built(path, 100 * MB)
    assert caught.value.code == "image_truncated"
