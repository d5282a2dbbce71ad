"""Identity, levels, addresses and index of a pyramid."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pyramids.geometry import Format, Geometry, Level, page_tile_id, tile_id
from pipeline.pyramids.index import Entry, Index, IndexWriter
from protos.tilewright.status.v1 import status_pb2 as pb

EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass
class Asked:
    tile_size: int = 0
    format: int = 0
    quality: int = 0
    page: int = 0
    damage: int = 0
    stretch: str = ""
    member: str = ""
    channels: tuple[str, ...] = ()
    all_pages: bool = False
    has_page: bool = False

    def HasField(self, name: str, /) -> bool:  # noqa: N802  the proto's name
        return self.has_page


POWERS_AND_NEIGHBOURS = st.integers(0, 16).flatmap(lambda power: st.integers(-1, 1).map(lambda step: 2**power + step))
EDGES = st.one_of(POWERS_AND_NEIGHBOURS.filter(lambda edge: edge > 0), st.integers(1, 70_000))
GEOMETRIES = st.builds(Geometry, EDGES, EDGES, st.sampled_from([256, 512]))
FEW_TILES = st.builds(Geometry, st.integers(1, 4100), st.integers(1, 4100), st.sampled_from([256, 512]))


def test_a_tile_id_is_the_hash_of_its_canonical_identity() -> None:
    # Given the identity written out by hand
    identity = f'{{"source":"{EMPTY}","tile_size":256,"version":10}}'
    # Then the id is its SHA-256
    assert tile_id(EMPTY, Asked(256)) == hashlib.sha256(identity.encode()).hexdigest()
    assert tile_id(EMPTY, Asked(256)) == "1b6cad083c647c1853fcf7b56540a256372bf7ddba697b60b2987f5c8d1f0b2e"


def test_a_default_and_its_explicit_value_give_the_same_tile_id() -> None:
    assert tile_id(EMPTY.upper(), Asked(0)) == tile_id(EMPTY, Asked(256))
    assert tile_id(EMPTY, Asked(quality=85)) == tile_id(EMPTY, Asked())
    assert tile_id(EMPTY, Asked(damage=pb.DAMAGE_REFUSE)) == tile_id(EMPTY, Asked())
    assert tile_id(EMPTY, Asked(member="a.tif")) not in {tile_id(EMPTY, Asked()), tile_id(EMPTY, Asked(member="b.tif"))}
    assert tile_id(EMPTY, Asked(format=pb.TILE_FORMAT_PNG, quality=40)) == tile_id(
        EMPTY, Asked(format=pb.TILE_FORMAT_PNG)
    )


def test_whatever_changes_pixels_changes_the_tile_id() -> None:
    asked = [
        Asked(),
        Asked(512),
        Asked(format=pb.TILE_FORMAT_JPEG),
        Asked(format=pb.TILE_FORMAT_PNG),
        Asked(format=pb.TILE_FORMAT_WEBP),
        Asked(format=pb.TILE_FORMAT_WEBP, quality=40),
        Asked(quality=40),
        Asked(page=0, has_page=True),
        Asked(page=1, has_page=True),
        Asked(page=40, has_page=True),
        Asked(damage=pb.DAMAGE_ACCEPT),
        Asked(stretch="none"),
        Asked(channels=("0",)),
        Asked(channels=("0", "1")),
        Asked(channels=("0,1",)),
        Asked(stretch="percentile:1,99"),
        Asked(all_pages=True),
        Asked(512, all_pages=True),
    ]
    assert len({tile_id(EMPTY, options) for options in asked}) == len(asked)
    # And so does each page, where all are shown
    first, other = (tile_id(EMPTY, Asked(size, all_pages=True)) for size in (256, 512))
    further = {page_tile_id(each, page) for each in (first, other) for page in range(1, 20)}
    assert len({first, other, *further}) == 2 * 20
    assert tile_id(hashlib.sha256(b"x").hexdigest(), Asked()) != tile_id(EMPTY, Asked())


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ((1, 1, 256), (0, 0, 1)),
        ((2, 1, 256), (1, 0, 2)),
        ((255, 255, 256), (8, 0, 9)),
        ((256, 256, 256), (8, 0, 9)),
        ((257, 256, 256), (9, 1, 11)),
        ((512, 512, 256), (9, 1, 13)),
        ((513, 511, 256), (10, 2, 17)),
        ((512, 512, 512), (9, 0, 10)),
        ((1, 60000, 256), (16, 8, 480)),
        ((60000, 1, 256), (16, 8, 480)),
        ((16384, 16384, 256), (14, 6, 5469)),
        ((43200, 21600, 256), (16, 8, 19309)),
    ],
)
def test_levels_zooms_and_tiles_of_known_pictures(
    picture: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    geometry = Geometry(*picture)
    assert (geometry.max_level, geometry.max_zoom, geometry.tile_count) == expected


def test_levels_of_an_odd_picture_are_rounded_up() -> None:
    geometry = Geometry(1025, 3, 256)
    assert geometry.level(11) == Level(1025, 3, 5, 1)
    assert geometry.level(10) == Level(513, 2, 3, 1)
    assert geometry.level(9) == Level(257, 1, 2, 1)
    assert geometry.level(8) == Level(129, 1, 1, 1)
    assert geometry.level(0) == Level(1, 1, 1, 1)


def test_edge_tiles_of_a_picture_ragged_on_both_sides() -> None:
    # Given 3 x 2 tiles at zoom 2, 2 x 1 at zoom 1, one at zoom 0
    geometry = Geometry(700, 300, 256)
    # Then the last column comes first, then the last row without the corner
    assert list(geometry.edges()) == [(0, 0, 0), (1, 1, 0), (1, 0, 0), (2, 2, 0), (2, 2, 1), (2, 0, 1), (2, 1, 1)]
    assert geometry.edge_position(2, 0, 0) is None
    assert geometry.edge_position(2, 2, 1) == geometry.tile_count + 4


def test_a_picture_of_whole_tiles_has_no_edge_tiles() -> None:
    geometry = Geometry(1024, 1024, 256)
    assert list(geometry.edges()) == []
    assert geometry.xyz_position(0, 0, 0) == geometry.deep_zoom_position(8, 0, 0)


@given(GEOMETRIES)
def test_max_level_and_max_zoom_are_the_least_that_reach_all_pixels(geometry: Geometry) -> None:
    longest = max(geometry.width, geometry.height)
    assert 2**geometry.max_level >= longest
    assert geometry.max_level == 0 or 2 ** (geometry.max_level - 1) < longest
    tiles = Fraction(longest, geometry.tile_size)
    assert 2**geometry.max_zoom >= tiles
    assert geometry.max_zoom == 0 or 2 ** (geometry.max_zoom - 1) < tiles


@given(GEOMETRIES)
def test_each_level_halves_the_next_and_the_ends_are_one_pixel_and_all(geometry: Geometry) -> None:
    levels = geometry.levels
    assert levels[0][:2] == (1, 1)
    assert levels[-1][:2] == (geometry.width, geometry.height)
    for smaller, larger in pairwise(levels):
        assert smaller[:2] == (math.ceil(larger.width / 2), math.ceil(larger.height / 2))
        assert larger.columns == math.ceil(larger.width / geometry.tile_size)


@given(GEOMETRIES)
def test_zoom_0_is_one_tile_and_the_last_zoom_is_all_pixels(geometry: Geometry) -> None:
    assert geometry.level(geometry.level_of_zoom(0)).tile_count == 1
    assert geometry.level_of_zoom(geometry.max_zoom) == geometry.max_level


@given(FEW_TILES)
def test_positions_count_up_without_a_gap(geometry: Geometry) -> None:
    tiles = [
        geometry.deep_zoom_position(number, x, y)
        for number, level in enumerate(geometry.levels)
        for y in range(level.rows)
        for x in range(level.columns)
    ]
    edges = [geometry.edge_position(*edge) for edge in geometry.edges()]
    assert tiles + edges == list(range(geometry.tile_count + geometry.edge_count))


@given(FEW_TILES)
def test_edge_tiles_are_exactly_those_that_the_picture_does_not_fill(geometry: Geometry) -> None:
    for zoom in range(geometry.max_zoom + 1):
        level = geometry.level(geometry.level_of_zoom(zoom))
        for y in range(level.rows):
            for x in range(level.columns):
                filled = (x + 1) * geometry.tile_size <= level.width and (y + 1) * geometry.tile_size <= level.height
                assert (geometry.edge_position(zoom, x, y) is None) == filled


@pytest.mark.parametrize("address", [(-1, 0, 0), (12, 0, 0), (11, -1, 0), (11, 0, -1), (11, 5, 0), (11, 0, 1)])
def test_an_address_outside_is_refused(address: tuple[int, int, int]) -> None:
    geometry = Geometry(1025, 3, 256)
    with pytest.raises(IndexError):
        geometry.deep_zoom_position(*address)
    with pytest.raises(IndexError):
        geometry.edge_position(address[0] - 8, address[1], address[2])


@pytest.mark.parametrize("size", [(0, 1, 256), (1, 0, 256), (1, 1, 0), (-5, 1, 256)])
def test_a_picture_without_pixels_has_no_geometry(size: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="sizes below 1"):
        Geometry(*size)


def test_an_index_has_its_documented_bytes() -> None:
    # Given a picture of one pixel: one Deep Zoom tile, one edge tile
    writer = IndexWriter(Geometry(1, 1, 256))
    # When both entries are set
    writer.put(1, Entry(part=1, offset=0, length=500))
    assert writer.missing == 1
    writer.put(0, Entry(part=0, offset=2**33 + 1, length=300))
    # Then the bytes are those of the format
    assert writer.missing == 0
    assert writer.data.hex(" ", 4) == (
        "54574958 01000000 01000000 01000000 01000000 02000000 2c010000 00000000 00000000 00000000 f4010000 01000000"
    )
    # And they read back
    index = Index(writer.data)
    assert index.entry(0) == Entry(0, 2**33 + 1, 300)
    assert index.entry(1) == Entry(1, 0, 500)
    with pytest.raises(IndexError):
        index.entry(2)


def test_an_entry_is_set_once_inside_and_never_empty() -> None:
    writer = IndexWriter(Geometry(1, 1, 256))
    writer.put(0, Entry(0, 10, 20))
    with pytest.raises(ValueError, match="twice or empty"):
        writer.put(0, Entry(0, 10, 20))
    with pytest.raises(ValueError, match="twice or empty"):
        writer.put(1, Entry(1, 0, 0))
    with pytest.raises(IndexError):
        writer.put(2, Entry(1, 0, 5))


@pytest.mark.parametrize("length", [0, 15, 16, 47])
def test_an_index_cut_short_is_refused(length: int) -> None:
    data = IndexWriter(Geometry(1, 1, 256)).data
    with pytest.raises(ValueError, match="cut short"):
        Index(data[:length])


@pytest.mark.parametrize("header", ["54574959 01000000", "54574958 02000000"])
def test_an_index_of_another_kind_or_version_is_refused(header: str) -> None:
    data = IndexWriter(Geometry(1, 1, 256)).data
    with pytest.raises(ValueError, match="not an index of this version"):
        Index(bytes.fromhex(header) + data[8:])


def test_a_format_knows_its_extension_and_media_type() -> None:
    assert [(kind.value, kind.media_type) for kind in Format] == [
        ("jpg", "image/jpeg"),
        ("png", "image/png"),
        ("webp", "image/webp"),
    ]
