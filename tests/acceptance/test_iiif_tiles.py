"""A IIIF image whose server sends it reduced or as tiles only: all of its pixels are shown."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest
import requests
from PIL import Image

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish, ready, until
from tests.support.images.pictures import Pixels, put_together, scene
from tests.support.network import answers
from tests.support.network.iiif_service import IiifService
from tests.support.network.sources import Exchange, SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

WIDTH, HEIGHT, EDGE = 900, 620, 256
CAP = {"maxWidth": 300}


@pytest.fixture(scope="module")
def picture() -> Pixels:
    return scene(WIDTH, HEIGHT)


def encoded(picture: Pixels, x: int, y: int, width: int, height: int, kind: str = "PNG") -> bytes:
    """A tile without loss, whatever its address says: servers are known by their bytes."""
    file = BytesIO()
    Image.fromarray(picture[y : y + height, x : x + width]).save(file, kind, quality=95)
    return file.getvalue()


def finest(stack: LaunchedStack, tile_id: str, max_zoom: int) -> Pixels:
    tiles = {}
    level = (max(WIDTH, HEIGHT) - 1).bit_length()
    for row in range(-(-HEIGHT // 256)):
        for column in range(-(-WIDTH // 256)):
            answer = requests.get(f"{stack.url}/tiles/{tile_id}_files/{level}/{column}_{row}.png", timeout=60)
            assert answer.status_code == 200
            tiles[level, column, row] = answer.content
    return put_together(tiles, level, 256)


@pytest.mark.parametrize(("version", "level", "cap"), [(3, 2, CAP), (2, 0, None)])
def test_a_capped_or_static_iiif_image_is_shown_at_its_full_size(
    stack: LaunchedStack,
    client: Client,
    sources: SourceServer,
    command: Command,
    picture: Pixels,
    version: int,
    level: int,
    cap: dict[str, int] | None,
) -> None:
    iiif = IiifService(
        sources,
        f"joined-{version}",
        (WIDTH, HEIGHT),
        EDGE,
        lambda *place: encoded(picture, *place),
        version=version,
        level=level,
        cap=cap,
    )
    # When its info.json is submitted
    dataset_id = client.submit(iiif.url, "IIIF", format="png")["dataset_id"]
    # Then all of its pixels are shown, and the dataset says how
    info = ready(client, dataset_id)
    assert (info["width"], info["height"]) == (WIDTH, HEIGHT)
    assert np.array_equal(finest(stack, info["tile_id"], info["max_zoom"]), picture)
    told = client.get(dataset_id)["rewritten"]
    assert (told["rule"], told["note"]) == ("IIIF", "It is joined from 12 tiles, to 900 x 620 pixels.")
    assert all(sources.requests[path] == 1 for path in iiif.tiles)
    # And it can be inspected, and compared with what was stored
    report = json.loads(command("inspect", iiif.url, "--json").out)["report"]
    assert (report["source"]["width"], report["source"]["height"]) == (WIDTH, HEIGHT)
    ended = command("verify", dataset_id, "--source", "--data", str(stack.data))
    assert ended.code == 0, ended.out + ended.err


def test_a_damaged_tile_fails_with_its_place_and_a_retry_fetches_it_again(
    client: Client, sources: SourceServer, picture: Pixels
) -> None:
    # Given JPEG tiles, one of which is cut off
    iiif = IiifService(
        sources,
        "damaged",
        (WIDTH, HEIGHT),
        EDGE,
        lambda x, y, width, height: encoded(picture, x, y, width, height, "JPEG"),
        cap=CAP,
    )
    sources.on(iiif.tiles[5], answers.whole(iiif.data[5][: len(iiif.data[5]) // 2]))
    dataset_id = client.submit(iiif.url, "IIIF")["dataset_id"]
    error = finish(client, dataset_id)["error"]
    assert error["code"] == "image_corrupt"
    assert "The tile at 256, 256 of the IIIF image cannot be decoded" in error["message"]
    # When the server has repaired it, then a retry shows the picture
    sources.on(iiif.tiles[5], answers.whole(iiif.data[5]))
    client.retry(dataset_id)
    assert ready(client, dataset_id)["width"] == WIDTH


def test_a_tile_whose_last_rows_are_damaged_fails_too(client: Client, sources: SourceServer, picture: Pixels) -> None:
    # Given JPEG tiles, one of which lacks the data of its last blocks
    iiif = IiifService(
        sources,
        "late",
        (WIDTH, HEIGHT),
        EDGE,
        lambda x, y, width, height: encoded(picture, x, y, width, height, "JPEG"),
        cap=CAP,
    )
    sources.on(iiif.tiles[5], answers.whole(iiif.data[5][:-60] + iiif.data[5][-2:]))
    # Then it is not joined with noise in them
    error = finish(client, str(client.submit(iiif.url, "IIIF")["dataset_id"]))["error"]
    assert error["code"] == "image_corrupt"
    assert "The tile at 256, 256 of the IIIF image cannot be decoded" in error["message"]


def test_a_busy_service_is_asked_for_the_missing_tiles_only(
    client: Client, sources: SourceServer, picture: Pixels
) -> None:
    # Given a service that is busy for once, in the middle
    iiif = IiifService(sources, "busy", (WIDTH, HEIGHT), EDGE, lambda *place: encoded(picture, *place), cap=CAP)
    answered = answers.sequence(answers.status(503), answers.whole(iiif.data[9]))

    def last(exchange: Exchange) -> None:
        answered(exchange)

    sources.on(iiif.tiles[9], last)
    dataset_id = client.submit(iiif.url, "IIIF")["dataset_id"]
    told = until(client, dataset_id, "DOWNLOADING")
    assert told["state"] == "DOWNLOADING"
    assert ready(client, dataset_id)["width"] == WIDTH
    # Then nothing before that tile was requested twice
    assert sum(sources.requests[path] for path in iiif.tiles[:6]) == 6
