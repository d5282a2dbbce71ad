"""The range of a large TIFF's samples, found in some of its strips or tiles."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pyvips
import tifffile

from pipeline.errors import StageError
from pipeline.stretch import DEFAULT, Stretch
from tests.support.images.stretched import nearest_rank
from tiler.decode import open_picture, reader_of
from tiler.decode.sampling import SAMPLE_PIXELS, part_of
from tiler.progress import Meter

NO_METER = Meter(lambda *_: None)
WIDTH, HEIGHT = 2600, 1700
"""More than the 4 megapixels up to which a page is decoded as a whole."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As the tiler's child: no cached operations, and a folder of its own for what is temporary."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cached = pyvips.voperation.vips_lib.vips_cache_get_max()
    pyvips.cache_set_max(0)
    yield
    pyvips.cache_set_max(cached)


def rows_and_columns(dtype: type) -> npt.NDArray[np.number[Any]]:
    """Values from -1,000 or 500 on that differ everywhere, so that each part has another range."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    values: npt.NDArray[np.number[Any]] = (x * 1.5 + y + (500 if dtype is np.uint16 else -1000)).astype(dtype)
    return values


LAYOUTS: tuple[dict[str, Any], ...] = (
    {"tile": (256, 256)},
    {"tile": (64, 128)},
    {"rowsperstrip": 16},
    {"rowsperstrip": 100},
)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_a_part_of_a_tiff_has_the_range_of_all(dtype: type, tmp_path: Path) -> None:
    values = rows_and_columns(dtype)
    for number, (layout, compression, planes) in enumerate(product(LAYOUTS, (None, "zlib", "lzw", "zstd"), (1, 3))):
        samples = values if planes == 1 else np.stack([values, values // 2, values // 3]).astype(dtype)
        path = tmp_path / f"{number}.tif"
        options: dict[str, Any] = {"predictor": True} if compression and dtype is not np.float32 else {}
        tifffile.imwrite(
            path,
            samples,
            compression=compression,
            photometric="minisblack" if planes == 1 else "rgb",
            planarconfig=None if planes == 1 else "separate",
            metadata=None,
            byteorder=">" if number % 2 else "<",
            **layout,
            **options,
        )
        # When a part of it is read
        reader = reader_of(path)
        part = part_of(reader)
        # Then it is small, each sample is one of the page's, and its range is that of the page
        assert part is not None, path
        assert part.image.width * part.image.height <= SAMPLE_PIXELS
        assert part.image.bands == planes
        span = float(samples.max()) - float(samples.min())
        picture = open_picture(reader, meter=NO_METER, stretch=DEFAULT)
        assert picture.shown is not None
        assert picture.shown.low is not None
        assert picture.shown.high is not None
        assert abs(picture.shown.low - nearest_rank(samples, 2)) < 0.05 * span, (layout, compression, planes)
        assert abs(picture.shown.high - nearest_rank(samples, 98)) < 0.05 * span, (layout, compression, planes)
        path.unlink()
    # And nothing temporary is left once the readers are gone
    del reader, part, picture
    gc.collect()
    assert not list(tmp_path.glob("tmp*"))


def test_a_page_of_one_strip_is_decoded_once_more(tmp_path: Path) -> None:
    values = rows_and_columns(np.uint16)
    tifffile.imwrite(tmp_path / "source.tif", values, compression="zlib", rowsperstrip=HEIGHT, metadata=None)
    reader = reader_of(tmp_path / "source.tif")
    assert part_of(reader) is None
    picture = open_picture(reader, meter=NO_METER, stretch=Stretch())
    assert picture.shown is not None
    assert picture.shown.high == pytest.approx(nearest_rank(values, 98), abs=60)


def test_a_part_that_is_damaged_is_no_range(tmp_path: Path) -> None:
    # Given noise in all tiles
    path = tmp_path / "source.tif"
    tifffile.imwrite(path, rows_and_columns(np.uint16), compression="lzw", tile=(256, 256), metadata=None)
    with tifffile.TiffFile(path) as file:
        places = list(zip(file.pages[0].dataoffsets, file.pages[0].databytecounts, strict=True))
    data = bytearray(path.read_bytes())
    for offset, length in places:
        data[offset + 10 : offset + length] = os.urandom(length - 10)
    path.write_bytes(data)
    with pytest.raises((pyvips.Error, StageError)):
        open_picture(reader_of(path), meter=NO_METER)
