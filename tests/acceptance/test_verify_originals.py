"""`tilewright verify --source` finds no difference to a sound original, however its pixels are laid out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import tifffile
from PIL import Image

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import ready
from tests.support.images import pictures
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

HEIGHT, WIDTH = 530, 300
"""Three rows of tiles. No row of tiles begins with a strip of a TIFF."""

TIFFS: dict[str, dict[str, Any]] = {
    "default": {},
    "one-strip": {"rowsperstrip": HEIGHT},
    "strips-of-100": {"rowsperstrip": 100},
    "strips-of-7": {"rowsperstrip": 7},
    "deflate": {"rowsperstrip": 300, "compression": "zlib"},
    "lzw": {"rowsperstrip": HEIGHT, "compression": "lzw", "predictor": True},
    "zstd": {"rowsperstrip": 300, "compression": "zstd"},
    "tiles": {"tile": (96, 96)},
    "planar": {"planarconfig": "separate"},
    "planar-strips": {"planarconfig": "separate", "rowsperstrip": 100},
    "planar-tiles": {"planarconfig": "separate", "tile": (96, 96)},
}

PILLOW: dict[str, dict[str, Any]] = {
    "plain.jpg": {},
    "fine.jpg": {"subsampling": 0},
    "progressive.jpg": {"progressive": True},
    "plain.png": {},
    "lossy.webp": {},
    "lossless.webp": {"lossless": True},
    "plain.gif": {},
    "plain.bmp": {},
    "plain.ppm": {},
    "plain.tga": {},
    "plain.avif": {},
}


def write(folder: Path) -> list[str]:
    pixels = pictures.scene(WIDTH, HEIGHT)
    for name, options in TIFFS.items():
        stored = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if name.startswith("planar") else pixels
        tifffile.imwrite(folder / f"{name}.tif", stored, photometric="rgb", **options)
    tifffile.imwrite(folder / "grey16.tif", pixels[..., 0].astype(np.uint16) * 257, photometric="minisblack")
    for name, options in PILLOW.items():
        Image.fromarray(pixels).save(folder / name, **options)
    pyvips.Image.new_from_array(pixels).pngsave(str(folder / "interlaced.png"), interlace=True)
    return sorted(path.name for path in folder.iterdir())


def test_what_is_ready_matches_its_sound_original(
    client: Client, files: SourceServer, stack: LaunchedStack, command: Command, tmp_path: Path
) -> None:
    # Given files of many formats and layouts, and tiles of both sizes
    names = write(tmp_path)
    asked: list[dict[str, Any]] = [{}, {"tile_size": 512, "format": "webp"}]
    ids = {
        (name, number): str(client.submit(files.url(f"/{name}"), "Sound", **options)["dataset_id"])
        for name in names
        for number, options in enumerate(asked)
    }
    tiles = {which: ready(client, dataset_id)["tile_id"] for which, dataset_id in ids.items()}
    assert len(tiles) > 2 * len(TIFFS)
    # When their pyramids are compared with them, in a copy without the pyramids of other tests
    storage = stack.data / "storage"
    for tile_id in set(tiles.values()):
        shutil.copytree(storage / "pyramids" / tile_id, tmp_path / "copy" / "pyramids" / tile_id)
    for dataset_id in ids.values():
        # One of those with the same bytes has the original.
        if (storage / "sources" / dataset_id).exists():
            shutil.copytree(storage / "sources" / dataset_id, tmp_path / "copy" / "sources" / dataset_id)
    ended = command("verify", "--all", "--source", "--storage", str(tmp_path / "copy"))
    # Then none of them differs
    assert ended.code == 0, ended.out + ended.err
    for which, tile_id in tiles.items():
        [line] = [line for line in ended.out.splitlines() if line.startswith(f"{tile_id}/")]
        assert " match the original" in line, (which, line)
