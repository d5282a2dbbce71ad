"""What is lost of a damaged TIFF: a strip or tile that lacks one plane is not shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from pipeline.formats import tiff
from pipeline.formats.tiff.layout import layout_of
from tests.support.images import tiffs
from tiler.decode.readers.tiff.salvage import LOST, Lost, without_cut_texts


@pytest.mark.parametrize(
    ("lost", "what", "is_all"),
    [
        ({5}, "1 of 4 tiles", False),
        ({0, 4, 8, 3}, "2 of 4 tiles", False),
        ({0, 5, 2, 11}, "4 of 4 tiles", True),
        ({8, 9, 10, 11}, "4 of 4 tiles", True),
    ],
)
def test_all_is_lost_if_every_tile_lacks_a_plane(lost: set[int], what: str, is_all: bool, tmp_path: Path) -> None:
    # Given three planes of four tiles each
    path = tiffs.write(tmp_path / "planes.tif", np.zeros((32, 32, 3), np.uint8), planar=True, tile=16)
    with path.open("rb") as file:
        directory = tiff.find(file, 0)
        assert directory is not None
        layout = layout_of(directory)
        assert layout is not None
        found = Lost(directory, layout, bytes(LOST * (number in lost) for number in range(layout.chunks)))
        assert (found.what(), found.is_all) == (what, is_all)


def test_texts_that_a_file_ends_within_are_left_out_but_no_tags_about_pixels(tmp_path: Path) -> None:
    nodata, xmp = (42113, 2, 0, "1".rjust(20), False), (700, 1, 9, b"<x></x><>", False)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((32, 32)), description="long" * 9, software="program", extratags=[nodata, xmp])
    with path.open("rb") as file:
        directory = tiff.find(file, 0)
        assert directory is not None
        whole, is_lost = without_cut_texts(directory, path.stat().st_size)
        assert (whole.entries, is_lost) == (directory.entries, False)
        found, is_lost = without_cut_texts(directory, 0)
    assert set(directory.entries) - set(found.entries) == {tiff.Tag.DESCRIPTION, 305, 700}
    assert is_lost
