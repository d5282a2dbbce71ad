"""One statussvc on a database, whatever is started, cut off, or comes in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psycopg
import pytest
from sqlalchemy import Connection

import statussvc.__main__ as entrance
from pipeline.errors import StatusUnavailable
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.claim import LOCK, InUse
from statussvc.db.database import Database
from statussvc.db.repository import epochs
from statussvc.server import Server
from statussvc.settings import StatusSettings
from tests.support.rigs.gateway_rig import serving
from tests.support.rigs.status_rig import Status, await_health, code_of, running
from tests.support.rigs.waiting import until


async def start_another(database_url: str) -> None:
    server = Server(StatusSettings(database_url=database_url, grpc_port=0))
    try:
        await server.start()
    finally:
        await server.stop()


def test_a_second_service_is_refused_until_the_first_has_ended(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(database_url) as status:
        dataset_id = status.create()
        # Given a service that is at work, when another is started, then it is refused, and told why
        with pytest.raises(InUse, match=r"in use by .* Stop the other one, or set TILEWRIGHT_DATABASE_URL"):
            asyncio.run(start_another(database_url))
        # And as a process it waits for a while, says so, and ends
        monkeypatch.setattr(entrance, "START_PATIENCE", 0.0)
        assert asyncio.run(entrance.serve(StatusSettings(database_url=database_url, grpc_port=0))) == 1
        assert [record.levelname for record in caplog.records if "in use by" in record.message] == ["ERROR"]
        # And the first one goes on
        assert status.state(dataset_id) == "QUEUED"
    # When the first has ended, then the database is free
    with running(database_url) as status:
        assert status.state(dataset_id) == "QUEUED"


def calls(status: Status, dataset_id: str) -> dict[str, Callable[[], object]]:
    """One of each kind: a write, a grant, a read, and what needs no row."""
    wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_INGEST)
    return {
        "beat": lambda: status.pipeline.ReportProgress(pb.ReportProgressRequest(run_id="a" * 32, beat_seq=1)),
        "begin": lambda: status.pipeline.BeginStage(pb.BeginStageRequest(wake_up=wake_up, run_id="a" * 32)),
        "create": status.create,
        "read": lambda: status.get(dataset_id),
    }


LOCKS = f"FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK} AND"


def test_a_service_that_has_lost_its_claim_says_so_and_takes_it_again(postgres_url: str, tmp_path: Path) -> None:
    with running(postgres_url) as status, serving(status.address, tmp_path) as gateway:
        dataset_id = status.create()
        watch = status.users.WatchDataset(pb.WatchDatasetRequest(dataset_id=dataset_id))
        next(watch)
        url = postgres_url.replace("+psycopg", "")
        with ThreadPoolExecutor(1) as thread, psycopg.connect(url, autocommit=True) as other:
            # Given another that waits for the database
            waiting = thread.submit(other.execute, "SELECT pg_advisory_lock(%s)", [LOCK])
            with psycopg.connect(url, autocommit=True) as operator:
                until(lambda: operator.execute(f"SELECT 1 {LOCKS} NOT granted").rowcount == 1, "a waiting service")
                # When the first one's session is cut off, then it says that it does not serve
                operator.execute(f"SELECT pg_terminate_backend(pid) {LOCKS} granted")
            waiting.result(timeout=30)
            # And once it hears of that it refuses every call, beats and reads among them, and ends watches
            until(lambda: code_of(lambda: status.get(dataset_id)) is grpc.StatusCode.UNAVAILABLE, "the loss")
            for name, code in {name: code_of(call) for name, call in calls(status, dataset_id).items()}.items():
                assert (name, code) == (name, grpc.StatusCode.UNAVAILABLE)
            with pytest.raises(grpc.RpcError, match="lost its claim"):
                next(watch)
            # And so does the gateway, by both of its answers
            ready = gateway.get("/readyz")
            assert (ready.status_code, "lost its claim" in ready.json()["detail"]) == (503, True)
            new = {"name": "Earth", "url": "https://example.org/earth.jpg"}
            assert gateway.post("/api/datasets", json=new).status_code == 503
            await_health(status.address, "NOT_SERVING")
        # And when that one has gone, it serves again
        await_health(status.address, "SERVING")
        assert status.state(dataset_id) == "QUEUED"


def test_a_service_that_does_not_know_of_its_loss_can_write_no_more(database_url: str) -> None:
    # Given two services, of which the first has the database, and goes on believing so
    first, second = Database(database_url), Database(database_url)
    claim, touched = first._engines.claim, list[int]()

    def touch(connection: Connection) -> None:
        touched.append(epochs.current(connection))

    async def story() -> None:
        await first.claim()
        first.migrate()
        await first.fence()
        assert await first.write(epochs.current) == 1
        # When the second has taken it
        claim.release()
        await second.claim()
        await second.fence()
        # Then the first writes nothing, however it is asked, and knows now
        for write in (first.write, first.keep_house):
            with pytest.raises(StatusUnavailable, match="lost its claim"):
                await write(touch)
        assert not first.is_held()
        # And the second does
        await second.write(touch)
        assert second.is_held()

    asyncio.run(story())
    assert touched == [2]
    first.close()
    second.close()


def test_a_service_that_takes_the_database_again_knows_only_what_the_rows_say(
    postgres_url: str,
) -> None:
    run_id = "b" * 32
    with running(postgres_url) as status:
        # Given a run at work
        dataset_id = status.create()
        status.begin(dataset_id, run_id)
        status.beat(run_id, 1, bytes_downloaded=5)
        url = postgres_url.replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as operator:
            # When the session is cut off, and another service ends the run before the first has the database again
            with operator.transaction():
                operator.execute("SELECT epoch FROM claim FOR UPDATE")
                operator.execute(f"SELECT pg_terminate_backend(pid) {LOCKS} granted")
                operator.execute("UPDATE datasets SET state = 'QUEUED', run_id = NULL, attempt = 2")
            taken_again = "SELECT 1 FROM claim WHERE epoch = 2"
            until(lambda: operator.execute(taken_again).rowcount == 1, "the claim's return")
            until(lambda: code_of(lambda: status.get(dataset_id)) is grpc.StatusCode.OK, "the service's return")
            assert status.state(dataset_id) == "QUEUED"
        # Then the run is told to stop
        assert status.beat(run_id, 2).reason == "superseded"
