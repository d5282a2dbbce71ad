"""The database stopped, frozen, locked, or cut off in the middle of a commit: nothing is lost, nothing is stuck."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import create_engine, select

from pipeline.errors import StatusUnavailable
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.core import Core
from statussvc.db.database import Database
from statussvc.db.repository.catalogue import NewDataset, create
from statussvc.db.tables import datasets, runs
from statussvc.housekeeper import Housekeeper
from statussvc.leases import Leases
from statussvc.policy import Policy
from statussvc.rpc.pipeline_service import PipelineService
from statussvc.watch import Hub
from tests.conftest import started
from tests.support.rigs import servers
from tests.support.rigs.postgres_rig import CommitLoser, OwnPostgres, own_postgres
from tests.support.rigs.status_rig import BEAT_PAUSE, SHA, Beating, Status, await_health, code_of, running
from tests.support.rigs.waiting import until

LEASE_SECONDS = 3.0
RPC_TIMEOUT = 10.0
ANY: Any = None
"""The handlers' context, of which they make no use."""

LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def postgres() -> Iterator[OwnPostgres]:
    yield from started(own_postgres())


async def taken(database: Database) -> None:
    """Takes the database, as a service does at its start."""
    await database.claim()
    database.migrate()
    await database.fence()


def all_calls(status: Status, dataset_id: str, run_id: str) -> dict[str, Callable[[], Any]]:
    """A call of every rpc that needs the database; none of them changes what the test looks at."""
    wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=7, stage=pb.STAGE_TILER)
    named, users, pipeline = {"dataset_id": dataset_id}, status.users, status.pipeline
    failure = pb.Failure(code="stalled", message="It stood still.", retryable=True)
    requests: list[tuple[Any, Any]] = [
        (users.CreateDataset, pb.CreateDatasetRequest(name="Mars", url="https://example.org/mars.jpg")),
        (users.GetDataset, pb.GetDatasetRequest(**named)),
        (users.ListDatasets, pb.ListDatasetsRequest()),
        (users.UpdateDataset, pb.UpdateDatasetRequest(dataset_id=dataset_id)),
        (users.GetStatus, pb.GetStatusRequest(**named)),
        (users.RetryDataset, pb.RetryDatasetRequest(**named)),
        (users.RefreshDataset, pb.RefreshDatasetRequest(dataset_id=dataset_id)),
        (users.ListVersions, pb.ListVersionsRequest(**named)),
        (users.ResolveDataset, pb.ResolveDatasetRequest(dataset_id=dataset_id)),
        (users.GetPyramid, pb.GetPyramidRequest(tile_id=SHA)),
        (pipeline.LeasePending, pb.LeasePendingRequest()),
        (pipeline.ConfirmPublished, pb.ConfirmPublishedRequest(wake_up=wake_up)),
        (pipeline.BeginStage, pb.BeginStageRequest(wake_up=wake_up, run_id="e" * 32)),
        (pipeline.CompleteStage, pb.CompleteStageRequest(run_id="e" * 32, ingest=pb.IngestResult(sha256=SHA))),
        (pipeline.FailStage, pb.FailStageRequest(run_id="e" * 32, failure=failure)),
        (pipeline.ReleaseStage, pb.ReleaseStageRequest(run_id="e" * 32)),
        (pipeline.LeaseGarbage, pb.LeaseGarbageRequest()),
        (pipeline.ConfirmGarbage, pb.ConfirmGarbageRequest()),
    ]
    return {type(request).__name__: partial(rpc, request, timeout=RPC_TIMEOUT) for rpc, request in requests}


def test_postgres_stopped_and_started_loses_nothing(postgres: OwnPostgres) -> None:
    with running(postgres.url, lease_seconds=LEASE_SECONDS) as status:
        # Given one dataset at work and one that waits
        working, waiting = status.create(), status.create()
        status.begin(working, "a" * 32)
        with Beating(status, "a" * 32) as worker:
            # When PostgreSQL is stopped
            postgres.stop()
            await_health(status.address, "NOT_SERVING")
            # Then every call says to come back, and never that something broke
            calls = all_calls(status, waiting, "a" * 32)
            assert {name: code_of(call).name for name, call in calls.items()} == dict.fromkeys(calls, "UNAVAILABLE")
            watch = status.users.WatchDataset(pb.WatchDatasetRequest(dataset_id=waiting), timeout=RPC_TIMEOUT)
            assert code_of(lambda: next(watch)) is grpc.StatusCode.UNAVAILABLE
            # And so it is with beats, since another service might have the database; for longer than a lease
            beats = len(worker.answers)
            until(lambda: worker.refused > 2 * LEASE_SECONDS / BEAT_PAUSE, "beats for two leases")
            assert len(worker.answers) == beats
            # When it is back, Then so is the service, without a restart
            postgres.start()
            await_health(status.address, "SERVING")
            assert {status.state(working), status.state(waiting)} == {"DOWNLOADING", "QUEUED"}
            assert status.get(working).attempt == 1
            until(lambda: len(worker.answers) > beats, "a beat that is heard again")
            heard = list(worker.answers)
            assert status.complete_ingest("a" * 32).answer == pb.ANSWER_WON
        assert {answer.order for answer in heard} == {pb.ReportProgressResponse.ORDER_CONTINUE}
        assert (waiting, 1, pb.STAGE_INGEST) in status.pending()


