"""A statussvc that has vanished, its connections with it unclosed, is found out in seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from pipeline.channels import CLIENT_OPTIONS
from pipeline.errors import StatusUnavailable
from pipeline.status import REPEATABLE, StatusClient, repeat
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from statussvc.watch import Hub, Watch
from tests.support.network.swallowing_proxy import swallowing_proxy
from tests.support.rigs import status_rig


@pytest.mark.timeout(100)
def test_a_watch_of_a_vanished_service_ends_and_the_next_calls_find_its_successor(tmp_path: Path) -> None:
    # Given a watcher and a worker of a service that is far away
    with (
        status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as status,
        swallowing_proxy(status.address) as far,
        grpc.insecure_channel(far.address, options=CLIENT_OPTIONS) as channel,
    ):
        dataset_id = status.create()
        worker = StatusClient(far.address)
        watch = pb_grpc.StatusServiceStub(channel).WatchDataset(pb.WatchDatasetRequest(dataset_id=dataset_id))
        assert next(watch).status.dataset_id == dataset_id
        assert worker.lease_pending(pb.LeasePendingRequest()).wake_ups

        # When it vanishes without a word
        far.swallowing.set()

        # Then the watch, which has no deadline of its own, ends by itself
        with pytest.raises(grpc.RpcError) as ended:
            next(watch)
        assert ended.value.code() in REPEATABLE

        # And the worker's calls end, and succeed again on a connection of its own once the service is back
        with pytest.raises(StatusUnavailable):
            worker.begin_stage(pb.BeginStageRequest(run_id="0" * 32))
        far.swallowing.clear()
        repeat(lambda: worker.lease_pending(pb.LeasePendingRequest()), threading.Event(), pause=0.1)
        worker.close()


@pytest.mark.timeout(100)
def test_the_service_ends_the_watch_of_a_client_that_has_vanished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a watcher that is far away, of a service that tells when a watch is over
    over, watch_of = threading.Event(), Hub.watch

    @contextmanager
    def watch_noting(hub: Hub, dataset_id: str) -> Iterator[Watch]:
        try:
            with watch_of(hub, dataset_id) as made:
                yield made
        finally:
            over.set()

    monkeypatch.setattr(Hub, "watch", watch_noting)
    with (
        status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as status,
        swallowing_proxy(status.address) as far,
        grpc.insecure_channel(far.address, options=CLIENT_OPTIONS) as channel,
    ):
        dataset_id = status.create()
        watch = pb_grpc.StatusServiceStub(channel).WatchDataset(pb.WatchDatasetRequest(dataset_id=dataset_id))
        next(watch)

        # When it vanishes without a word, Then the service lets go of it by itself
        far.swallowing.set()
        assert over.wait(60)
