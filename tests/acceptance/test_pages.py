"""Any page of a file can be had: from the POST to the tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import requests

from tests.acceptance.conftest import SOURCES
from tests.acceptance.jobs import ready
from tests.support.images import heics
from tests.support.images.pictures import decode
from tests.support.network.sources import serve
from tilewright.client import Client
from tilewright.embedded import LaunchedStack


def test_each_picture_of_a_heic_has_one_number(client: Client, stack: LaunchedStack, tmp_path: Path) -> None:
    # Given a HEIC of three pictures of different sizes, of which the second is the primary one
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    pictures = [np.full((40 + n, 60, 3), colour, np.uint8) for n, colour in enumerate(colours)]
    heics.pages(tmp_path / "source.heic", *pictures, primary=1)
    with serve(tmp_path, SOURCES) as files:
        # When all pages are submitted
        ids = [
            client.submit(files.url("/source.heic"), "A page", format="png", page=page)["dataset_id"]
            for page in range(3)
        ]
        tile_ids = [ready(client, str(dataset_id))["tile_id"] for dataset_id in ids]
    # Then the primary one is page 0, and the others follow
    for tile_id, expected in zip(tile_ids, (pictures[1], pictures[0], pictures[2]), strict=True):
        found = decode(requests.get(f"{stack.url}/tiles/{tile_id}_files/6/0_0.png", timeout=60).content)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= 2
