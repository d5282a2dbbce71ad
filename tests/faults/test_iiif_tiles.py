"""A worker that dies while it fetches the tiles of a IIIF image: those that arrived are not fetched again."""

from __future__ import annotations

import threading
from io import BytesIO

from PIL import Image

from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants
from tests.support.images.pictures import scene
from tests.support.network.answers import gated, sequence, whole
from tests.support.network.iiif_service import IiifService
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until

WIDTH, HEIGHT, EDGE = 1100, 700, 256
HELD = 10
"""The tile that does not arrive until its worker is dead."""


def png(*place: int) -> bytes:
    x, y, width, height = place
    file = BytesIO()
    Image.fromarray(scene(WIDTH, HEIGHT)[y : y + height, x : x + width]).save(file, "PNG")
    return file.getvalue()


def test_a_worker_that_dies_among_tiles_is_followed_by_one_that_fetches_the_rest(
    farm: Farm, sources: SourceServer
) -> None:
    # Given a IIIF image, one of whose tiles does not arrive
    iiif, gate = IiifService(sources, "killed", (WIDTH, HEIGHT), EDGE, png, cap={"maxWidth": 300}), threading.Event()
    data = iiif.data[HELD]
    sources.on(iiif.tiles[HELD], sequence(gated(data, 10, gate), whole(data)))
    dataset_id = farm.submit(iiif.url)
    # When its worker is killed, once the tiles before it are recorded as stored
    until(lambda: list(farm.storage.root.glob("scratch/*/source.json")), "a record of the tiles that are stored")
    farm.ingest.kill()
    gate.set()
    farm.finish(dataset_id)
    # Then another run fetches the rest only
    check_invariants(farm, {dataset_id: Expected(png(0, 0, WIDTH, HEIGHT), attempts=2, crashes=1)})
    assert sources.requests[iiif.tiles[HELD]] == 2
    assert [sources.requests[path] for path in iiif.tiles[: HELD // 2]] == [1] * (HELD // 2)
