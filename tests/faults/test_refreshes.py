"""kill -9 in the middle of a refresh: the dataset is ready the whole time, and the refresh ends by itself."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.faults.conftest import NewPicture
from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants
from tests.support.network.answers import whole
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until

POINTS = [
    ("ingest", "ingest_mid_download"),
    ("ingest", "ingest_before_complete"),
    ("tiler", "tiler_mid_build"),
    ("tiler", "tiler_before_complete"),
    ("tiler", "tiler_after_complete"),
    ("statussvc", ""),
]


@pytest.mark.parametrize(("service", "point"), POINTS, ids=[row[1] or row[0] for row in POINTS])
def test_a_kill_in_the_middle_of_a_refresh_costs_nothing(
    farm: Farm, sources: SourceServer, picture: NewPicture, service: str, point: str
) -> None:
    # Given a ready dataset whose source changes
    path = f"/refreshed-{point or service}.jpg"
    dataset_id = farm.submit(sources.on(path, whole(picture())))
    farm.finish(dataset_id)
    old = farm.row(dataset_id)["tile_id"]
    changed = picture()
    sources.on(path, whole(changed))
    # When a service is killed in the middle of its refresh, and started again
    if point:
        mark = farm.services[service].arm(point)
        assert farm.act("POST", dataset_id, "/refresh") == 202
        until(mark.exists, f"hit at {point}")
    else:
        assert farm.act("POST", dataset_id, "/refresh") == 202
        until(lambda: farm.get(f"/api/datasets/{dataset_id}/status", "refresh", "state") != "queued", "its begin")
        farm.statussvc.kill()

    # Then the dataset shows the old picture until it shows the new one
    def is_over() -> bool:
        status: Any = farm.get(f"/api/datasets/{dataset_id}/status")
        if status is None or "code" in status:
            return False  # statussvc is not back yet
        assert status["status"] == "ready"
        shown = requests.get(f"{farm.url}/tiles/{dataset_id}/0/0/0", timeout=60)
        assert shown.status_code == 200
        return "finished_at" in status["refresh"]

    until(is_over, "the end of the refresh")
    assert farm.get(f"/api/datasets/{dataset_id}/status", "refresh", "state") == "changed"
    assert farm.row(dataset_id)["tile_id"] != old
    check_invariants(farm, {dataset_id: Expected(changed)})
