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

from pipeline.pyramids.geometry import FILES, PARTS, PYRAMID_VERSION, Format, Geometry
from pipeline.pyramids.index import Index
from tests.support.images import pictures
from tiler.build.pyramid import build
from tiler.decode import open_picture, reader_of
from tiler.job import Built, Job
from tiler.progress import Meter

SIZES = [(1, 1), (5, 7), (256, 256), (257, 255), (700, 301), (512, 1024), (1, 600), (1027, 2)]


class Build:
    """A build in a folder, read the way a reader does: by arithmetic and one positioned read."""

    def __init__(
        self, source: Path, folder: Path, tile_size: int = 256, tile_format: str = "", quality: int = 0, page: int = 0
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self.moves: list[float] = []
        job = Job(str(source), str(folder), "t" * 64, "s" * 64, tile_size, 10**9, "8.18.3", quality=quality)
        meter = Meter(lambda percent, _: self.moves.append(percent))
        wanted = Format(tile_format) if tile_format else None
        picture = open_picture(reader_of(source, page), meter=meter, tile_format=wanted)
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


@pytest.mark.parametrize("quality", [0, 40, 100])
@pytest.mark.parametrize(("bands", "tile_format"), [(3, "jpg"), (3, "webp"), (4, "webp"), (3, "png")])
def test_edge_tiles_are_close_to_the_level_at_any_quality(
    quality: int, bands: int, tile_format: str, tmp_path: Path, make: MakeBuild
) -> None:
    # Given a picture that is half noise, half a photograph's smoothness
    pixels = pictures.scene(517, 300, bands=bands)
    pixels[:, 256:] = pictures.noise(261, 300, bands=bands)
    result = make(pictures.save(pixels, tmp_path / "source.png"), tile_format=tile_format, quality=quality)
    for position, (zoom, x, y) in enumerate(result.geometry.edges(), result.geometry.tile_count):
        level = result.geometry.level_of_zoom(zoom)
        edge = pictures.decode(result.read(position)).astype(int)
        tile = pictures.decode(result.read(result.geometry.deep_zoom_position(level, x, y))).astype(int)
        # Then each edge tile is a full square that holds the tile it is made from
        assert edge.shape == (256, 256, bands)
        assert np.abs(edge[: tile.shape[0], : tile.shape[1]] - tile).mean() <= 1, (zoom, x, y)
        # And where there is transparency, there is nothing outside
        if bands == 4:
            assert (edge[tile.shape[0] :, :, 3] == 0).all()
            assert (edge[:, tile.shape[1] :, 3] == 0).all()


@pytest.mark.parametrize("size", [(16, 16), (7, 5), (3, 300), (300, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_edge_tiles_of_slivers_are_close_to_the_level(
    size: tuple[int, int], seed: int, tmp_path: Path, make: MakeBuild
) -> None:
    result = make(pictures.save(pictures.noise(*size, seed=seed), tmp_path / "source.png"), tile_format="jpg")
    for position, (zoom, x, y) in enumerate(result.geometry.edges(), result.geometry.tile_count):
        level = result.geometry.level_of_zoom(zoom)
        edge = pictures.decode(result.read(position)).astype(int)
        tile = pictures.decode(result.read(result.geometry.deep_zoom_position(level, x, y))).astype(int)
        assert np.abs(edge[: tile.shape[0], : tile.shape[1]] - tile).mean() <= 1, (zoom, x, y)


@pytest.mark.parametrize(("tile_format", "magic"), [("jpg", b"\xff\xd8"), ("png", b"\x89PNG"), ("webp", b"RIFF")])
@pytest.mark.parametrize("bands", [3, 4])
def test_every_file_of_a_build_is_in_the_format_asked_for(
    tile_format: str, magic: bytes, bands: int, tmp_path: Path, make: MakeBuild
) -> None:
    # Given a picture, with or without transparency, and a format
    source = pictures.save(pictures.scene(530, 301, bands=bands), tmp_path / "source.png")
    result = make(source, tile_format=tile_format)
    # Then all tiles have it, and keep the transparency if they can
    assert (result.built.extension, result.description["format"]) == (tile_format, tile_format)
    for position in range(len(result.index)):
        data = result.read(position)
        assert data.startswith(magic)
        assert pictures.decode(data).shape[2] == (3 if tile_format == "jpg" else bands)


def test_png_tiles_of_an_opaque_picture_are_the_exact_mean(tmp_path: Path, make: MakeBuild) -> None:
    pixels = pictures.noise(530, 301)
    result = make(pictures.save(pixels, tmp_path / "source.png"), tile_format="png")
    levels = pictures.levels(pixels)
    for (level, x, y), data in result.tiles().items():
        expected = levels[level][y * 256 : (y + 1) * 256, x * 256 : (x + 1) * 256]
        assert np.array_equal(pictures.decode(data), expected), (level, x, y)
    assert "quality" not in result.description


def test_transparency_is_laid_on_white_where_jpeg_tiles_are_asked_for(tmp_path: Path, make: MakeBuild) -> None:
    # Given a picture whose colour is black, wholly transparent on the left
    pixels = np.zeros((300, 600, 4), dtype=np.uint8)
    pixels[:, 300:, 3] = 255
    result = make(pictures.save(pixels, tmp_path / "source.png"), tile_format="jpg")
    # Then the left is white, the right black, and the description says why
    tiles = result.tiles()
    assert pictures.decode(tiles[10, 0, 0]).min() >= 254
    assert pictures.decode(tiles[10, 2, 0]).max() <= 1
    assert result.description["pixels"] == ["transparency laid on white: JPEG tiles have none"]


@pytest.mark.parametrize("tile_format", ["jpg", "webp"])
def test_a_lower_quality_gives_smaller_tiles_further_from_the_picture(tile_format: str, tmp_path: Path) -> None:
    pixels = pictures.scene(512, 512)
    source = pictures.save(pixels, tmp_path / "source.png")
    builds = [Build(source, tmp_path / str(q), tile_format=tile_format, quality=q) for q in (30, 0, 95)]
    assert [build.description["quality"] for build in builds] == [30, 85, 95]
    sizes = [build.built.size for build in builds]
    assert sizes == sorted(sizes)
    top = [pictures.decode(build.tiles()[9, 1, 1]).astype(int) for build in builds]
    distances = [float(np.abs(tile - pixels[256:, 256:]).mean()) for tile in top]
    assert distances == sorted(distances, reverse=True)


def test_edge_tiles_of_a_png_are_exact_and_transparent_outside(tmp_path: Path, make: MakeBuild) -> None:
    pixels = pictures.noise(300, 257, bands=4)
    result = make(pictures.save(pixels, tmp_path / "source.png"))
    edge = pictures.decode(result.read(result.geometry.xyz_position(1, 1, 1)))
    assert edge.shape == (256, 256, 4)
    assert np.array_equal(edge[:1, :44], pixels[256:, 256:])
    assert (edge[1:, :] == [255, 255, 255, 0]).all()
    assert (edge[:, 44:] == [255, 255, 255, 0]).all()


@pytest.mark.parametrize("tile_format", ["jpg", "png"])
def test_edge_tiles_that_are_the_same_are_stored_once(tile_format: str, tmp_path: Path, make: MakeBuild) -> None:
    # Given a strip of one pixel's width, red above and grey below, with noise in its middle
    pixels = np.full((100_000, 1, 3), 120, np.uint8)
    pixels[:40_000] = (200, 10, 10)
    pixels[50_000:51_000] = pictures.noise(1, 1_000)
    pictures.save(pixels, tmp_path / "source.png")
    made = make(tmp_path / "source.png", tile_format=tile_format)
    # When its edge tiles are read, of which there are 784
    edges = {place: made.read(made.geometry.xyz_position(*place)) for place in made.geometry.edges()}
    # Then each is that of its place
    assert len(edges) == made.geometry.edge_count
    for (zoom, x, y), data in edges.items():
        part = made.read(made.geometry.deep_zoom_position(made.geometry.level_of_zoom(zoom), x, y))
        inside = pictures.decode(part)
        padded = pictures.decode(data)
        assert padded.shape[:2] == (256, 256)
        assert np.abs(padded[: inside.shape[0], : inside.shape[1]].astype(int) - inside).mean() <= 1
    # And those that are the same are there once
    assert (made.folder / "edges.bin").stat().st_size == sum(map(len, set(edges.values())))
    assert len(set(edges.values())) < 60


def test_zoom_0_is_one_full_tile_also_for_a_small_picture(tmp_path: Path, make: MakeBuild) -> None:
    result = make(pictures.jpeg(tmp_path / "source.jpg", 100, 60))
    assert pictures.decode(result.read(result.geometry.xyz_position(0, 0, 0))).shape == (256, 256, 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2100, 903), (512, 220)),
        ((700, 301), (512, 220)),
        ((512, 301), (512, 301)),
        ((100, 60), (100, 60)),
        ((1, 3000), (1, 512)),
    ],
)
@pytest.mark.parametrize("tile_size", [256, 512])
def test_the_thumbnail_is_the_picture_at_512_pixels_or_less(
    size: tuple[int, int], expected: tuple[int, int], tile_size: int, tmp_path: Path, make: MakeBuild
) -> None:
    # Given a picture of slopes, whose pixels are known wherever it is looked at
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    slopes = np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)
    # When it is built
    result = make(pictures.save(slopes, tmp_path / "source.png"), tile_size=tile_size)
    # Then its thumbnail is the same slopes, at most 512 pixels long
    thumbnail = pictures.decode((result.folder / "thumbnail.jpg").read_bytes())
    assert thumbnail.shape == (expected[1], expected[0], 3)
    x, y = np.meshgrid(np.linspace(0, 255, expected[0]), np.linspace(0, 255, expected[1]))
    assert np.abs(thumbnail - np.stack([x, y, 255 - x], axis=-1)).mean() < 3


