"""Only a run that could have been heard, and has not been, is expired."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from pipeline.run import Limits, Run, run_stage
from pipeline.status import StatusClient
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.repository import stages
from statussvc.policy import Policy
from statussvc.rpc.pipeline_service import PipelineService
from tests.support.rigs import status_rig
from tests.support.rigs.status_rig import InlineStatus
from tests.support.rigs.waiting import until

POLICY = Policy(crash_limit=3, retry_limit=5, retry_base=2.0, retry_cap=300.0)
RUNS = ("1" * 32, "2" * 32)


def begun(status: InlineStatus, run_id: str) -> str:
    """A dataset whose download has been granted to the run."""
    request = pb.CreateDatasetRequest(name=run_id, url=f"https://example.org/{run_id}.jpg")
    dataset_id = status.do(status.users.CreateDataset(request, None)).dataset.dataset_id  # type: ignore[arg-type]
    wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_INGEST)
    begin = pb.BeginStageRequest(wake_up=wake_up, run_id=run_id, worker="test")
    assert status.do(status.pipeline.BeginStage(begin, None)).HasField("grant")  # type: ignore[arg-type]
    return dataset_id


def state(status: InlineStatus, dataset_id: str) -> tuple[str, int]:
    """State and attempt."""
    request = pb.GetStatusRequest(dataset_id=dataset_id)
    shown = status.do(status.users.GetStatus(request, None)).status  # type: ignore[arg-type]
    return pb.State.Name(shown.state), shown.attempt


def silent_for_a_lease(status: InlineStatus) -> None:
    status.monotonic += 11.0


def test_a_run_that_beats_while_another_is_ended_lives_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two runs that have been silent for a lease, and a database that takes its time over the first's end
    status = InlineStatus(engine, POLICY)
    first, second = (begun(status, run_id) for run_id in RUNS)
    silent_for_a_lease(status)
    keep_house = status.database.keep_house

    async def slow(function: Callable[[Connection], Any]) -> Any:
        result = await keep_house(function)
        status.core.leases.beat(RUNS[1], 1, pb.Progress())
        return result

    monkeypatch.setattr(status.database, "keep_house", slow)

    # When they are to be expired, and the second beats while the first is ended
    status.do(status.housekeeper.expire(longest=60.0))

    # Then only the first has ended
    assert state(status, first) == ("STATE_QUEUED", 2)
    assert state(status, second) == ("STATE_DOWNLOADING", 1)
    assert status.core.leases.at_work() == {RUNS[1]}


def test_a_run_that_beats_while_its_own_end_is_written_lives_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run that has been silent for a lease
    status = InlineStatus(engine, POLICY)
    dataset_id = begun(status, RUNS[0])
    silent_for_a_lease(status)
    expire = stages.expire

    def expire_slowly(*arguments: Any) -> Any:
        outcome = expire(*arguments)
        status.core.leases.beat(RUNS[0], 1, pb.Progress())
        return outcome

    monkeypatch.setattr(stages, "expire", expire_slowly)

    # When it beats before its end is committed
    status.do(status.housekeeper.expire(longest=60.0))

    # Then nothing was written
    assert state(status, dataset_id) == ("STATE_DOWNLOADING", 1)
    assert status.core.leases.at_work() == {RUNS[0]}


def test_the_service_expires_nobody_while_it_is_too_busy_to_hear_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a service in which every beat can be held up, as if it stood behind a crowd's calls
    calm, report_progress = threading.Event(), PipelineService.ReportProgress
    calm.set()

    async def behind_a_crowd(service: PipelineService, request: pb.ReportProgressRequest, context: Any) -> Any:
        await asyncio.to_thread(calm.wait)
        return await report_progress(service, request, context)

    monkeypatch.setattr(PipelineService, "ReportProgress", behind_a_crowd)

    # And a run with a lease of a second, whose worker lives
    with status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}", lease_seconds=1.0) as status:
        dataset_id = status.create()
        wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_INGEST)
        client, over = StatusClient(status.address), threading.Event()
        ended: list[pb.CompleteStageResponse | None] = []

        def work(run: Run) -> pb.IngestResult:
            over.wait()
            run.check()
            return pb.IngestResult(sha256=status_rig.SHA, bytes=1)

        def run_it() -> None:
            limits = Limits(total=600.0, progress=600.0)
            ended.append(run_stage(client, wake_up, work, stopping=threading.Event(), limits=limits))

        worker = threading.Thread(target=run_it)
        worker.start()
        until(lambda: status.state(dataset_id) == "DOWNLOADING", "the download's begin")

        # When each beat is out of time before it is heard, for longer than a lease
        calm.clear()
        until(
            lambda: caplog.text.count("too busy to receive all heartbeats") >= 2,
            "the service's finding that it is deaf",
        )
        calm.set()
        over.set()
        worker.join(60)
        client.close()

        # Then the run was let go on, and its outcome was taken
        assert [answer.answer for answer in ended if answer] == [pb.ANSWER_WON]
        assert status.get(dataset_id).attempt == 1
