"""statussvc killed in the middle of a write, as a power cut would: what the client repeats ends right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import Engine, create_engine, func, select, update

from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from statussvc.db.tables import datasets, former_ids, runs
from tests.faults.hooks import sitecustomize
from tests.support.rigs.servers import free_port
from tests.support.rigs.status_rig import SHA, Status, running
from tests.support.rigs.waiting import until

START_LIMIT = 60.0
RUN = "a" * 32
POINTS = ["statussvc_before_commit", "statussvc_after_commit"]


@contextmanager
def child(folder: Path, fault: str = "") -> Iterator[tuple[Status, subprocess.Popen[bytes]]]:
    """`python -m statussvc` on the folder's rows, killed at a point or at the end."""
    port = free_port()
    with started(folder, fault, port) as process:
        address = f"127.0.0.1:{port}"
        channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        try:
            grpc.channel_ready_future(channel).result(timeout=START_LIMIT)
            yield Status(address, pb_grpc.StatusServiceStub(channel), pb_grpc.PipelineServiceStub(channel)), process
        finally:
            channel.close()
            process.kill()


def started(folder: Path, fault: str, port: int = 0) -> subprocess.Popen[bytes]:
    """`python -m statussvc` on the folder's rows, killed at a point."""
    environment = {
        **os.environ,
        "TILEWRIGHT_DATABASE_URL": rows(folder),
        "TILEWRIGHT_GRPC_PORT": str(port),
        sitecustomize.VARIABLE: f"{fault}:{folder / 'reached'}",
        "PYTHONPATH": str(Path(sitecustomize.__file__).parent),
    }
    return subprocess.Popen([sys.executable, "-m", "statussvc"], env=environment)


def rows(folder: Path) -> str:
    return f"sqlite:///{folder / 'rows.sqlite3'}"


def killed(folder: Path, point: str, call: Callable[[Status], Any]) -> None:
    """Makes the call of a statussvc that is killed at the point."""
    with child(folder, point) as (status, process):
        with pytest.raises(grpc.RpcError) as caught:
            call(status)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert process.wait(timeout=START_LIMIT) == -signal.SIGKILL
    assert (folder / "reached").exists()


@pytest.mark.parametrize("point", POINTS)
def test_a_create_that_is_repeated_with_its_key_makes_one_dataset(point: str, tmp_path: Path) -> None:
    request = pb.CreateDatasetRequest(name="Earth", url="https://example.org/earth.jpg", idempotency_key="k")
    # Given a create whose service was killed
    killed(tmp_path, point, lambda status: status.users.CreateDataset(request, timeout=10))
    with running(rows(tmp_path)) as status:
        # When the client repeats it, Then it is made once, and the wake-up is there once
        made = status.users.CreateDataset(request)
        assert made.replayed == (point == "statussvc_after_commit")
        shown = status.users.ListDatasets(pb.ListDatasetsRequest()).datasets
        assert [one.dataset_id for one in shown] == [made.dataset.dataset_id]
        assert status.pending() == [(made.dataset.dataset_id, 1, pb.STAGE_INGEST)]


@pytest.mark.parametrize("point", POINTS)
def test_a_begin_that_is_repeated_gets_its_stage_and_completes_it(point: str, tmp_path: Path) -> None:
    with running(rows(tmp_path)) as status:
        dataset_id = status.create()
    killed(tmp_path, point, lambda status: status.begin(dataset_id, RUN))
    with running(rows(tmp_path)) as status:
        assert status.begin(dataset_id, "b" * 32, attempt=2) == "DROP_SUPERSEDED"
        assert status.begin(dataset_id, RUN).source_key == f"sources/{dataset_id}/1"
        assert status.beat(RUN, 1).order == pb.ReportProgressResponse.ORDER_CONTINUE
        assert (status.state(dataset_id), status.get(dataset_id).attempt) == ("DOWNLOADING", 1)


@pytest.mark.parametrize("point", POINTS)
def test_a_complete_that_is_repeated_is_answered_as_it_counted(point: str, tmp_path: Path) -> None:
    with running(rows(tmp_path)) as status:
        dataset_id = status.create()
        status.begin(dataset_id, RUN)
    killed(tmp_path, point, lambda status: status.complete_ingest(RUN))
    with running(rows(tmp_path)) as status:
        answer = status.complete_ingest(RUN)
        assert answer.answer == pb.ANSWER_WON
        assert answer.next == pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_TILER)
        assert status.complete_ingest(RUN) == answer
        grant = status.begin(dataset_id, "b" * 32, stage=pb.STAGE_TILER)
        assert (grant.source_sha256, grant.source_key) == (SHA, f"sources/{dataset_id}/1")


def test_percent_does_not_go_back_when_the_service_is_killed(tmp_path: Path) -> None:
    with child(tmp_path) as (status, _):
        dataset_id = status.create()
        status.begin(dataset_id, RUN)
        # Given progress that was shown, the last of it younger than the last flush
        shown = []
        for sequence in range(1, 11):
            status.beat(RUN, sequence, stage_percent=5.0 * sequence)
            shown.append(status.get(dataset_id).percent)
    with running(rows(tmp_path)) as status:
        # When somebody asks before the run is heard of again
        asked = status.users.GetStatus.future(pb.GetStatusRequest(dataset_id=dataset_id))
        status.beat(RUN, 11, stage_percent=50.0)
        # Then the answer waits for it
        shown.append(asked.result().status.percent)
    assert shown == sorted(shown)
    assert shown[-1] == 25.0


def test_a_purge_that_is_cut_off_is_made_as_a_whole_at_the_next_start(tmp_path: Path) -> None:
    # Given datasets that were deleted long ago, with their runs
    with running(rows(tmp_path)) as status:
        kept = status.create()
        for number in range(3):
            dataset_id = status.create()
            status.begin(dataset_id, f"{number:032x}")
            status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=dataset_id))
    engine = create_engine(rows(tmp_path))
    with engine.begin() as connection:
        connection.execute(update(datasets).values(deleted_at=datasets.c.deleted_at - 31 * 86_400.0))
    # When the service is killed between the runs and the rows of a purge
    process = started(tmp_path, "statussvc_in_purge")
    assert process.wait(timeout=START_LIMIT) == -signal.SIGKILL
    assert counts(engine) == (4, 3, 0)
    # Then the next one does all of it, and what lives is there
    with running(rows(tmp_path)) as status:
        until(lambda: counts(engine) == (1, 0, 3), "a purge")
        assert status.state(kept) == "QUEUED"
    engine.dispose()


def counts(engine: Engine) -> tuple[int, ...]:
    """How many datasets, runs and former ids there are."""
    with engine.connect() as connection:
        tables = (datasets, runs, former_ids)
        return tuple(connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables)
