"""Colours arrive as their file means them: from the POST to the tile, against other decoders or the formulae."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from tests.acceptance.conftest import SOURCES
from tests.acceptance.jobs import ready
from tests.support.images import avifs, heics
from tests.support.images.pictures import Pixels, decode
from tests.support.network.sources import SourceServer, serve
from tilewright.client import Client
from tilewright.embedded.launch import LaunchedStack

SIZE = (200, 150)
LEVEL = 8
"""The finest level of a picture of this size."""

Show = Callable[[Path], Pixels]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SourceServer]:
    with serve(tmp_path, SOURCES) as server:
        yield server


@pytest.fixture
def show(client: Client, stack: LaunchedStack, files: SourceServer) -> Show:
    """Submits a file and gives the pixels of its only finest tile."""

    def shown(path: Path) -> Pixels:
        submitted = client.submit(files.url(f"/{path.name}"), "A picture", format="png")
        tile_id = ready(client, str(submitted["dataset_id"]))["tile_id"]
        tile = requests.get(f"{stack.url}/tiles/{tile_id}_files/{LEVEL}/0_0.png", timeout=60)
        assert tile.status_code == 200
        return decode(tile.content)

    return shown


def distance(found: Pixels, expected: Pixels) -> float:
    """The largest difference of a sample that can be seen."""
    assert found.shape == expected.shape
    difference = np.abs(found.astype(float) - expected)
    if found.shape[2] == 4:
        # What is nearly transparent has few levels left to tell its colours by.
        difference[expected[..., 3] < 32] = 0
    return float(difference.max())


def test_the_colours_of_an_avif_are_divided_by_its_transparency(show: Show, tmp_path: Path) -> None:
    expected = avifs.premultiplied(tmp_path / "premultiplied.avif", *SIZE)
    assert distance(show(tmp_path / "premultiplied.avif"), expected) <= 8


def test_grey_of_limited_range_is_black_to_white(show: Show, tmp_path: Path) -> None:
    makers = {"grey.avif": avifs.limited_grey, "grey.heic": heics.limited_grey}
    for name, make in makers.items():
        expected = make(tmp_path / name, *SIZE)
        assert distance(show(tmp_path / name), expected) <= 1, name
