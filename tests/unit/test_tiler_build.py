"""The files of a build: each tile's pixels, the index, edge tiles, thumbnail, description."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips

from pipeline.pyramid import FILES, PARTS, PYRAMID_VERSION, Geometry
from pipeline.tile_index import Index
from tests import pictures
from tiler.build import build
from tiler.job import Built, Job
from tiler.meter import Meter
from tiler.pixels import open_picture

SIZES = [(1, 1), (5, 7), (256, 256), (257, 255), (700, 301), (512, 1024), (1, 600), (1027, 2)]


class Build:
    """A build in a folder, read the way a reader does: by arithmetic and one positioned read."""

    def __init__(self, source: Path, folder: Path, tile_size: int = 256) -> None:
        folder.mkdir()
        self.folder = folder
        self.moves: list[float] = []
        job = Job(str(source), str(folder), "t" * 64, "s" * 64, tile_size, 10**9, "8.18.3")
        meter = Meter(lambda percent, _: self.moves.append(percent))
        picture = open_picture(source, max_pixels=job.max_pixels, meter=meter)
        self.built: Built = build(picture, job, meter)
        self.geometry = Geometry(self.built.width, self.built.height, tile_size)
        self.index = Index((folder / "tiles.idx").read_bytes())

    def read(self, position: int) -> bytes:
        entry = self.index.entry(position)
        with (self.folder / PARTS[entry.part]).open("rb") as file:
            return os.pread(file.fileno(), entry.length, entry.offset)

    def tiles(self) -> dict[tuple[int, int, int], bytes]:
        return {
            (number, x, y): self.read(self.geometry.deep_zoom_position(number, x, y))
            for number, level in enumerate(self.geometry.levels)
            for y in range(level.rows)
            for x in range(level.columns)
        }

    @property
    def description(self) -> dict[str, object]:
        loaded: dict[str, object] = json.loads((self.folder / "pyramid.json").read_text())
        return loaded


MakeBuild = Callable[..., Build]


@pytest.fixture
def make(tmp_path: Path) -> MakeBuild:
    return lambda source, **options: Build(source, tmp_path / "build", **options)


@pytest.mark.parametrize("tile_size", [256, 512])
@pytest.mark.parametrize("size", SIZES)
def test_tiles_of_a_jpeg_are_those_of_plain_dzsave(
    size: tuple[int, int], tile_size: int, tmp_path: Path, make: MakeBuild
) -> None:
    # Given a JPEG tiled by libvips alone
    source = pictures.jpeg(tmp_path / "source.jpg", *size)
    plain = pyvips.Image.new_from_file(str(source), access="sequential")
    plain.dzsave(str(tmp_path / "plain.szi"), container="szi", overlap=0, tile_size=tile_size, Q=85)
    expected = pictures.deep_zoom(tmp_path / "plain.szi")
    # When it is built here
    tiles = make(source, tile_size=tile_size).tiles()
    # Then the same tiles are there, with the same pixels
    assert tiles.keys() == expected.keys()
    for address, data in tiles.items():
        assert np.array_equal(pictures.decode(data), pictures.decode(expected[address])), address


@pytest.mark.parametrize("size", SIZES)
def test_tiles_of_a_png_with_alpha_are_the_exact_mean(size: tuple[int, int], tmp_path: Path, make: MakeBuild) -> None:
    # Given a PNG of noise with half its pixels wholly transparent
    pixels = pictures.noise(*size, bands=4)
    pixels[..., 3] *= np.random.default_rng(2).integers(0, 2, pixels.shape[:2], dtype=np.uint8)
    source = pictures.save(pixels, tmp_path / "source.png")
    # When it is built
    result = make(source)
    # Then every tile is a PNG with the pixels of a mean-shrink written in numpy
    assert result.built.extension == "png"
    levels = pictures.levels(pixels)
    for (level, x, y), data in result.tiles().items():
        expected = levels[level][y * 256 : (y + 1) * 256, x * 256 : (x + 1) * 256]
        assert np.array_equal(pictures.decode(data), expected), (level, x, y)


@pytest.mark.parametrize("maker", [pictures.scene, pictures.noise])
@pytest.mark.parametrize("size", [(5, 7), (257, 255), (700, 301), (600, 256), (1, 600)])
def test_edge_tiles_of_a_jpeg_are_full_squares_close_to_the_level(
    size: tuple[int, int], maker: Callable[..., pictures.Pixels], tmp_path: Path, make: MakeBuild
) -> None:
    result = make(pictures.save(maker(*size), tmp_path / "source.png"))
    for position, (zoom, x, y) in enumerate(result.geometry.edges(), result.geometry.tile_count):
        # Given an edge tile and the Deep Zoom tile it is made from
        edge = pictures.decode(result.read(position)).astype(int)
        level = result.geometry.level_of_zoom(zoom)
        tile = pictures.decode(result.read(result.geometry.deep_zoom_position(level, x, y))).astype(int)
        height, width = tile.shape[:2]
        # Then it is a full square, close to the picture inside and white well outside
        assert edge.shape == (256, 256, 3)
        assert np.abs(edge[:height, :width] - tile).mean() <= 1, (zoom, x, y)
        outside = np.ones((256, 256), dtype=bool)
        outside[: -(-height // 16) * 16, : -(-width // 16) * 16] = False
        assert (edge[outside] == 255).all()


def test_edge_tiles_of_a_png_are_exact_and_transparent_outside(tmp_path: Path, make: MakeBuild) -> None:
    pixels = pictures.noise(300, 257, bands=4)
    result = make(pictures.save(pixels, tmp_path / "source.png"))
    edge = pictures.decode(result.read(result.geometry.xyz_position(1, 1, 1)))
    assert edge.shape == (256, 256, 4)
    assert np.array_equal(edge[:1, :44], pixels[256:, 256:])
    assert (edge[1:, :] == [255, 255, 255, 0]).all()
    assert (edge[:, 44:] == [255, 255, 255, 0]).all()


def test_zoom_0_is_one_full_tile_also_for_a_small_picture(tmp_path: Path, make: MakeBuild) -> None:
    result = make(pictures.jpeg(tmp_path / "source.jpg", 100, 60))
    assert pictures.decode(result.read(result.geometry.xyz_position(0, 0, 0))).shape == (256, 256, 3)


@pytest.mark.parametrize(("size", "expected"), [((700, 301), (175, 76)), ((100, 60), (100, 60)), ((1, 3000), (1, 188))])
@pytest.mark.parametrize("tile_size", [256, 512])
def test_the_thumbnail_is_the_largest_level_of_at_most_256_pixels(
    size: tuple[int, int], expected: tuple[int, int], tile_size: int, tmp_path: Path, make: MakeBuild
) -> None:
    result = make(pictures.jpeg(tmp_path / "source.jpg", *size), tile_size=tile_size)
    thumbnail = pictures.decode((result.folder / "thumbnail.jpg").read_bytes())
    assert thumbnail.shape == (expected[1], expected[0], 3)


def test_the_thumbnail_of_a_transparent_picture_is_flattened_on_white(tmp_path: Path, make: MakeBuild) -> None:
    pixels = np.zeros((300, 300, 4), dtype=np.uint8)
    result = make(pictures.save(pixels, tmp_path / "source.png"))
    thumbnail = pictures.decode((result.folder / "thumbnail.jpg").read_bytes())
    assert thumbnail.shape == (150, 150, 3)
    assert (thumbnail == 255).all()


def test_the_description_says_what_the_pyramid_is(tmp_path: Path, make: MakeBuild) -> None:
    result = make(pictures.jpeg(tmp_path / "source.jpg", 700, 301))
    description = result.description
    assert {name: description[name] for name in ("width", "height", "tile_size", "format", "levels", "max_zoom")} == {
        "width": 700,
        "height": 301,
        "tile_size": 256,
        "format": "jpg",
        "levels": 11,
        "max_zoom": 2,
    }
    assert (description["tiles"], description["edge_tiles"], description["overlap"]) == (17, 7, 0)
    assert description["source"] == {
        "sha256": "s" * 64,
        "format": "jpeg",
        "width": 700,
        "height": 301,
        "bands": 3,
        "samples": "uchar",
        "colour_space": "srgb",
    }
    assert description["pixels"] == ["untouched"]
    assert result.built.size == sum((result.folder / name).stat().st_size for name in FILES)
    assert sorted(path.name for path in result.folder.iterdir()) == sorted(FILES)


def test_progress_rises_over_all_passes_and_never_goes_back(tmp_path: Path, make: MakeBuild) -> None:
    # Given a picture that needs a pass of its own to be turned
    source = pictures.save(pictures.scene(900, 1300), tmp_path / "source.tif", tile=True)
    turned = pyvips.Image.new_from_file(str(source)).copy()
    turned.set_type(pyvips.GValue.gint_type, "orientation", 6)
    turned.write_to_file(str(tmp_path / "turned.jpg"))
    # When it is built
    moves = make(tmp_path / "turned.jpg").moves
    # Then progress only rises, through the first pass and the second
    assert moves == sorted(moves)
    assert any(0 < move <= 30 for move in moves)
    assert any(30 < move <= 100 for move in moves)


def test_a_place_written_in_the_source_is_not_in_the_build(tmp_path: Path, make: MakeBuild) -> None:
    image = pyvips.Image.new_from_array(pictures.scene(300, 300)).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd3-GPSLatitude", "52/1 31/1 7/1")
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Artist", "Somebody Known (Somebody Known, ASCII, 15 components)")
    image.write_to_file(str(tmp_path / "source.jpg"))
    assert b"Somebody Known" in (tmp_path / "source.jpg").read_bytes()
    result = make(tmp_path / "source.jpg")
    assert b"Somebody Known" not in b"".join(path.read_bytes() for path in result.folder.iterdir())


def test_a_full_disk_is_told_apart(tmp_path: Path) -> None:
    # Given a scratch whose pyramid.szi lies on a device that is always full
    source = pictures.jpeg(tmp_path / "source.jpg", 2000, 2000)
    job = Job(str(source), str(tmp_path), "t" * 64, "s" * 64, 256, 10**9, "8.18.3")
    (tmp_path / "pyramid.szi").symlink_to("/dev/full")
    meter = Meter(lambda *_: None)
    # When it is built, then libvips says so
    with pytest.raises(pyvips.Error, match="No space left on device"):
        build(open_picture(source, max_pixels=job.max_pixels, meter=meter), job, meter)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("source.jpg", "a600ea048b80e45e395273e14671f2e3da0b84443786576475fb0873b84c520d"),
        ("source.png", "3dba35795b9f6bdb522a7ece552a3409b8d730b3ef0acf732b5b7b5c967cf47c"),
    ],
)
def test_the_pixels_of_this_pyramid_version_never_change(
    name: str, expected: str, tmp_path: Path, make: MakeBuild
) -> None:
    # Given a picture made by arithmetic alone
    x, y = np.meshgrid(np.arange(530), np.arange(301))
    planes = [x * x // 7 + y, x * y // 5, x // 3 * (y // 4), 255 - x // 4 - y // 3]
    bands = 4 if name.endswith("png") else 3
    pixels = (np.stack(planes[:bands], axis=-1) % 256).astype(np.uint8)
    result = make(pictures.save(pixels, tmp_path / name))
    # When all tiles are decoded, edge tiles included
    digest = hashlib.sha256()
    for position in range(len(result.index)):
        digest.update(pictures.decode(result.read(position)).tobytes())
    # Then they are what this version has always given; otherwise raise PYRAMID_VERSION with this literal, since
    # addresses are immutable and must never show other pixels than before
    assert PYRAMID_VERSION == 1
    assert digest.hexdigest() == expected
