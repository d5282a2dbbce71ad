"""Any region of an image through the whole stack: from the POST to the crop, and to its end with the dataset."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from tests.acceptance.jobs import ready
from tests.support.images import pictures
from tests.support.network.answers import status
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

WIDTH, HEIGHT = 3001, 2003


def get(stack: LaunchedStack, path: str) -> requests.Response:
    return requests.get(f"{stack.url}/iiif/{path}", timeout=60)


def test_a_posted_image_can_be_cropped_until_it_is_deleted(
    stack: LaunchedStack, client: Client, sources: SourceServer, tmp_path: Path
) -> None:
    # Given an image with transparency, whose tiles lose nothing
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    pixels = np.stack([x % 256, y % 256, (x // 256) * 16 + y // 256, np.full_like(x, 255)], axis=-1).astype(np.uint8)
    pixels[:1000, :1000, 3] = 0
    data = pictures.save(pixels, tmp_path / "source.png").read_bytes()
    created = client.submit(sources.on("/regions.png", status(200, data=data)), "Regions", format="png")
    dataset_id = created["dataset_id"]
    # Then before it is ready its regions are not
    early = get(stack, f"{dataset_id}/0,0,100,100/50,/0/default.png")
    assert early.status_code == 200 or early.json()["code"] == "not_ready"
    tile_id = ready(client, dataset_id)["tile_id"]
    # When regions are requested at its own address and the pyramid's, in both versions, by many at once
    asked = [
        f"{prefix}{name}/{left},{top},301,203/max/{rotation}/default.png"
        for prefix, name in (("", dataset_id), ("2/", tile_id), ("3/", dataset_id))
        for left, top in ((1, 2), (1234, 1001), (2700, 1800))
        for rotation in ("0", "!90")
    ]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda path: get(stack, path), asked))
    # Then each is the very part of the source
    for path, answer in zip(asked, answers, strict=True):
        assert answer.status_code == 200, (path, answer.text)
        left, top = map(int, path.split("/")[-4].split(",")[:2])
        part = pixels[top : top + 203, left : left + 301]
        if "!90" in path:
            part = np.rot90(part[:, ::-1], -1)
        made = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))
        assert np.array_equal(made[..., 3], part[..., 3])
        seen = part[..., 3] == 255
        assert np.array_equal(made[seen], part[seen])
    # And the same was made once, and the gateway counts it
    counts = requests.get(f"{stack.url}/readyz", timeout=10).json()["iiif"]
    assert counts["made"] + counts["cache_hits"] + counts["shared"] >= len(asked)
    assert counts["cache_hits"] + counts["shared"] >= 12
    # When the dataset is deleted, then its regions are, also those that are cached
    client.delete(dataset_id)
    until(
        lambda: {get(stack, path).status_code for path in asked if dataset_id in path} == {410},
        "410 at the dataset's addresses",
    )
    until(
        lambda: {get(stack, path).status_code for path in asked if tile_id in path} == {404},
        "404 at the pyramid's addresses",
    )
