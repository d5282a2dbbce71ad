"""The short form of `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import soak, soaked_farm
from tests.support.network.sources import SourceServer
from tests.support.rigs import servers


@pytest.mark.timeout(600)  # a minute, but on a busy machine
def test_small_datasets_under_random_kills_all_end_ready(
    tmp_path: Path, rabbitmq_server: servers.RabbitServer, rabbitmq_url: str, sources: SourceServer
) -> None:
    # Given a farm whose workers are killed every second or so
    with soaked_farm(tmp_path, rabbitmq_server, rabbitmq_url, sources) as farm:
        # When small datasets come in, some of the same bytes
        report = soak(farm, sources, count=100, seconds=15.0, seed=4)
    # Then none is lost, stuck, built by two winners, or leaves anything behind
    assert report.is_clean(), report
    assert report.kills > 5
    assert report.disturbed > 0