def test_the_thumbnail_of_a_transparent_picture_is_flattened_on_white(tmp_path: Path, make: MakeBuild) -> None:
    pixels = np.zeros((300, 300, 4), dtype=np.uint8)
    result = make(pictures.save(pixels, tmp_path / "source.png"))
    thumbnail = pictures.decode((result.folder / "thumbnail.jpg").read_bytes())
    assert thumbnail.shape == (300, 300, 3)
    assert (thumbnail == 255).all()


@pytest.mark.parametrize("tile_format", ["png", "webp"])
def test_tiles_with_and_without_transparency_join_to_one_thumbnail(
    tile_format: str, tmp_path: Path, make: MakeBuild
) -> None:
    # Given a picture of four tiles, black on the left and wholly transparent on the right
    pixels = np.zeros((512, 512, 4), dtype=np.uint8)
    pixels[:, :256, 3] = 255
    result = make(pictures.save(pixels, tmp_path / "source.png"), tile_format=tile_format)
    # Then the thumbnail is black and white
    thumbnail = pictures.decode((result.folder / "thumbnail.jpg").read_bytes())
    assert thumbnail.shape == (512, 512, 3)
    assert thumbnail[:, :240].max() <= 2
    assert thumbnail[:, 272:].min() >= 253


def test_the_description_says_what_the_pyramid_is(tmp_path: Path, make: MakeBuild) -> None:
    result = make(pictures.jpeg(tmp_path / "source.jpg", 700, 301))
    description = result.description
    assert {name: description[name] for name in ("width", "height", "tile_size", "format", "quality", "levels")} == {
        "width": 700,
        "height": 301,
        "tile_size": 256,
        "format": "jpg",
        "quality": 85,
        "levels": 11,
    }
    assert description["max_zoom"] == 2
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
        build(open_picture(reader_of(source), meter=meter), job, meter)


