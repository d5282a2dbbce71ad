"""Colours arrive as their file means them: from the POST to the tile, against other decoders or the formulae."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import requests
from PIL import Image

from tests.acceptance.conftest import SOURCES
from tests.acceptance.jobs import ready
from tests.support.images import avifs, heics, pictures, png_chunks, profiles, signals
from tests.support.images.pictures import Pixels, decode
from tests.support.network.sources import SourceServer, serve
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

SIZE = (200, 150)
LEVEL = 8
"""The finest level of a picture of this size."""


class Shown(NamedTuple):
    """The pixels of a picture's only finest tile, and what was noted about them."""

    pixels: Pixels
    noted: list[str]


Show = Callable[[Path], Shown]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SourceServer]:
    with serve(tmp_path, SOURCES) as server:
        yield server


@pytest.fixture
def show(client: Client, stack: LaunchedStack, files: SourceServer) -> Show:
    """Submits a file and looks at what it became."""

    def shown(path: Path) -> Shown:
        submitted = client.submit(files.url(f"/{path.name}"), "A picture", format="png")
        tile_id = ready(client, str(submitted["dataset_id"]))["tile_id"]
        tile = requests.get(f"{stack.url}/tiles/{tile_id}_files/{LEVEL}/0_0.png", timeout=60)
        assert tile.status_code == 200
        (described,) = stack.data.rglob(f"{tile_id}/*/pyramid.json")
        return Shown(decode(tile.content), json.loads(described.read_text())["pixels"])

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
    assert distance(show(tmp_path / "premultiplied.avif").pixels, expected) <= 8


def test_grey_of_limited_range_is_black_to_white(show: Show, tmp_path: Path) -> None:
    makers = {"grey.avif": avifs.limited_grey, "grey.heic": heics.limited_grey}
    for name, make in makers.items():
        expected = make(tmp_path / name, *SIZE)
        assert distance(show(tmp_path / name).pixels, expected) <= 1, name


@pytest.mark.parametrize("ending", ["heic", "avif", "png"])
@pytest.mark.parametrize(
    ("primaries", "transfer", "noted"),
    [
        (signals.P3, signals.SRGB, "Display P3"),
        (signals.BT2020, signals.PQ, "BT.2020 with PQ (HDR)"),
        (signals.BT2020, signals.HLG, "BT.2020 with HLG (HDR)"),
    ],
    ids=["P3", "PQ", "HLG"],
)
def test_colours_stated_by_numbers_are_converted(
    show: Show, tmp_path: Path, ending: str, primaries: int, transfer: int, noted: str
) -> None:
    path = tmp_path / f"source.{ending}"
    make = {"heic": heics.in_space, "avif": avifs.in_space, "png": png_chunks.in_space}[ending]
    expected = make(path, *SIZE, primaries=primaries, transfer=transfer)
    shown = show(path)
    assert distance(shown.pixels, expected) <= 1.5
    assert shown.noted[0].startswith(f"{noted} converted to sRGB")


def test_hdr_counts_if_a_profile_is_marked_with_it(show: Show, tmp_path: Path) -> None:
    pixels = pictures.scene(*SIZE)
    Image.fromarray(pixels).save(tmp_path / "hdr.png", icc_profile=profiles.hdr_profile(9, signals.PQ))
    shown = show(tmp_path / "hdr.png")
    assert distance(shown.pixels, signals.srgb_of(pixels, 9, signals.PQ)) <= 1
    assert shown.noted[0].startswith("BT.2020 with PQ (HDR) converted to sRGB")


def test_colours_stated_as_srgb_are_untouched(show: Show, tmp_path: Path) -> None:
    # Given a HEIC and a PNG as most programs write them: their numbers are those of sRGB
    pixels = pictures.scene(*SIZE)
    (tmp_path / "source.heic").write_bytes(heics.encoded(pixels, save_nclx_profile=True))
    assert b"colrnclx\0\1\0\x0d" in (tmp_path / "source.heic").read_bytes()
    (tmp_path / "source.png").write_bytes(png_chunks.png(pixels, [png_chunks.gama(0.45455)]))
    for name in ("source.heic", "source.png"):
        # When it is submitted, then its pixels are its decoder's
        shown = show(tmp_path / name)
        assert np.array_equal(shown.pixels, pixels), name
        assert shown.noted == ["untouched"]


def test_a_png_of_linear_light_is_not_too_dark(show: Show, tmp_path: Path) -> None:
    expected = png_chunks.linear(tmp_path / "linear.png", *SIZE)
    shown = show(tmp_path / "linear.png")
    assert distance(shown.pixels, expected) <= 1
    assert shown.noted == ["colours stated by gAMA converted to sRGB"]