def test_a_frozen_postgres_does_not_hold_calls_for_ever(postgres: OwnPostgres) -> None:
    with running(postgres.url, lease_seconds=LEASE_SECONDS) as status, ThreadPoolExecutor(16) as threads:
        working = status.create()
        status.begin(working, "a" * 32)
        with Beating(status, "a" * 32) as worker:
            # When it takes connections and bytes, and answers none; and all rpcs come at once
            postgres.freeze()
            calls = all_calls(status, working, "a" * 32)
            codes = dict(zip(calls, threads.map(code_of, calls.values()), strict=True))
            # Then each is answered before its caller's patience ends
            assert {name: code.name for name, code in codes.items()} == dict.fromkeys(calls, "UNAVAILABLE")
            await_health(status.address, "NOT_SERVING")
            postgres.thaw()
            await_health(status.address, "SERVING")
            assert (status.state(working), status.get(working).attempt) == ("DOWNLOADING", 1)
            assert status.complete_ingest("a" * 32).answer == pb.ANSWER_WON
        assert {answer.order for answer in worker.answers[:-2]} == {pb.ReportProgressResponse.ORDER_CONTINUE}
        # And no call that was given up on is made later
        assert len(status.users.ListDatasets(pb.ListDatasetsRequest()).datasets) == 1


def test_a_start_waits_for_a_database_that_is_not_there_yet(postgres: OwnPostgres) -> None:
    postgres.stop()
    database = Database(postgres.url)
    with pytest.raises(StatusUnavailable):
        database.migrate()
    postgres.start()
    database.migrate()
    database.close()


@pytest.mark.parametrize("rpc", ["BeginStage", "CompleteStage", "FailStage", "ReleaseStage"])
def test_a_commit_whose_answer_was_lost_is_safe_to_repeat(rpc: str, postgres_server: servers.PostgresServer) -> None:
    run_id = "a" * 32
    with postgres_server.database() as url:
        loser = CommitLoser(postgres_server.port)
        database = Database(url.replace(f":{postgres_server.port}/", f":{loser.port}/"))
        asyncio.run(taken(database))
        core = Core(database, Leases(10.0), Hub(), Policy(crash_limit=3, retry_limit=5, retry_base=2.0, retry_cap=9.0))
        pipeline, engine = PipelineService(core), create_engine(url)
        new = NewDataset("Earth", "", "", "", "https://example.org/earth.jpg", 256)
        with engine.begin() as connection:
            dataset_id, _ = create(connection, new, time.time())
        wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_INGEST)
        begin = pb.BeginStageRequest(wake_up=wake_up, run_id=run_id, worker="w")
        failure = pb.Failure(code="stalled", message="It stood still.", retryable=True)
        request: Any = {
            "BeginStage": begin,
            "CompleteStage": pb.CompleteStageRequest(run_id=run_id, ingest=pb.IngestResult(sha256=SHA, bytes=5)),
            "FailStage": pb.FailStageRequest(run_id=run_id, failure=failure),
            "ReleaseStage": pb.ReleaseStageRequest(run_id=run_id),
        }[rpc]

        async def story() -> Any:
            if rpc != "BeginStage":
                await pipeline.BeginStage(begin, ANY)
            # When the line is cut between a commit and its answer
            loser.armed.set()
            with pytest.raises(StatusUnavailable):
                await getattr(pipeline, rpc)(request, ANY)
            assert await asyncio.to_thread(loser.lost.wait, 10)
            if rpc == "BeginStage":
                # Then a worker that has died meanwhile does not leave its stage without a lease
                await Housekeeper(core).reconcile()
                assert core.leases.at_work() == {run_id}
            return await getattr(pipeline, rpc)(request, ANY)

        # Then the repeated call hears that it counts, and it has counted once
        answer = asyncio.run(story())
        with engine.connect() as connection:
            row = connection.execute(select(datasets)).one()
            run = connection.execute(select(runs)).one()
        if rpc == "BeginStage":
            assert answer.grant.source_key == f"sources/{dataset_id}/1"
            assert (row.state, row.attempt, row.run_id) == ("DOWNLOADING", 1, run_id)
        else:
            assert (answer.answer, run.answer) == (pb.ANSWER_WON, "WON")
            state, attempt = ("DOWNLOADED", 1) if rpc == "CompleteStage" else ("QUEUED", 2)
            assert (row.state, row.attempt, row.retries) == (state, attempt, int(rpc == "FailStage"))
        engine.dispose()
        database.close()
        loser.close()


def test_sqlite_locked_by_another_process_makes_calls_slow_or_says_to_come_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.sqlite3"
    with running(f"sqlite:///{path}", lease_seconds=LEASE_SECONDS) as status, ThreadPoolExecutor(2) as threads:
        working = status.create()
        status.begin(working, "a" * 32)
        with Beating(status, "a" * 32) as worker:
            # When another process locks the rows
            command = [sys.executable, "-c", LOCKER, str(path)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as locker:
                assert locker.stdout is not None
                assert locker.stdout.readline() == "locked\n"
                first = threads.submit(code_of, lambda: status.create(name="First"))
                # Then reading goes on, and what would write is told in time to come back
                assert status.state(working) == "DOWNLOADING"
                assert first.result() is grpc.StatusCode.UNAVAILABLE
                await_health(status.address, "NOT_SERVING")
                # And a call that comes towards the end of the lock is only slow
                second = threads.submit(status.create, name="Second")
                locker.communicate("")
            second_id = second.result()
            await_health(status.address, "SERVING")
            assert (status.state(working), status.get(working).attempt) == ("DOWNLOADING", 1)
            assert status.complete_ingest("a" * 32).answer == pb.ANSWER_WON
        assert {answer.order for answer in worker.answers[:-2]} == {pb.ReportProgressResponse.ORDER_CONTINUE}
        shown = status.users.ListDatasets(pb.ListDatasetsRequest()).datasets
        assert [dataset.dataset_id for dataset in shown] == [second_id, working]
    # And all of it is in the file
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM datasets").fetchone() == (2,)
    connection.close()
