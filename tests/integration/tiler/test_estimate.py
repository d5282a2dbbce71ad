"""What a pyramid is thought to take, and what no honest one can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.pyramids.geometry import SZI, Format, Geometry
from tests.support.images import costly, pictures
from tiler.build.pyramid import build
from tiler.decode import open_picture, reader_of
from tiler.estimate import LEAST_FILE, largest_build, largest_file, pyramid_bytes, require_room, require_small
from tiler.job import Job
from tiler.progress import Meter

PICTURE = Geometry(30_000, 10_000)

BLANK = (PICTURE.tile_count + PICTURE.edge_count) * (1024 + 4096)


@pytest.mark.parametrize(
    ("tile_format", "source_bytes", "expected"),
    [
        (Format.JPEG, 1_000_000_000, 120_000_000),  # a raw TIFF: by its pixels
        (Format.PNG, 1_000_000_000, 1_000_000_000),
        (Format.JPEG, 500_000, 2_000_000 + BLANK),  # a drawing: by its file, and as many blank tiles
    ],
)
def test_a_pyramid_is_guessed_by_its_pixels_and_never_far_above_its_source(
    tile_format: Format, source_bytes: int, expected: int
) -> None:
    assert pyramid_bytes(PICTURE, tile_format, source_bytes) == expected


def test_a_build_that_will_not_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(1000))

    def job(room: int | None) -> Job:
        return Job(str(source), str(tmp_path), "t" * 64, "s" * 64, 256, 10**9, "8.18.3", room)

    # Given room for what is needed, or nobody who knows, then it begins
    require_room(job(4000 + BLANK), PICTURE, Format.JPEG)
    require_room(job(None), PICTURE, Format.JPEG)
    # And given less, then it is refused
    with pytest.raises(StageError) as caught:
        require_room(job(3999 + BLANK), PICTURE, Format.JPEG)
    assert caught.value.code == "out_of_disk"


def test_the_hardest_picture_stays_within_its_largest_file(tmp_path: Path) -> None:
    # Given noise with noisy transparency, which no encoder makes smaller
    source = pictures.save(pictures.noise(1500, 1100, bands=4), tmp_path / "source.png")
    found = reader_of(source).header()
    # When it is tiled as what takes most
    job = Job(str(source), str(tmp_path), "t" * 64, "s" * 64, 256, 10**9, "8.18.3", tile_format="png")
    meter = Meter(lambda *_: None)
    build(open_picture(reader_of(source), meter=meter, tile_format=Format.PNG), job, meter)
    # Then its largest file is well below what it may be, even without what any file may have
    largest = (tmp_path / SZI).stat().st_size
    assert 1500 * 1100 * 4 < largest < largest_file(found, 256) - LEAST_FILE


@pytest.mark.parametrize("tile_format", ["jpg", "png", "webp"])
@pytest.mark.parametrize("tile_size", [64, 256, 1024])
def test_tiles_of_one_colour_take_less_than_they_may_without_what_any_build_may(
    tile_format: str, tile_size: int, tmp_path: Path
) -> None:
    # Given a picture of one colour, with transparency, of no size
    source = tmp_path / "source.png"
    pictures.save(np.full((2000, 3000, 4), (10, 200, 30, 128), np.uint8), source)
    assert source.stat().st_size < 150_000
    job = Job(str(source), str(tmp_path), "t" * 64, "s" * 64, tile_size, 10**9, "8.18.3", tile_format=tile_format)
    meter = Meter(lambda *_: None)
    made = build(open_picture(reader_of(source), meter=meter, tile_format=Format(tile_format)), job, meter)
    geometry = Geometry(made.width, made.height, tile_size)
    most = largest_build(geometry, source.stat().st_size) - LEAST_FILE - 256 * source.stat().st_size
    assert made.size < most


def test_a_small_file_does_not_become_gigabytes(tmp_path: Path) -> None:
    # Given a PNG of some kilobytes that unpacks to noise: it would become 420 MB of tiles, and from 98 kB 1.8 GB
    source = tmp_path / "source.png"
    source.write_bytes(costly.noise_by_filter(16_000, 12_000))
    geometry = Geometry(16_000, 12_000)
    most = largest_build(geometry, source.stat().st_size)
    assert most < 100_000_000
    job = Job(str(source), str(tmp_path), "t" * 64, "s" * 64, 256, 10**9, "8.18.3", tile_format="jpg", quality=100)
    meter = Meter(lambda *_: None)
    # When it is tiled, then that ends once it has become too much
    with pytest.raises(StageError, match="the limit for a file of") as caught:
        build(open_picture(reader_of(source), meter=meter, tile_format=Format.JPEG), job, meter)
    assert (caught.value.code, caught.value.retryable) == ("decoder_too_slow", False)
    assert (tmp_path / SZI).stat().st_size < 1.2 * most
    # And a gigapixel of one colour may become ten times its file, and more
    assert largest_build(Geometry(32_768, 32_768), 130_000) > 100_000_000


def test_edge_tiles_count_as_well() -> None:
    geometry = Geometry(1, 100_000)
    most = largest_build(geometry, 0)
    assert most - LEAST_FILE == (geometry.tile_count + geometry.edge_count) * (1024 + 4096)
    require_small(most, geometry, 0)
    with pytest.raises(StageError, match="1 x 100,000 pixels"):
        require_small(most + 1, geometry, 0)
