"""Small files that ask for much work: they are done with little, or end by their reason at the first try."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvips
import requests

from tests import heics
from tests.acceptance.conftest import Command
from tests.acceptance.jobs import LOOK, ready, submit
from tests.pictures import decode
from tests.sources import SourceServer, serve
from tilewright.client import Client
from tilewright.launch import LaunchedStack

LENGTH = 1_000_000


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SourceServer]:
    with serve(tmp_path) as server:
        yield server


def test_a_long_thin_picture_of_two_kilobytes_becomes_few_bytes_of_tiles(
    client: Client, files: SourceServer, command: Command, stack: LaunchedStack, tmp_path: Path
) -> None:
    # Given a white PNG of 1 x 1,000,000 pixels
    white = (pyvips.Image.black(1, LENGTH) + 255).cast("uchar").copy(interpretation="b-w")
    white.pngsave(str(tmp_path / "thin.png"), compression=9)
    assert (tmp_path / "thin.png").stat().st_size < 4000
    # When it is tiled
    dataset_id = submit(client, files.url("/thin.png"))
    info = ready(client, dataset_id)
    # Then every tile that a map asks for is there, in full
    deepest = info["max_zoom"]
    for zoom, y in [(0, 0), (deepest - 1, 0), (deepest, 0), (deepest, 2000), (deepest, (LENGTH - 1) // 256)]:
        address = info["xyz"].format(z=zoom, x=0, y=y)
        answer = requests.get(f"{stack.url}{address}", timeout=60)
        assert answer.status_code == 200, address
        assert decode(answer.content).shape[:2] == (256, 256)
    # And what is stored is whole, and small: it was 32 MB
    found = list(stack.data.glob(f"storage/pyramids/{info['tile_id']}/*/edges.bin"))
    assert len(found) == 1
    assert found[0].stat().st_size < 99_999
    ended = command("verify", dataset_id, "--data", str(stack.data))
    assert ended.code == 0, ended.out + ended.err


def test_a_heic_that_is_put_together_from_far_more_than_it_shows_fails_at_once(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    heics.hoarding(tmp_path / "hoard.heic", edge=1024, count=40)
    dataset_id = submit(client, files.url("/hoard.heic"))
    *seen, last = client.watch(dataset_id, pause=LOOK)
    assert (last["status"], last["error"]["code"]) == ("failed", "decoder_too_slow")
    assert {status["attempt"] for status in seen} == {1}
    # And what merely belongs to a picture, as depths do, costs nothing
    heics.with_auxiliaries(tmp_path / "depths.heic", 128, 128, edge=2048, count=20)
    assert ready(client, submit(client, files.url("/depths.heic")))["width"] == 128
