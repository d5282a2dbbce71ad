"""kill -9 at every point of the flow: each dataset ends ready by itself, and all that is counted is right."""

from __future__ import annotations

import pytest

from tests.faults.conftest import NewPicture
from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants
from tests.support.network.answers import whole
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until

POINTS = [
    # service, point, attempts, crashes, retries
    ("gateway", "gateway_before_create", 1, 0, 0),
    ("gateway", "gateway_after_create", 1, 0, 0),
    ("gateway", "relay_before_publish", 1, 0, 0),
    ("gateway", "relay_after_publish", 1, 0, 0),
    ("ingest", "ingest_after_begin", 2, 1, 0),
    ("ingest", "ingest_mid_download", 2, 1, 0),
    ("ingest", "ingest_before_store", 2, 1, 0),
    ("ingest", "ingest_before_complete", 2, 1, 0),
    ("ingest", "ingest_after_complete", 1, 0, 0),
    ("ingest", "ingest_after_publish", 1, 0, 0),
    ("tiler", "tiler_after_begin", 2, 1, 0),
    ("tiler", "tiler_mid_build", 2, 1, 0),
    # A child that is killed is not a worker that died: it was the kernel, for want of memory.
    ("tiler", "tiler_child_mid_build", 2, 0, 1),
    ("tiler", "tiler_mid_store", 2, 1, 0),
    ("tiler", "tiler_before_complete", 2, 1, 0),
    ("tiler", "tiler_after_complete", 1, 0, 0),
]


@pytest.mark.parametrize(("service", "point", "attempts", "crashes", "retries"), POINTS, ids=[row[1] for row in POINTS])
def test_what_is_killed_at_a_point_costs_no_dataset(
    farm: Farm,
    sources: SourceServer,
    picture: NewPicture,
    service: str,
    point: str,
    attempts: int,
    crashes: int,
    retries: int,
) -> None:
    # Given a service that is killed when it reaches the point
    mark = farm.services[service].arm(point)
    data = picture()
    # When a dataset is submitted, and the service started again
    dataset_id = farm.submit(sources.on(f"/{point}.jpg", whole(data)))
    # Then it ends ready by itself
    farm.finish(dataset_id)
    # Ready may be seen before a point that lies behind the last rpc.
    until(mark.exists, f"hit at {point}")
    check_invariants(farm, {dataset_id: Expected(data, attempts=attempts, crashes=crashes, retries=retries)})
