"""Samples of more than 8 bits, from the POST to the tile and the page: shown by the rule, and by what is asked for."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish
from tests.support.images import pictures, tiffs
from tests.support.images.pictures import Pixels
from tests.support.images.stretched import nearest_rank, stretched
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

LEVEL = 8
"""The finest level of a picture of 200 x 150 pixels."""


def samples() -> dict[str, Pixels]:
    """What microscopes, terrain models and telescopes write: 12 of 16 bits, a value of -9999, faint stars."""
    y, x = np.mgrid[:150, :200]
    ramp = (x * 15 + y * 5).astype(np.uint16)[..., None]
    heights = (ramp.astype(np.float32) - 700) / 8
    heights[3, 4] = -9999
    stars = np.random.default_rng(1).gamma(0.6, 40, (150, 200, 1)).astype(np.float32)
    return {"slide": ramp, "terrain": heights, "stars": stars}


def test_few_bright_pixels_on_black_are_shown_with_their_levels(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    # Given masks, cells or stars: less than 2 % is not 0, and its values have levels
    y, x = np.mgrid[:150, :200]
    bright = np.where((y - 70) ** 2 + (x - 90) ** 2 < 100, 200 + x, 0)
    ids = {}
    for kind in ("u2", "i2", "u4", "f4"):
        tiffs.write(tmp_path / f"few-{kind}.tif", bright.astype(kind)[..., None])
        ids[f"few-{kind}.tif"] = bright
    Image.fromarray(bright.astype(np.uint16)).save(tmp_path / "few.png")
    ids["few.png"] = bright
    submitted = {name: client.submit(files.url(f"/{name}"), name, format="png")["dataset_id"] for name in ids}
    for name, dataset_id in submitted.items():
        last = finish(client, str(dataset_id))
        assert last["status"] == "ready", last
        assert last["stretch"] == {"rule": "percentile:0,100", "low": 0.0, "high": float(bright.max())}, name
        found = shown(last["tile_info"]["tile_id"], LEVEL)[..., 0].astype(int)
        assert np.abs(found - np.rint(bright / bright.max() * 255)).max() <= 1, name
    # And one of a single value keeps its upper 8 bits
    tiffs.write(tmp_path / "flat.tif", np.full((150, 200, 1), 0x4567, np.uint16))
    last = finish(client, str(client.submit(files.url("/flat.tif"), "flat", format="png")["dataset_id"]))
    assert (last["status"], last["stretch"]) == ("ready", None)
    assert np.unique(shown(last["tile_info"]["tile_id"], LEVEL)).tolist() == [0x45]


def test_samples_are_shown_by_the_rule_or_as_asked_and_the_figures_are_told(
    client: Client,
    files: SourceServer,
    shown: Callable[..., Pixels],
    command: Command,
    stack: LaunchedStack,
    tmp_path: Path,
) -> None:
    given = samples()
    for name, values in given.items():
        tiffs.write(tmp_path / f"{name}.tif", values)
    asked = dict.fromkeys(given, ("", "percentile:0.5,99.5", "range:0,100", "asinh", "none"))
    ids = {
        (name, stretch): str(
            client.submit(files.url(f"/{name}.tif"), name, format="png", **({"stretch": stretch} if stretch else {}))[
                "dataset_id"
            ]
        )
        for name, each in asked.items()
        for stretch in each
    }
    for (name, stretch), dataset_id in ids.items():
        last, values = finish(client, dataset_id), given[name]
        assert last["status"] == "ready", last
        found = shown(last["tile_info"]["tile_id"], LEVEL)[..., 0].astype(int)
        if not stretch or stretch.startswith("percentile"):
            low, high = (2.0, 98.0) if not stretch else (0.5, 99.5)
            assert np.abs(found - stretched(values, low, high)[..., 0]).max() <= 1, (name, stretch)
            assert last["stretch"] == {
                "rule": f"percentile:{low:g},{high:g}",
                "low": nearest_rank(values, low),
                "high": nearest_rank(values, high),
            }
            assert np.unique(found).size > 50
        elif stretch == "range:0,100":
            assert np.abs(found - np.rint(np.clip(values[..., 0] / 100.0, 0, 1) * 255)).max() <= 1
            assert last["stretch"] == {"rule": stretch, "low": 0.0, "high": 100.0}
        elif stretch == "asinh":
            low, high = nearest_rank(values, 0.5), nearest_rank(values, 99.5)
            share = np.clip((values[..., 0].astype(float) - low) / (high - low), 0, 1)
            assert np.abs(found - np.arcsinh(share / 0.1) / np.arcsinh(10) * 255).max() <= 1
        elif name == "slide":
            assert np.array_equal(found, values[..., 0] >> 8)
            assert last["stretch"] is None
        # And the dataset and the pyramid's description say the same
        assert client.get(dataset_id)["stretch"] == last["stretch"]
        [described] = stack.data.glob(f"storage/pyramids/{last['tile_info']['tile_id']}/*/pyramid.json")
        told = json.loads(described.read_text()).get("shown")
        assert (told and {"rule": told["stretch"], "low": told["low"], "high": told["high"]}) == last["stretch"]
    # And a comparison with the original asks for the same
    for stretch in asked["stars"]:
        ended = command("verify", ids["stars", stretch], "--source", "--data", str(stack.data))
        assert (ended.code, "1 match the original" in ended.out) == (0, True), ended
    ended = command("status", ids["slide", ""], "--server", stack.url)
    assert "percentile:2,98: 290 to 3440" in " ".join(ended.out.split()), ended


def test_hidden_pixels_and_transparency_change_no_range(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    y, x = np.mgrid[:150, :200]
    share = (x / 199 / 2 + 0.25)[..., None]
    cases: dict[tuple[str, str], Pixels] = {}
    # Given integers without a scale that is seen, with no data in the first rows, and stacks of them
    for kind, low, high in (
        ("i1", -(2**7), 2**7),
        ("i2", -(2**15), 2**15),
        ("i4", -(2**31), 2**31),
        ("u4", 0, 2**32),
        ("i8", -(2**63), 2**63),
        ("u8", 0, 2**64),
    ):
        values = (low + share * (float(high) - low)).astype(kind)
        levels = np.rint((values.astype(float) - low) / (float(high) - low) * 255).astype(int)
        least, most = float(values.min()), float(values.max())
        values[:8] = 5
        nodata = {42113: ("B", b"5\0")}
        tiffs.write(tmp_path / f"{kind}.tif", values, more=nodata)
        alpha = np.full_like(values, 1)
        tiffs.write(tmp_path / f"{kind}-alpha.tif", np.concatenate([values, alpha], axis=2), more=nodata, extra=[2])
        tiffs.write(tmp_path / f"{kind}-planes.tif", np.repeat(values, 5, axis=2), more=nodata, planar=True)
        full = np.rint((values.astype(float) - least) / (most - least) * 255).astype(int)
        for name in (kind, f"{kind}-alpha", f"{kind}-planes"):
            cases[name, "none"] = levels
            cases[name, "range"] = full
    # And floats with transparency, or with a last band that is none, which is 0 where the extremes are
    floats = np.concatenate([share, share / 2, share / 4], axis=2).astype(np.float32)
    floats[0, :4], floats[1, :4] = 9, -9
    opaque = np.clip((y % 75) / 50, 0, 1)[..., None].astype(np.float32)
    opaque[:2] = 0
    for bands in (1, 3):
        colours = floats[..., :bands]
        seen = colours[opaque[..., 0] > 0]
        least, most = float(seen.min()), float(seen.max())
        for name, band in {f"alpha-{bands}": opaque, f"more-{bands}": opaque * 3}.items():
            tiffs.write(tmp_path / f"{name}.tif", np.concatenate([colours, band], axis=2), extra=[2])
            first, last = (least, most) if name.startswith("alpha") else (-9.0, 9.0)
            cases[name, "range"] = np.rint((colours.astype(float) - first) / (last - first) * 255)
            cases[name, "range:0,1"] = np.rint(np.clip(colours.astype(float), 0, 1) * 255)
    # And heights whose missing samples nothing names, as far from the others as a float can be
    far = share.astype(np.float32)
    far[:20] = np.finfo(np.float32).min
    tiffs.write(tmp_path / "far.tif", far)
    cases["far", "range"] = cases["far", "auto"] = np.where(far < 0, 0, 255)
    # When they are posted
    ids = {
        (name, stretch): str(
            client.submit(
                files.url(f"/{name}.tif"),
                name,
                format="png",
                stretch=stretch,
                **({"channels": "0,3"} if name.endswith("planes") else {}),
            )["dataset_id"]
        )
        for name, stretch in cases
    }
    # Then their type is that of the file, and what is hidden counts for nothing
    for (name, stretch), expected in cases.items():
        ended = finish(client, ids[name, stretch])
        assert ended["status"] == "ready", (name, stretch, ended)
        found = shown(ended["tile_info"]["tile_id"], LEVEL).astype(int)
        if found.shape[2] == 4:
            visible = found[..., 3] > 0
            assert visible.mean() > 0.9, (name, stretch)
        else:
            visible = np.ones(found.shape[:2], bool)
        if name.startswith("alpha"):
            assert np.abs(found[..., 3] - np.rint(opaque[..., 0] * 255)).max() <= 1, (name, stretch)
        bands = 1 if name.endswith("planes") else 3
        levels = np.repeat(expected, 3, axis=2) if expected.shape[2] == 1 else expected
        difference = np.abs(found[..., :bands] - levels[..., :bands])
        assert difference[visible].max() <= 1, (name, stretch)


def test_large_tiffs_are_stretched_by_a_sample_of_their_pixels(
    client: Client, files: SourceServer, stack: LaunchedStack, tmp_path: Path
) -> None:
    # Given TIFFs of more than 4 megapixels in strips, tiles and planes, and in floats
    y, x = np.mgrid[:2150, :2100]
    ramp = ((np.sin(x / 97) * np.cos(y / 131) + 1) * 2000).astype(np.uint16)[..., None]
    colours = np.concatenate([ramp, ramp // 2, ramp // 3], axis=2)
    given: dict[str, tuple[Pixels, dict[str, Any]]] = {
        "strips": (ramp, {"rows": 8}),
        "tiles": (ramp, {"tile": 256, "compression": 8, "encode": zlib.compress}),
        "planes": (colours, {"tile": 256, "planar": True}),
        "floats": (ramp.astype(np.float32) - 1000, {"rows": 16}),
    }
    ids = {}
    for name, (values, layout) in given.items():
        tiffs.write(tmp_path / f"{name}.tif", values, **layout)
        ids[name] = str(client.submit(files.url(f"/{name}.tif"), name, format="png")["dataset_id"])
    # When they are posted, then they are ready, and stretched by percentiles close to those of all pixels
    for name, (values, _) in given.items():
        last = finish(client, ids[name])
        assert last["status"] == "ready", (name, last)
        low, high = last["stretch"]["low"], last["stretch"]["high"]
        span = nearest_rank(values, 98) - nearest_rank(values, 2)
        assert abs(low - nearest_rank(values, 2)) < span / 50, name
        assert abs(high - nearest_rank(values, 98)) < span / 50, name
        tile = requests.get(f"{stack.url}/tiles/{last['tile_info']['tile_id']}_files/12/4_5.png", timeout=60)
        assert tile.status_code == 200
        found = pictures.decode(tile.content).astype(int)
        part = values[5 * 256 : 6 * 256, 4 * 256 : 5 * 256].astype(float)
        assert np.abs(found - np.rint(np.clip((part - low) / (high - low), 0, 1) * 255)).max() <= 1, name


@pytest.mark.parametrize(
    ("stretch", "said"),
    [
        ("much", "is one of"),
        ("range:1", "two numbers"),
        ("range:5,5", "less than the second"),
        ("percentile:2,101", "between 0 and 100"),
        ("none:1,2", "takes no figures"),
        ("range:nan,1", "two numbers"),
    ],
)
def test_a_stretch_that_is_none_is_refused_with_a_sentence(stack: LaunchedStack, stretch: str, said: str) -> None:
    asked = {"name": "A", "url": "https://example.org/a.tif", "stretch": stretch}
    answer = requests.post(f"{stack.url}/api/datasets", json=asked, timeout=30)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/stretch"
    assert said in error["detail"]
    assert not error["detail"].startswith("Value error")
