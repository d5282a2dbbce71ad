"""Deep Zoom, SZI and TileJSON as others understand them: programs that others wrote, and the published rules."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from pipeline.pyramids import deep_zoom_descriptor, tilejson
from pipeline.pyramids.geometry import Format, Geometry
from tests.support.images import pictures
from tests.support.rigs import conformance
from tests.support.rigs.tile_rig import Kiln

SIZES = [
    (width, height, tile)
    for tile in (256, 512)
    for width, height in [
        (1, 1),
        (2, 1),
        (255, 255),
        (256, 256),
        (257, 255),
        (511, 513),
        (512, 512),
        (1023, 1025),
        (700, 301),
        (4096, 4095),
        (4097, 4096),
        (10_800, 5_400),
        (1, 60_000),
        (60_000, 1),
        (65_537, 32_769),
        (200_000, 100_000),
    ]
]

OPENSLIDE = """
import json, sys
import xml.etree.ElementTree as ET
from openslide.deepzoom import DeepZoomGenerator

class Slide:
    level_count, level_downsamples, properties, color_profile = 1, (1.0,), {}, None

    def __init__(self, width, height):
        self.dimensions = width, height
        self.level_dimensions = (self.dimensions,)

    def get_best_level_for_downsample(self, factor):
        return 0

for width, height, tile in json.load(sys.stdin):
    made = DeepZoomGenerator(Slide(width, height), tile_size=tile, overlap=0)
    last = [(columns - 1, rows - 1) for columns, rows in made.level_tiles]
    sizes = [made.get_tile_dimensions(level, at) for level, at in enumerate(last)]
    image = ET.fromstring(made.get_dzi("jpg"))
    described = [image.tag, image.attrib, image[0].attrib]
    print(json.dumps([made.level_dimensions, made.level_tiles, made.tile_count, sizes, described]))
"""
"""openslide-python's own generator of Deep Zoom tiles, asked what a picture of such a size would have."""

LARGE_IMAGE = """
import json, sys
import numpy
from large_image_source_deepzoom import DeepzoomFileTileSource

source = DeepzoomFileTileSource(sys.argv[1])
pixels, _ = source.getRegion(format="numpy")
numpy.save(sys.argv[2], pixels)
print(json.dumps(source.getMetadata()))
"""
"""large-image's reader of Deep Zoom trees, which puts the largest level together."""


def test_openslide_lays_a_picture_out_in_the_same_levels_and_tiles() -> None:
    # Given what openslide-python says of many sizes
    done = conformance.run("-c", OPENSLIDE, stdin=json.dumps(SIZES))
    assert done.returncode == 0, done.stderr
    # When it is held against our arithmetic, then levels, tiles, sizes and descriptor are the same
    for (width, height, tile), line in zip(SIZES, done.stdout.splitlines(), strict=True):
        geometry = Geometry(width, height, tile)
        dimensions, tiles, count, last, described = json.loads(line)
        assert dimensions == [[level.width, level.height] for level in geometry.levels]
        assert tiles == [[level.columns, level.rows] for level in geometry.levels]
        assert count == geometry.tile_count
        assert last == [
            [level.width - (level.columns - 1) * tile, level.height - (level.rows - 1) * tile]
            for level in geometry.levels
        ]
        space = "{http://schemas.microsoft.com/deepzoom/2008}"
        attributes = {"Format": "jpg", "Overlap": "0", "TileSize": str(tile)}
        assert described == [f"{space}Image", attributes, {"Width": str(width), "Height": str(height)}]


@pytest.mark.parametrize("tile_size", [256, 512])
def test_large_image_reads_the_tree_to_the_pixel(tile_size: int, tmp_path: Path) -> None:
    # Given a pyramid of the tiler's, as plain files
    kiln = tmp_path / "kiln"
    kiln.mkdir()
    source = pictures.jpeg(tmp_path / "source.jpg", 1500, 700)
    folder, _ = Kiln(kiln).build(source, tile_size)
    geometry = Geometry(1500, 700, tile_size)
    tiles = pictures.deep_zoom(folder / "pyramid.szi")
    for (level, x, y), data in tiles.items():
        path = tmp_path / f"site/earth_files/{level}/{x}_{y}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "site/earth.dzi").write_text(deep_zoom_descriptor(geometry, Format.JPEG))
    # When large-image opens it
    done = conformance.run("-c", LARGE_IMAGE, tmp_path / "site/earth.dzi", tmp_path / "whole.npy")
    assert done.returncode == 0, done.stderr
    # Then it sees the picture's size, and each pixel where the tile has it
    told = json.loads(done.stdout)
    assert (told["sizeX"], told["sizeY"], told["tileWidth"], told["tileHeight"]) == (1500, 700, tile_size, tile_size)
    assert told["levels"] == geometry.max_zoom + 1
    whole = np.load(tmp_path / "whole.npy")[..., :3]
    for (level, x, y), data in tiles.items():
        if level == geometry.max_level:
            tile = pictures.decode(data)
            top, left = y * tile_size, x * tile_size
            assert np.array_equal(whole[top : top + tile.shape[0], left : left + tile.shape[1]], tile)


def test_an_szi_is_laid_out_as_its_specification_says(tmp_path: Path) -> None:
    # Given a pyramid of the tiler's
    kiln = tmp_path / "kiln"
    kiln.mkdir()
    folder, _ = Kiln(kiln).build(pictures.jpeg(tmp_path / "source.jpg", 700, 301), 256)
    # When Python's own reader opens it, then all is there, whole and stored as it is
    with zipfile.ZipFile(folder / "pyramid.szi") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        names = [name for name in archive.namelist() if not name.endswith("/")]
        # And one folder, named after the picture, has the descriptor and beside it the tiles
        roots = {name.split("/")[0] for name in names}
        assert roots == {"pyramid"}
        descriptor = archive.read("pyramid/pyramid.dzi").decode()
    assert 'TileSize="256"' in descriptor
    assert 'Overlap="0"' in descriptor
    assert (
        sum(name.startswith("pyramid/pyramid_files/") and name.endswith(".jpeg") for name in names)
        == Geometry(700, 301).tile_count
    )


VERSION = {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}
ZOOM = {"type": "integer", "minimum": 0, "maximum": 30}
TILEJSON = {
    "type": "object",
    "required": ["tilejson", "tiles"],
    "properties": {
        "tilejson": VERSION,
        "tiles": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": r"\{z\}.*\{x\}.*\{y\}"}},
        "scheme": {"enum": ["xyz", "tms"]},
        "minzoom": ZOOM,
        "maxzoom": ZOOM,
        "bounds": {
            "type": "array",
            "prefixItems": [
                {"type": "number", "minimum": -180, "maximum": 180},
                {"type": "number", "minimum": -90, "maximum": 90},
            ]
            * 2,
            "minItems": 4,
            "maxItems": 4,
        },
        "center": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3},
    },
}
"""TileJSON 2.2.0, section 3, as a schema. 3.0.0 differs by `vector_layers`, which pictures have not."""


@pytest.mark.parametrize(("width", "height", "tile"), SIZES)
def test_a_tilejson_keeps_the_rules_of_its_specification(width: int, height: int, tile: int) -> None:
    document = tilejson(Geometry(width, height, tile), Format.JPEG, "https://x/{z}/{x}/{y}.jpg")
    jsonschema.Draft202012Validator(TILEJSON).validate(document)
    west, south, east, north = document["bounds"]
    x, y, zoom = document["center"]
    assert west < east
    assert south < north
    assert west <= x <= east
    assert south <= y <= north
    assert document["minzoom"] <= zoom <= document["maxzoom"]
