"""Stacks of channels, from the POST to the tile and the page: composed by the rule, or as asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tifffile

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish
from tests.support.images import pictures, stacks
from tests.support.images.pictures import Pixels
from tests.support.images.stacks import BLUE, GREEN, MAGENTA, RED, composed
from tests.support.images.stretched import nearest_rank, stretched
from tests.support.network.sources import SourceServer
from tilewright.client import Client, Json
from tilewright.embedded import LaunchedStack

LEVEL = 8
"""The finest level of a picture of 200 x 150 pixels."""

LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    '<OME><Image><Pixels SizeC="2" SizeZ="1" SizeT="1"><Channel Name="&b;"/><Channel/></Pixels></Image></OME>'
)


def test_channels_are_composed_in_their_colours_by_the_rule_and_as_asked(
    client: Client,
    files: SourceServer,
    shown: Callable[..., Pixels],
    command: Command,
    stack: LaunchedStack,
    tmp_path: Path,
) -> None:
    cells, dyes = stacks.planes(4, z=2), ["DAPI", "GFP", "Texas Red", "Cy5"]
    stacks.write_ome(tmp_path / "cells.ome.tif", cells, dyes, [BLUE, GREEN, RED, (255, 255, 0)], compression="zlib")
    plain = stacks.planes(2, dtype=np.uint8, scale=1)
    stacks.write_ome(tmp_path / "plain.ome.tif", plain, ["A", "B"])
    apart = stacks.planes(5)[0]
    tifffile.imwrite(
        tmp_path / "apart.ome.tif",
        apart,
        metadata={"axes": "CYX"},
        photometric="minisblack",
        planarconfig="separate",
        tile=(64, 64),
        compression="lzw",
    )
    hyper = stacks.planes(2, z=3)
    ramp = np.arange(256, dtype=np.uint8)
    zero = ramp * 0
    told: dict[str, Any] = {
        "Labels": ["nuclei", "actin"] * 3,
        "Ranges": (50.0, 500.0, 20.0, 400.0),
        "LUTs": [np.stack([zero, zero, ramp]), np.stack([ramp, ramp, zero])],
    }
    stacks.write_imagej(tmp_path / "hyper.tif", hyper, **told)
    stacks.write_imagej(tmp_path / "joined.tif", hyper, is_joined=True, **told)
    bands = stacks.planes(5)[0]
    tifffile.imwrite(tmp_path / "bands.tif", np.moveaxis(bands, 0, -1), photometric="minisblack", planarconfig="contig")
    stacks.describe(tmp_path / "laughs.tif", plain[0], LAUGHS)
    vast = (stacks.planes(2) * 1e30).astype(np.float32)
    stacks.write_ome(tmp_path / "vast.ome.tif", vast, ["A", "B"])

    yellow = (255, 255, 0)
    first = [cells[0, 0], cells[0, 1], cells[0, 2]]
    lut = composed([hyper[0, 0], hyper[0, 1]], [BLUE, yellow], [(50, 500), (20, 400)])
    later = composed([cells[1, 3], cells[1, 2]], [yellow, RED])
    cases: list[tuple[str, dict[str, Any], Pixels, list[int]]] = [
        ("cells.ome.tif", {}, composed(first, [BLUE, GREEN, RED]), [0, 1, 2]),
        ("cells.ome.tif", {"channels": ["GFP"]}, composed([cells[0, 1]], [GREEN]), [1]),
        ("cells.ome.tif", {"channels": "cy5, 0"}, composed([cells[0, 3], cells[0, 0]], [yellow, BLUE]), [3, 0]),
        ("cells.ome.tif", {"channels": [3, "Texas Red"], "page": 6}, later, [3, 2]),
        ("cells.ome.tif", {"page": 6}, stretched(cells[1, 2][..., None]), []),
        ("cells.ome.tif", {"channels": 0, "stretch": "range:0,900"}, composed([cells[0, 0]], [BLUE], [(0, 900)]), [0]),
        ("plain.ome.tif", {}, composed(list(plain[0]), [GREEN, MAGENTA], [(0, 255)] * 2), [0, 1]),
        ("apart.ome.tif", {}, composed(list(apart[:3]), [RED, GREEN, BLUE]), [0, 1, 2]),
        ("apart.ome.tif", {"channels": [4]}, composed([apart[4]], [(255, 255, 255)]), [4]),
        ("hyper.tif", {}, lut, [0, 1]),
        ("joined.tif", {}, lut, [0, 1]),
        ("bands.tif", {"channels": "4,2,0"}, composed([bands[4], bands[2], bands[0]], [RED, GREEN, BLUE]), [4, 2, 0]),
        ("bands.tif", {}, stretched(np.moveaxis(bands[:3], 0, -1)), []),
        ("vast.ome.tif", {}, composed(list(vast[0]), [GREEN, MAGENTA]), [0, 1]),
        ("vast.ome.tif", {"page": 0}, stretched(vast[0, 0][..., None]), []),
        ("laughs.tif", {}, np.repeat(plain[0, 0][..., None], 3, axis=2), []),
        ("joined.tif", {"page": 3}, composed([hyper[1, 1]], [(255, 255, 255)], [(20, 400)]), []),
        ("joined.tif", {"channels": [0], "page": 5}, composed([hyper[2, 0]], [BLUE], [(50, 500)]), [0]),
    ]
    ids = [
        str(client.submit(files.url(f"/{name}"), name, format="png", **asked)["dataset_id"])
        for name, asked, *_ in cases
    ]
    for (name, asked, expected, numbers), dataset_id in zip(cases, ids, strict=True):
        last = finish(client, dataset_id)
        assert last["status"] == "ready", (name, asked, last)
        found = shown(last["tile_info"]["tile_id"], LEVEL)[..., :3].astype(int)
        assert np.abs(found - expected).max() <= 2, (name, asked)
        # And the status, the dataset and the pyramid's description list what was composed
        channels = last.get("channels", [])
        assert [channel["number"] for channel in channels] == numbers, (name, asked, channels)
        assert client.get(dataset_id).get("channels", []) == channels
        [described] = stack.data.glob(f"storage/pyramids/{last['tile_info']['tile_id']}/*/pyramid.json")
        written = json.loads(described.read_text()).get("shown_channels", [])
        assert [{**each, "rule": each["stretch"]} for each in written] == [
            {**each, "stretch": each["rule"]} for each in channels
        ]
        assert last["stretch"] is None or not channels
    assert channels_of(client, ids[0]) == [
        {
            "number": number,
            "name": dyes[number],
            "colour": colour,
            "rule": "percentile:2,98",
            "low": nearest_rank(cells[0, number], 2),
            "high": nearest_rank(cells[0, number], 98),
        }
        for number, colour in enumerate(["#0000ff", "#00ff00", "#ff0000"])
    ]
    assert [(each["name"], each["rule"]) for each in channels_of(client, ids[9])] == [
        ("nuclei", "range:50,500"),
        ("actin", "range:20,400"),
    ]
    # And a person is told that there is more in the stack
    [chosen] = [each for each in client.status(ids[0])["warnings"] if each["code"] == "channels_chosen"]
    assert "3 Cy5" in chosen["message"]
    assert "z 0 of 2" in chosen["message"]
    # And a comparison with the original composes the same channels
    for position in (0, 3, 4, 8, 9, 10, 11, 16, 17):
        ended = command("verify", ids[position], "--source", "--data", str(stack.data))
        assert (ended.code, "1 match the original" in ended.out) == (0, True), (cases[position][:2], ended)
    ended = command("status", ids[0], "--server", stack.url)
    assert "0 DAPI in #0000ff, percentile:2,98:" in " ".join(ended.out.split()), ended


def channels_of(client: Client, dataset_id: str) -> list[Json]:
    return list(client.status(dataset_id)["channels"])


def test_none_takes_the_upper_bits_of_each_channel_and_a_lost_description_is_told(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    # Given samples of which rounding would make other levels than their upper 8 bits
    wide = stacks.planes(2, scale=60)
    stacks.write_ome(tmp_path / "wide.ome.tif", wide, ["A", "B"], [RED, GREEN], compression="zlib")
    # And the same file without its end, where programs write the description
    whole = (tmp_path / "wide.ome.tif").read_bytes()
    (tmp_path / "cut.ome.tif").write_bytes(whole[:-200])
    asked = {"format": "png", "stretch": "none"}
    none = client.submit(files.url("/wide.ome.tif"), "None", **asked)["dataset_id"]
    cut = client.submit(files.url("/cut.ome.tif"), "Cut", format="png", damage="accept")["dataset_id"]
    last = finish(client, str(none))
    found = shown(last["tile_info"]["tile_id"], LEVEL)
    assert np.array_equal(found[..., 0], wide[0, 0] >> 8)
    assert np.array_equal(found[..., 1], wide[0, 1] >> 8)
    assert not found[..., 2].any()
    # Then its first page is shown alone, and a warning says why
    last = finish(client, str(cut))
    assert last["status"] == "ready", last
    found = shown(last["tile_info"]["tile_id"], LEVEL)[..., :3].astype(int)
    assert np.abs(found - stretched(wide[0, 0][..., None])).max() <= 1
    [lost] = [each["message"] for each in last["warnings"] if each["code"] == "metadata_ignored"]
    assert "ends within its description" in lost


def test_an_unknown_channel_fails_and_lists_those_that_exist(
    client: Client, files: SourceServer, command: Command, tmp_path: Path
) -> None:
    stacks.write_ome(tmp_path / "two.ome.tif", stacks.planes(2), ["DAPI", "GFP"])
    pictures.jpeg(tmp_path / "map.jpg", 200, 150)
    two, jpeg = files.url("/two.ome.tif"), files.url("/map.jpg")
    wrong: list[tuple[str, Any]] = [(two, ["Cy5"]), (two, [2]), (two, ["GFP", "1"]), (jpeg, [0])]
    ids = [str(client.submit(url, "A", channels=asked)["dataset_id"]) for url, asked in wrong]
    said = [finish(client, dataset_id)["error"] for dataset_id in ids]
    assert {error["code"] for error in said} == {"channel_not_found"}
    assert said[0]["message"] == 'The image has no channel "Cy5". It has 2 channels: 0 DAPI, 1 GFP.'
    assert "given twice" in said[2]["message"]
    assert "JPEG has no channels" in said[3]["message"]
    # And the command passes channels on as the POST does
    ended = command("submit", two, "--name", "B", "--channels", "gfp,dapi", "--wait")
    assert ended.code == 0, ended
    assert "1 GFP in #00ff00" in " ".join(ended.out.split()), ended


def test_channels_in_other_files_of_a_set_are_named(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    samples = stacks.planes(2)[0]
    places = [("urn:a", "a.ome.tif", 0), ("urn:a", "a.ome.tif", 1), ("urn:b", "b.ome.tif", 0)]
    blocks = "".join(
        f'<TiffData IFD="{at}" FirstC="{number}"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for number, (uuid, name, at) in enumerate(places)
    )
    pixels = '<Pixels DimensionOrder="XYCZT" SizeC="3" SizeZ="1" SizeT="1">' + "<Channel/>" * 3
    text = f'<OME UUID="urn:a"><Image>{pixels}{blocks}</Pixels></Image></OME>'
    stacks.describe(tmp_path / "set.ome.tif", samples, text)
    all_here = client.submit(files.url("/set.ome.tif"), "Here", format="png")["dataset_id"]
    other = client.submit(files.url("/set.ome.tif"), "There", format="png", channels=[2])["dataset_id"]
    last = finish(client, str(all_here))
    found = shown(last["tile_info"]["tile_id"], LEVEL)[..., :3].astype(int)
    assert np.abs(found - composed(list(samples), [GREEN, MAGENTA])).max() <= 2
    assert "1 plane is not in this file, but in others of its set (b.ome.tif)" in last["warnings"][0]["message"]
    error = finish(client, str(other))["error"]
    assert error["code"] == "channel_not_found"
    assert "b.ome.tif: submit that file." in error["message"]


def test_an_inspection_lists_channels_depth_and_time(
    client: Client, files: SourceServer, command: Command, tmp_path: Path
) -> None:
    stacks.write_ome(
        tmp_path / "a.ome.tif",
        stacks.planes(3, z=4),
        ["DAPI", "GFP", ""],
        [BLUE, GREEN, RED],
        more={"PhysicalSizeZ": 0.5, "Plane": {"PositionZ": np.repeat([1, 1.5, 2, 9], 3).tolist()}},
    )
    stacks.write_imagej(tmp_path / "b.tif", stacks.planes(2, z=3), Labels=["nuclei", "actin"] * 3, is_joined=True)
    pictures.jpeg(tmp_path / "map.jpg", 200, 150)
    report = client.inspect(files.url("/a.ome.tif"))["report"]
    assert report["stack"] == {
        "channels": [
            {"number": 0, "name": "DAPI", "colour": "#0000ff"},
            {"number": 1, "name": "GFP", "colour": "#00ff00"},
            {"number": 2, "name": "", "colour": "#ff0000"},
        ],
        "channel_count": 3,
        "z_count": 4,
        "t_count": 1,
        "z_step": "0.5 µm",
        "t_step": "",
        "z_labels": ["1 µm", "1.5 µm", "2 µm", "9 µm"],
        "t_labels": [],
    }
    stack = client.inspect(files.url("/b.tif"))["report"]["stack"]
    assert [channel["name"] for channel in stack["channels"]] == ["nuclei", "actin"]
    assert (stack["channel_count"], stack["z_count"], stack["t_count"]) == (2, 3, 1)
    assert client.inspect(files.url("/b.tif"))["report"]["source"]["pages"] == 6
    missing = client.submit(files.url("/b.tif"), "B", page=6)["dataset_id"]
    assert "this TIFF has 6 pages" in finish(client, str(missing))["error"]["message"]
    assert "stack" not in client.inspect(files.url("/map.jpg"))["report"]
    said = " ".join(command("inspect", files.url("/a.ome.tif")).out.split())
    assert "channels 0 DAPI (#0000ff), 1 GFP (#00ff00), 2 (#ff0000)" in said
    assert "z 4, 0.5 µm apart: 1 µm, 1.5 µm, 2 µm, 9 µm" in said


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ([0, 1, 2, 3], "At most 3"),
        ("a,b,c,d", "At most 3"),
        (["a", "a"], "once"),
        (["x" * 101], "100"),
        (-1, "number from 0"),
        ([True], "list of numbers and names"),
        ({"a": 1}, "list of numbers and names"),
        ([[0]], "list of numbers and names"),
        (1.5, "list of numbers and names"),
    ],
)
def test_channels_that_no_stack_can_have_are_refused(stack: LaunchedStack, channels: Any, said: str) -> None:
    asked = {"name": "A", "url": "https://example.org/a.tif", "channels": channels}
    answer = requests.post(f"{stack.url}/api/datasets", json=asked, timeout=30)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["pointer"], said in error["detail"]) == ("/channels", True), error