@pytest.mark.parametrize(
    ("name", "bands", "dtype", "tile_format", "expected"),
    [
        ("source.jpg", 3, np.uint8, "", "6bebfaa1195e673da592cd6ec058ec3e9b1ce55434476d12748ccb50ac32d498"),
        ("source.png", 4, np.uint8, "", "3dba35795b9f6bdb522a7ece552a3409b8d730b3ef0acf732b5b7b5c967cf47c"),
        ("source.png", 4, np.uint8, "jpg", "19d1acf23dd358fb452b8403ef79e6816cda3bc323183d4e8901369210573c10"),
        ("source.png", 4, np.uint8, "webp", "f73dc76af6987a9d19a656ae223ef8c549881bde92be81d826d6faf0d6c5f152"),
        ("source.png", 3, np.uint16, "png", "01fc7708390adb0895056a6a2ee31a668dec14bcf5eb9e88d2d92f91384d016d"),
        ("source.tif", 1, np.float32, "png", "184121d7c10e818fadb2bf630eb9cf065ba92f4ab1e265bf7357434a6ac6b2f1"),
    ],
)
def test_the_pixels_of_this_pyramid_version_never_change(
    name: str, bands: int, dtype: type, tile_format: str, expected: str, tmp_path: Path, make: MakeBuild
) -> None:
    # Given a picture made by arithmetic alone
    x, y = np.meshgrid(np.arange(530), np.arange(301))
    planes = [x * x // 7 + y, x * y // 5, x // 3 * (y // 4), 255 - x // 4 - y // 3]
    pixels: pictures.Pixels = (np.stack(planes[:bands], axis=-1) % 256).astype(dtype)
    space = "rgb16" if dtype is np.uint16 else "srgb" if bands > 1 else "b-w"
    source = pictures.save(pixels * dtype(257 if dtype is np.uint16 else 1), tmp_path / name, space)
    result = make(source, tile_format=tile_format)
    # When all tiles are decoded, edge tiles included
    digest = hashlib.sha256()
    for position in range(len(result.index)):
        digest.update(pictures.decode(result.read(position)).tobytes())
    # Then they are what this version has always given; otherwise raise PYRAMID_VERSION with this literal, since
    # addresses are immutable and must never show other pixels than before
    assert PYRAMID_VERSION == 10
    assert digest.hexdigest() == expected
