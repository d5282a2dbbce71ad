"""`tilewright verify --source`: a pyramid is held against what its original gives."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from pipeline.pyramids.geometry import DESCRIPTION, FILES, Format
from pipeline.storage.directory import pyramid_key
from tests.support.images import damaged_tiffs, pictures
from tests.support.images.pictures import Pixels
from tests.support.rigs.command import Ended, run_command
from tests.support.rigs.rest import Answer, scripted_gateway
from tiler.build import pyramid as building
from tiler.decode import open_picture, reader_of
from tiler.job import Job
from tiler.progress import Meter
from tilewright.commands.cli import main

WIDTH, HEIGHT = 700, 301
TILES = 6
"""Of the finest level."""

DATASET = "custom_0123abcd"


Verify = Callable[..., Ended]


class Shelf:
    """A storage with originals and pyramids, each made by the tiler, of the original or of another picture."""

    def __init__(self, folder: Path) -> None:
        self.storage = folder / "storage"
        self._scratch = folder / "scratch"
        self._count = 0

    def put(self, original: Path, shown: Path | None = None, *, dataset: str = DATASET, **options: Any) -> str:
        """Stores both; gives the tile_id."""
        self._count += 1
        tile_id = f"{self._count:064x}"
        data = original.read_bytes()
        source = self.storage / "sources" / dataset / "1"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(data)
        out = self.storage / "pyramids" / tile_id / "a"
        out.mkdir(parents=True)
        tile_format, page = options.pop("tile_format", None), options.pop("page", 0)
        job = Job(str(original), str(out), tile_id, hashlib.sha256(data).hexdigest(), 256, 10**9, "8.18.3", **options)
        meter = Meter(lambda *_: None)
        building.build(
            open_picture(reader_of(shown or original, page), meter=meter, tile_format=tile_format), job, meter
        )
        return tile_id


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    monkeypatch.setenv("TILEWRIGHT_STORAGE", str(tmp_path / "storage"))

    def run(*arguments: str) -> Ended:
        return run_command(monkeypatch, capsys, "verify", "--source", *arguments)

    return run


def with_a_black_square(pixels: Pixels, edge: int, left: int, top: int) -> Pixels:
    blackened = pixels.copy()
    blackened[top : top + edge, left : left + edge, :3] = 0
    return blackened


@pytest.mark.parametrize(
    ("name", "bands", "tile_format"),
    [
        ("a.jpg", 3, None),
        ("a.png", 4, None),
        ("a.png", 3, Format.WEBP),
        ("a.png", 4, Format.WEBP),
        ("a.png", 4, Format.JPEG),
        ("a.tif", 3, None),
    ],
)
def test_a_pyramid_of_its_original_is_all_well(
    name: str, bands: int, tile_format: Format | None, shelf: Shelf, verify: Verify, tmp_path: Path
) -> None:
    # Given pyramids of every format of tiles, and the picture that is hardest to keep
    for noisy in (False, True):
        make = pictures.noise if noisy else pictures.scene
        path = pictures.save(make(WIDTH, HEIGHT, bands=bands), tmp_path / f"{noisy}-{name}")
        shelf.put(path, tile_format=tile_format, dataset=f"custom_0000000{int(noisy)}")
    # When they are compared, then they are what their originals give
    ended = verify("--all", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count(f"no damage; {TILES} match the original") == 2


@pytest.mark.parametrize("options", [{}, {"interlace": True}, {"orientation": 6}])
def test_a_larger_picture_is_compared_strip_by_strip(
    options: dict[str, Any], shelf: Shelf, verify: Verify, tmp_path: Path
) -> None:
    image = pyvips.Image.new_from_array(pictures.scene(1500, 2100)).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gint_type, "orientation", options.pop("orientation", 1))
    image.write_to_file(str(tmp_path / "a.jpg"), **options)
    ended = verify(shelf.put(tmp_path / "a.jpg"), "--all-tiles")
    assert (ended.code, ended.out.count("54 match the original")) == (0, 1), ended.out


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("rows", [520, 300, 100, 7])
def test_a_tiff_whose_strips_are_not_rows_of_tiles_matches_its_pyramid(
    rows: int, planar: str, shelf: Shelf, verify: Verify, tmp_path: Path
) -> None:
    pixels = pictures.scene(300, 520)
    stored = pixels if planar == "contig" else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, rowsperstrip=rows)
    ended = verify(shelf.put(tmp_path / "a.tif"), "--all-tiles")
    assert (ended.code, ended.out.count("6 match the original")) == (0, 1), ended.out


@pytest.mark.parametrize("tile_format", [Format.JPEG, Format.PNG, Format.WEBP])
@pytest.mark.parametrize("edge", [256, 64, 16])
def test_a_black_square_is_found_and_named(
    edge: int, tile_format: Format, shelf: Shelf, verify: Verify, tmp_path: Path
) -> None:
    # Given a pyramid with a black square, as large as a tile or as the least tile of a TIFF, that its original has not
    pixels = pictures.scene(WIDTH, HEIGHT)
    good = pictures.save(pixels, tmp_path / "good.png")
    bad = pictures.save(with_a_black_square(pixels, edge, 256, 0), tmp_path / "bad.png")
    tile_id = shelf.put(good, bad, tile_format=tile_format)
    # When it is compared, then the tile is named
    ended = verify(tile_id, "--all-tiles")
    assert ended.code == 1
    assert f"{tile_id}/a: 1 finding\n  tile 1, 0 of level 10 differs from the original by up to " in ended.out
    assert f"Comparing {tile_id[:12]}…" in ended.err


def test_a_pyramid_of_an_older_release_is_compared_too(shelf: Shelf, verify: Verify, tmp_path: Path) -> None:
    # Given one whose description knows neither checksums nor quality
    tile_id = shelf.put(pictures.jpeg(tmp_path / "a.jpg", WIDTH, HEIGHT))
    path = shelf.storage / pyramid_key(tile_id, "a", DESCRIPTION)
    document = json.loads(path.read_text()) | {"version": 4}
    for name in ("crc32", "quality", "sha256"):
        document.pop(name, None)
    path.write_text(json.dumps(document))
    assert verify(tile_id).code == 0


def test_of_a_large_pyramid_some_tiles_are_compared_and_all_is_decoded(
    shelf: Shelf, verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a pyramid of a TIFF that was tiled before its damage was seen
    monkeypatch.setattr("tilewright.commands.originals.SAMPLE", 3)
    whole = tmp_path / "whole.tif"
    damaged_tiffs.READ[5](whole, True)
    damaged = tmp_path / "damaged.tif"
    damaged.write_bytes(whole.read_bytes())
    damaged_tiffs.damaged(damaged, "noise", "last")
    sound = shelf.put(pictures.jpeg(tmp_path / "a.jpg", WIDTH, HEIGHT), dataset="custom_00000001")
    tile_id = shelf.put(damaged, whole)
    # When a few tiles are compared, then it is found all the same, by the code that it should have ended with
    ended = verify("--all", "--json", "--quiet")
    reports = {report["tile_id"]: report for report in map(json.loads, ended.out.splitlines())}
    assert ended.code == 1
    assert (reports[sound]["ok"], reports[sound]["compared"]) == (True, 3)
    assert not reports[tile_id]["ok"]
    assert "the original cannot be tiled: The image file is damaged" in reports[tile_id]["findings"][0]
    assert "(image_corrupt)" in reports[tile_id]["findings"][0]


def test_a_compression_that_came_out_black_is_named(shelf: Shelf, verify: Verify, tmp_path: Path) -> None:
    black = pictures.save(np.zeros((64, 64, 3), np.uint8), tmp_path / "black.png")
    tile_id = shelf.put(damaged_tiffs.unread(tmp_path / "a.tif", 34712, tiled=True), black)
    ended = verify(tile_id)
    assert ended.code == 1
    assert "compressed with JPEG 2000" in ended.out
    assert "(unsupported_format)" in ended.out


def test_the_page_that_was_tiled_is_compared(shelf: Shelf, verify: Verify, tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    first, second = (pictures.scene(300, 200, seed=seed) for seed in (1, 2))
    Image.fromarray(first).save(path, save_all=True, append_images=[Image.fromarray(255 - second)])
    assert verify(shelf.put(path, page=1)).code == 0


def test_a_datasets_own_original_is_looked_at_first(shelf: Shelf, verify: Verify, tmp_path: Path) -> None:
    # Given two datasets, and the original of the second
    shelf.put(pictures.jpeg(tmp_path / "a.jpg", 300, 200), dataset="custom_00000001")
    tile_id = shelf.put(pictures.jpeg(tmp_path / "b.jpg", WIDTH, HEIGHT), dataset=DATASET)
    with scripted_gateway() as gateway:
        info = {"tile_id": tile_id, "width": WIDTH, "height": HEIGHT, "tile_size": 256, "format": "jpg"}
        gateway.on(f"GET /api/datasets/{DATASET}", Answer(200, {"dataset_id": DATASET, "tile_info": info}))
        ended = verify(DATASET, "--server", gateway.url)
    assert (ended.code, ended.out) == (
        0,
        f"{tile_id}/a: 24 tiles, no damage; {TILES} match the original\n",
    )


def test_an_original_that_is_gone_is_told_of(shelf: Shelf, verify: Verify, tmp_path: Path) -> None:
    tile_id = shelf.put(pictures.jpeg(tmp_path / "a.jpg", 300, 200))
    (shelf.storage / "sources" / DATASET / "1").write_bytes(b"another")
    # When it is asked for, then it is no success; among all others it is only told of: a setting lets originals go
    for arguments, code in (((tile_id,), 1), (("--all",), 0)):
        ended = verify(*arguments)
        assert (ended.code, ended.out.count("not compared: the original is no longer stored")) == (code, 1)


def test_a_tile_that_cannot_be_read_is_told(shelf: Shelf, verify: Verify, tmp_path: Path) -> None:
    tile_id = shelf.put(pictures.save(pictures.scene(WIDTH, HEIGHT), tmp_path / "a.png"), tile_format=Format.PNG)
    path = shelf.storage / pyramid_key(tile_id, "a", FILES[0])
    data = bytearray(path.read_bytes())
    at = data.index(pictures.deep_zoom(path)[10, 2, 1])
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    ended = verify(tile_id)
    assert ended.code == 1
    assert "tile 2, 1 of level 10 cannot be read" in ended.out


def test_all_tiles_makes_no_sense_without_a_source(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tilewright", "verify", "--all", "--all-tiles"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
