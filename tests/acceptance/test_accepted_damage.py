"""`damage: accept`: what can be decoded is shown, and nothing else, from the POST to the tile."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tifffile

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish
from tests.support.images import pictures, salvage, sparse_tiffs, tiffs
from tests.support.images.pictures import Pixels
from tests.support.network.sources import SourceServer
from tilewright.client import Client, Json
from tilewright.embedded import LaunchedStack

LEVEL = 9
"""The finest level of a picture of up to 512 x 512 pixels, which is one tile."""

LOSS = 12
"""Most that the second encoding as JPEG changes a sample in the mean; grey differs by more than 60."""


def accepted(client: Client, url: str, **options: str) -> Json:
    """Submit a damaged file, and return its last status."""
    made = client.submit(url, "Damaged", damage="accept", tile_size=512, **options)
    return finish(client, str(made["dataset_id"]))


def test_what_is_left_of_a_damaged_file_is_shown_and_the_rest_is_marked(
    client: Client,
    files: SourceServer,
    shown: Callable[..., Pixels],
    command: Command,
    stack: LaunchedStack,
    tmp_path: Path,
) -> None:
    # Given damaged files of every format, each with the share that is missing at least and at most
    cases = {case.name: case for case in salvage.cases()}
    for case in cases.values():
        (tmp_path / case.name).write_bytes(case.data)

    # When they are submitted as they always were, then each fails, and the message offers to accept the damage
    def posted(**options: Any) -> dict[str, str]:
        made = {
            name: client.submit(files.url(f"/{name}"), "Damaged", page=case.page, **options)
            for name, case in cases.items()
        }
        return {name: str(each["dataset_id"]) for name, each in made.items()}

    refused = posted().values()
    for dataset_id in refused:
        error = finish(client, str(dataset_id))["error"]
        assert error["code"] in {"image_corrupt", "image_truncated"}, error
        assert "`damage` set to `accept`" in error["message"]
    # When the damage is accepted
    ids = posted(damage="accept", tile_size=512, format="png")
    for name, dataset_id in ids.items():
        case, last = cases[name], finish(client, str(dataset_id))
        assert last["status"] == "ready", (name, last)
        # Then the dataset and its status say what is missing
        assert client.get(str(dataset_id))["warnings"] == last["warnings"], name
        assert [warning["code"] for warning in last["warnings"]][:1] == ["image_incomplete"], (name, last)
        # And all that is shown is right
        found = shown(last["tile_info"]["tile_id"], (max(case.pixels.shape) - 1).bit_length())
        share, difference = salvage.held_against(found, case.pixels)
        assert case.least <= share <= case.most, (name, share, last["warnings"])
        assert difference <= case.loss, (name, difference)
        # And so does the pyramid's description, which a comparison with the original confirms
        [description] = stack.data.glob(f"storage/pyramids/{last['tile_info']['tile_id']}/*/pyramid.json")
        told = json.loads(description.read_text())
        assert (told["damage"], told["warnings"]) == ("accept", last["warnings"])
        assert told["missing_pixels"] == round(share * found.shape[0] * found.shape[1]), name
    for name in (
        "cut.jpg",
        "cut-8.png",
        "cut-1.gif",
        "cut-lossy.webp",
        "5-False-noise-middle.tif",
        "alpha.heic",
        "cut.avif",
    ):
        if name not in ids:
            continue
        ended = command("verify", ids[name], "--source", "--data", str(stack.data))
        assert (ended.code, "1 match the original; the original is damaged, " in ended.out) == (0, True), (name, ended)


def test_a_damaged_file_that_is_large_enough_for_a_preflight_is_shown_too(
    client: Client, files: SourceServer, stack: LaunchedStack, tmp_path: Path
) -> None:
    # Given cut files of more than a mebibyte, whose headers are read before the download
    whole = {name: salvage.by_pillow(name, 512, 1100) for name in ("BMP", "PPM", "TGA", "TIFF")}
    for name, each in whole.items():
        cut = each.data[: len(each.data) * 2 // 3]
        assert len(cut) > 1 << 20
        (tmp_path / f"cut.{name}").write_bytes(cut)
    # When they are submitted, then they are refused, and shown if the damage is accepted
    refused = {name: str(client.submit(files.url(f"/cut.{name}"), "Damaged")["dataset_id"]) for name in whole}
    asked: dict[str, Any] = {"damage": "accept", "format": "png", "tile_size": 512}
    ids = {name: str(client.submit(files.url(f"/cut.{name}"), "Damaged", **asked)["dataset_id"]) for name in whole}
    for name, dataset_id in ids.items():
        error = finish(client, refused[name])["error"]
        assert (error["code"], "`damage` set to `accept`" in error["message"]) == ("image_truncated", True), name
        last = finish(client, dataset_id)
        assert (last["status"], [each["code"] for each in last["warnings"]]) == ("ready", ["image_incomplete"]), name
        address = f"{stack.url}/tiles/{last['tile_info']['tile_id']}_files/11"
        tiles = [requests.get(f"{address}/0_{row}.png", timeout=60).content for row in range(3)]
        found = np.concatenate([pictures.decode(tile) for tile in tiles])
        share, difference = salvage.held_against(found, whole[name].pixels)
        assert (0.33 <= share <= 0.36, difference) == (True, 0), (name, share)


def test_a_tile_of_which_samples_are_missing_is_sound_and_one_without_all_planes_is_not(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    y, x = np.mgrid[:256, :256]
    heights = (x + y * 2).astype(np.float32)[..., None]
    gaps = heights.copy()
    gaps[(x // 8 + y // 8) % 7 == 0] = np.nan
    endless = heights.copy()
    endless[(x // 8 + y // 8) % 7 == 0] = np.inf
    given: dict[str, tuple[Pixels, dict[str, Any]]] = {
        "gaps": (gaps, {}),
        "endless": (endless, {}),
        "channels": (np.repeat(gaps, 5, axis=2), {"planar": True}),
    }
    # Given floats with not-a-number or infinity in each tile, of which one tile is damaged
    for name, (values, options) in given.items():
        packed: list[bytes] = []

        def encode(tile: bytes, packed: list[bytes] = packed) -> bytes:
            packed.append(zlib.compress(tile))
            return packed[-1]

        path = tiffs.write(tmp_path / f"{name}.tif", values, tile=32, compression=8, encode=encode, **options)
        data = bytearray(path.read_bytes())
        place = data.index(packed[20]) + 8
        data[place : place + 40] = bytes(40)
        path.write_bytes(data)
    # And planes one after the other, of which the last is missing
    colours = np.stack([x, y, x ^ y], axis=2).astype(np.uint8)
    layouts: dict[str, dict[str, Any]] = {"strips": {"rows": 16}, "tiles": {"tile": 32}}
    for name, layout in layouts.items():
        path = tiffs.write(tmp_path / f"{name}.tif", colours, planar=True, **layout)
        path.write_bytes(path.read_bytes()[:-70_000])
    # And a sparse file whose only tile is damaged
    sparse = tmp_path / "sparse.tif"
    tifffile.imwrite(sparse, colours, photometric="rgb", compression="zlib", tile=(128, 128), metadata=None)
    sparse_tiffs.leave_out(sparse, (0, 1, 3))
    with tifffile.TiffFile(sparse) as file:
        place = file.pages.first.dataoffsets[2] + 8
    data = bytearray(sparse.read_bytes())
    data[place : place + 400] = bytes(400)
    sparse.write_bytes(data)
    # When the damage is accepted
    asked: dict[str, Any] = {"damage": "accept", "format": "png"}
    names = (*given, "strips", "tiles", "sparse")
    ids = {
        name: str(
            client.submit(
                files.url(f"/{name}.tif"), name, **asked, **({"channels": "0,1"} if name == "channels" else {})
            )["dataset_id"]
        )
        for name in names
    }
    for name in names:
        last = finish(client, ids[name])
        if name in given:
            # Then nothing is lost but that tile
            assert last["status"] == "ready", (name, last)
            found = shown(last["tile_info"]["tile_id"])
            assert (found[..., 3] == 0).mean() == 1 / 64, (name, last["warnings"])
        else:
            # And a file of which nothing can be shown fails
            code = "image_corrupt" if name == "sparse" else "image_truncated"
            assert (last["status"], last["error"]["code"]) == ("failed", code), (name, last)
            assert "Nothing of it can be decoded" in last["error"]["message"]


def test_missing_parts_are_grey_in_tiles_without_transparency(
    client: Client, files: SourceServer, stack: LaunchedStack, command: Command, tmp_path: Path
) -> None:
    whole = salvage.by_pillow("JPEG", quality=85)
    (tmp_path / "cut.jpg").write_bytes(whole.data[: len(whole.data) // 2])
    (tmp_path / "sound.jpg").write_bytes(whole.data)
    last = accepted(client, files.url("/cut.jpg"))
    assert (last["status"], last["tile_info"]["format"]) == ("ready", "jpg")
    tile_id = last["tile_info"]["tile_id"]
    tile = pictures.decode(requests.get(f"{stack.url}/tiles/{tile_id}_files/{LEVEL}/0_0.jpg", timeout=60).content)
    assert np.abs(tile[-200:].astype(int) - salvage.GREY).max() <= 1
    assert np.abs(tile[:200].astype(int) - whole.pixels[:200]).mean() <= LOSS
    # The command asks for it and shows the warning, too
    asked = ("submit", files.url("/cut.jpg"), "--name", "Cut", "--tile-size", "512")
    assert command(*asked, "--wait").code == 1
    waited = command(*asked, "--damage", "accept", "--wait")
    assert (waited.code, last["warnings"][0]["message"] in waited.out) == (0, True), waited
    dataset_id = last["dataset_id"]
    assert last["warnings"][0]["message"] in command("status", dataset_id).out
    # And a sound file is what it always is, under an id of its own
    sound = accepted(client, files.url("/sound.jpg"))
    plain = finish(client, str(client.submit(files.url("/sound.jpg"), "Sound", tile_size=512)["dataset_id"]))
    assert sound["warnings"] == plain["warnings"] == []
    assert sound["tile_info"]["tile_id"] != plain["tile_info"]["tile_id"]


def test_where_nothing_can_be_decoded_the_dataset_fails_and_offers_nothing(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    whole = salvage.by_pillow("JPEG", quality=85)
    (tmp_path / "head.jpg").write_bytes(whole.data[:700])
    # And planes of which the last is gone: no pixel has all of its colours
    planes, path = pictures.scene(300, 200).transpose(2, 0, 1), tmp_path / "planes.tif"
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", tile=(64, 64), metadata=None)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    for name in ("head.jpg", "planes.tif"):
        error = accepted(client, files.url(f"/{name}"))["error"]
        assert error["code"] == "image_truncated"
        assert error["message"].endswith("Nothing of it can be decoded.")
        assert "accept" not in error["message"]


def test_bytes_behind_the_last_block_of_a_jpeg_are_harmless_and_among_the_blocks_are_damage(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    # Given JPEGs with stray bytes before their end marker, and the same bytes in the middle of a scan
    asked: dict[str, Any] = {"tile_size": 512, "format": "png"}
    ids: dict[str, tuple[str, Pixels | None]] = {}
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("plain", {}),
        ("restarts", {"restart_marker_rows": 1}),
        ("progressive", {"progressive": True}),
        ("fine", {"subsampling": 0}),
    ]
    for name, options in kinds:
        whole = salvage.by_pillow("JPEG", quality=85, **options)
        (tmp_path / f"{name}.jpg").write_bytes(whole.data[:-2] + b"stray bytes" + whole.data[-2:])
        third = len(whole.data) // 3
        (tmp_path / f"{name}-middle.jpg").write_bytes(whole.data[:third] + bytes(300) + whole.data[third:])
        for post, pixels in ((name, whole.pixels), (f"{name}-middle", None)):
            made = client.submit(files.url(f"/{post}.jpg"), "Stray", **asked)
            ids[post] = str(made["dataset_id"]), pixels
    # And bytes among the blocks in an archive
    with zipfile.ZipFile(tmp_path / "middle.zip", "w") as archive:
        archive.write(tmp_path / "plain-middle.jpg", "plain.jpg")
    # And a sound one with another image behind it
    (tmp_path / "two.jpg").write_bytes(whole.data + whole.data)
    for post, pixels in (("middle.zip", None), ("two.jpg", whole.pixels)):
        ids[post] = str(client.submit(files.url(f"/{post}"), "Stray", **asked)["dataset_id"]), pixels
    for name, (dataset_id, pixels) in ids.items():
        last = finish(client, dataset_id)
        if pixels is None:
            assert (last["status"], (last.get("error") or {}).get("code")) == ("failed", "image_corrupt"), name
            continue
        assert last["status"] == "ready", (name, last)
        found = shown(last["tile_info"]["tile_id"], LEVEL)
        assert np.abs(found[..., :3].astype(int) - pixels).max() <= salvage.JPEG_LOSS, name
    for name, _ in kinds:
        assert finish(client, ids[name][0])["warnings"] == [
            {"code": "bytes_ignored", "message": "11 bytes behind the last block of the JPEG were ignored."}
        ], name
    assert finish(client, ids["two.jpg"][0])["warnings"] == []
    # And accepted damage that may lie anywhere shows nothing
    assert "Nothing of it can be decoded." in accepted(client, files.url("/plain-middle.jpg"))["error"]["message"]


def test_damage_in_the_last_rows_of_a_jpeg_fails_whatever_the_tiles_are(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    # Given JPEGs without restart markers that lack the end of their data, which libjpeg reports behind the last row
    ids: dict[tuple[str, str], str] = {}
    for name, options in (("fine", {"subsampling": 0}), ("plain", {}), ("restarts", {"restart_marker_rows": 1})):
        data = salvage.by_pillow("JPEG", quality=84, **options).data
        (tmp_path / f"{name}-end.jpg").write_bytes(data[:-60] + data[-2:])
        (tmp_path / f"{name}-all.jpg").write_bytes(data + b"trailer")
        for which in ("end", "all"):
            for kind in ("jpeg", "png", "webp"):
                made = client.submit(files.url(f"/{name}-{which}.jpg"), "End", format=kind)
                ids[f"{name}-{which}", kind] = str(made["dataset_id"])
    # Then they fail, and those with all of their data do not
    for (name, kind), dataset_id in ids.items():
        last = finish(client, dataset_id)
        code = (last.get("error") or {}).get("code")
        assert code == ("image_corrupt" if name.endswith("end") else None), (name, kind, last)
