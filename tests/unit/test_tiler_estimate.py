"""What a pyramid is thought to take, and what no honest one can."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.pyramids.geometry import SZI, Format, Geometry
from tests.support.images import pictures
from tiler.build.estimate import LEAST_FILE, largest_file, pyramid_bytes, require_room
from tiler.build.pyramid import build
from tiler.decode.pixels import open_picture
from tiler.decode.source import Source
from tiler.job import Job
from tiler.meter import Meter

PICTURE = Geometry(30_000, 10_000)


@pytest.mark.parametrize(
    ("tile_format", "source_bytes", "expected"),
    [
        (Format.JPEG, 1_000_000_000, 120_000_000),  # a raw TIFF: by its pixels
        (Format.PNG, 1_000_000_000, 1_000_000_000),
        (Format.JPEG, 500_000, 2_000_000),  # a drawing: by its file
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
    require_room(job(4000), PICTURE, Format.JPEG)
    require_room(job(None), PICTURE, Format.JPEG)
    # And given less, then it is refused
    with pytest.raises(StageError) as caught:
        require_room(job(3999), PICTURE, Format.JPEG)
    assert caught.value.code == "out_of_disk"


def test_the_hardest_picture_stays_within_its_largest_file(tmp_path: Path) -> None:
    # Given noise with noisy transparency, which no encoder makes smaller
    source = pictures.save(pictures.noise(1500, 1100, bands=4), tmp_path / "source.png")
    found = Source(source).header()
    # When it is tiled as what takes most
    job = Job(str(source), str(tmp_path), "t" * 64, "s" * 64, 256, 10**9, "8.18.3", tile_format="png")
    meter = Meter(lambda *_: None)
    build(open_picture(Source(source), meter=meter, tile_format=Format.PNG), job, meter)
    # Then its largest file is well below what it may be, even without what any file may have
    largest = (tmp_path / SZI).stat().st_size
    assert 1500 * 1100 * 4 < largest < largest_file(found, 256) - LEAST_FILE
