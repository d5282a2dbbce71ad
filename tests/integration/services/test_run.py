"""A stage's run against a real statussvc: begin, beat, and every way to end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import StageError, Stopped, StorageError
from pipeline.run import Limits, Run, heartbeat, run_stage
from pipeline.status import StatusClient
from pipeline.texts import MAX_SENTENCE, visible
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.rpc.pipeline_service import PipelineService
from tests.support.rigs.status_rig import SHA, Status, running

LIMITS = Limits(total=60.0, progress=60.0)
RESULT = pb.IngestResult(sha256=SHA, bytes=3)


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Status]:
    with running(f"sqlite:///{tmp_path}/rows.sqlite3", retry_base_seconds=30.0) as rig:
        yield rig


def wake_up(dataset_id: str, attempt: int = 1) -> pb.WakeUp:
    return pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=pb.STAGE_INGEST)


def run(
    client: StatusClient,
    dataset_id: str,
    work: Callable[[Run], pb.IngestResult],
    *,
    stopping: threading.Event | None = None,
    limits: Limits = LIMITS,
) -> pb.CompleteStageResponse | None:
    return run_stage(client, wake_up(dataset_id), work, stopping=stopping or threading.Event(), limits=limits)


def blocked(run: Run) -> pb.IngestResult:
    """Work that only its on_stop callback can end, as a blocked read is only ended by closing its socket."""
    unblocked = threading.Event()
    run.on_stop(unblocked.set)
    assert unblocked.wait(30)
    raise ConnectionError("the socket was closed under the read")


def test_work_that_returns_completes_its_stage_with_the_progress_it_reported(
    status: Status, client: StatusClient
) -> None:
    dataset_id = status.create()
    seen = []

    def work(run: Run) -> pb.IngestResult:
        run.report(bytes_downloaded=3, bytes_total=4, stage_percent=75.0)
        for response in status.users.WatchDataset(pb.WatchDatasetRequest(dataset_id=dataset_id), timeout=30):
            if response.status.progress.bytes_downloaded:
                seen.append(response.status.progress.stage_percent)
                break
        return RESULT

    answer = run(client, dataset_id, work)
    assert answer is not None
    assert (answer.answer, answer.next.stage) == (pb.ANSWER_WON, pb.STAGE_TILER)
    assert seen == [75.0]


def test_a_preview_is_told_at_once(status: Status, client: StatusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given beats so rare that none but the first comes by its time
    monkeypatch.setattr("pipeline.run.heartbeat.BEAT_INTERVAL", 600.0)
    dataset_id = status.create()
    key = f"pyramids/{'0' * 64}/{{}}/preview.jpg"

    def work(run: Run) -> pb.IngestResult:
        # When a preview is reported after it, then whoever watches is told
        watch = status.users.WatchDataset(pb.WatchDatasetRequest(dataset_id=dataset_id), timeout=30)
        run.report(bytes_downloaded=3, preview=pb.Preview(width=9, height=9, key=key.format(run.run_id)))
        assert any(response.status.HasField("preview") for response in watch)
        return RESULT

    assert run(client, dataset_id, work) is not None


def test_a_dropped_wake_up_starts_no_work(status: Status, client: StatusClient) -> None:
    dataset_id = status.create()
    status.begin(dataset_id, "a" * 32)

    def work(run: Run) -> pb.IngestResult:
        raise AssertionError("must not be called")

    assert run(client, dataset_id, work) is None
    assert status.state(dataset_id) == "DOWNLOADING"


def test_a_drop_that_only_a_newer_statussvc_knows_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def drop(*_: object) -> pb.BeginStageResponse:
        return pb.BeginStageResponse(drop=99)  # type: ignore[arg-type]  # what this version lacks

    # Given a statussvc that drops for a reason of its own
    monkeypatch.setattr(PipelineService, "BeginStage", drop)

    def work(run: Run) -> pb.IngestResult:
        raise AssertionError("must not be called")

    # When a run begins, then it leaves as for any other
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as status:
        client = StatusClient(status.address)
        assert run(client, "custom_00000099", work) is None
        client.close()
    assert "attempt 1 dropped: Drop 99" in caplog.text


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (StageError("source_not_found", "Nothing there."), "FAILED", "source_not_found"),
        (StageError("source_unreachable", "Nobody answers."), "QUEUED", "source_unreachable"),
        (StageError("not_an_image", "half \ud83d a\0b \x1b[31m" + "x" * 100_000), "FAILED", "not_an_image"),
        (ZeroDivisionError("a bug"), "QUEUED", "internal_error"),
    ],
)
def test_work_that_raises_fails_its_stage(
    status: Status, client: StatusClient, error: Exception, state: str, code: str
) -> None:
    dataset_id = status.create()

    def work(run: Run) -> pb.IngestResult:
        raise error

    assert run(client, dataset_id, work) is None
    seen = status.get(dataset_id)
    assert (status.state(dataset_id), seen.failure.code) == (state, code)
    assert "a bug" not in seen.failure.message
    assert len(seen.failure.message) <= MAX_SENTENCE
    assert visible(seen.failure.message) == seen.failure.message


def test_cancel_unblocks_the_work_and_nothing_more_is_reported(status: Status, client: StatusClient) -> None:
    dataset_id = status.create()

    def work(run: Run) -> pb.IngestResult:
        status.users.CancelDataset(pb.CancelDatasetRequest(dataset_id=dataset_id))
        return blocked(run)

    assert run(client, dataset_id, work) is None
    assert status.state(dataset_id) == "CANCELLED"


@pytest.mark.parametrize("error", [StorageError, FileNotFoundError])
def test_a_deletion_that_removes_the_files_under_the_work_is_no_error(
    status: Status,
    client: StatusClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
) -> None:
    # Given beats too far apart to tell the work in time
    monkeypatch.setattr(heartbeat, "BEAT_INTERVAL", 3600.0)
    dataset_id = status.create()

    def work(_run: Run) -> pb.IngestResult:
        status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=dataset_id))
        raise error("scratch/1/source: No such file or directory")

    # When a dataset is deleted, and its files are removed while it is downloaded, then nobody has to look into it
    assert run(client, dataset_id, work) is None
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
    # And a storage that fails is still logged as an error
    other = status.create()

    def fail(_run: Run) -> pb.IngestResult:
        raise StorageError("scratch/1/source: Input/output error")

    assert run(client, other, fail) is None
    assert any("Input/output error" in record.message for record in caplog.records if record.levelname == "ERROR")


def test_a_stopping_worker_releases_its_stage(status: Status, client: StatusClient) -> None:
    dataset_id = status.create()
    stopping = threading.Event()

    def work(run: Run) -> pb.IngestResult:
        stopping.set()
        return blocked(run)

    assert run(client, dataset_id, work, stopping=stopping) is None
    assert (status.state(dataset_id), status.get(dataset_id).attempt) == ("QUEUED", 2)
    assert status.pending() == [(dataset_id, 2, pb.STAGE_INGEST)]


def test_work_without_progress_is_given_up_as_stalled_although_it_beats(status: Status, client: StatusClient) -> None:
    dataset_id = status.create()
    assert run(client, dataset_id, blocked, limits=Limits(total=60.0, progress=0.6)) is None
    seen = status.get(dataset_id)
    assert (seen.failure.code, seen.state) == ("stalled", pb.STATE_QUEUED)
    assert "no progress" in seen.failure.message


@pytest.mark.parametrize("limits", [Limits(total=60.0, progress=0.6), Limits(total=0.6, progress=60.0)])
def test_a_decoder_that_works_in_vain_is_not_tried_again(status: Status, client: StatusClient, limits: Limits) -> None:
    dataset_id = status.create()

    def work(run: Run) -> pb.IngestResult:
        # Given a decoder that has worked for most of the time
        run.watch_work(time.monotonic)
        return blocked(run)

    # When its time is over, then it is the file's fault, and final
    run(client, dataset_id, work, limits=limits)
    seen = status.get(dataset_id)
    assert (seen.failure.code, seen.failure.retryable) == ("decoder_too_slow", False)
    assert (seen.state, seen.attempt) == (pb.STATE_FAILED, 1)
    assert "Its decoder used" in seen.failure.message


def test_work_before_the_last_progress_is_not_in_vain(status: Status, client: StatusClient) -> None:
    dataset_id = status.create()
    worked = iter([0.0, 1000.0])

    def work(run: Run) -> pb.IngestResult:
        # Given a decoder that has worked long, with progress, and is stopped since
        run.watch_work(lambda: next(worked, 1000.0))
        run.report(tiles_done=1)
        return blocked(run)

    run(client, dataset_id, work, limits=Limits(total=60.0, progress=0.6))
    assert status.get(dataset_id).failure.code == "stalled"


def test_work_longer_than_its_time_is_given_up_although_it_progresses(status: Status, client: StatusClient) -> None:
    dataset_id = status.create()

    def work(run: Run) -> pb.IngestResult:
        count = 0
        while not run.stopped.wait(0.05):
            count += 1
            run.report(bytes_downloaded=count)
        raise Stopped

    run(client, dataset_id, work, limits=Limits(total=0.6, progress=60.0))
    assert "longer than" in status.get(dataset_id).failure.message


def test_an_outcome_is_told_when_statussvc_is_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/rows.sqlite3"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answers: list[pb.CompleteStageResponse | None] = []
    begun, gone = threading.Event(), threading.Event()

    def work(run: Run) -> pb.IngestResult:
        begun.set()
        assert gone.wait(30)
        return RESULT

    client = StatusClient(f"127.0.0.1:{port}")
    # Given a run at work
    with running(url, port=port) as status:
        dataset_id = status.create()
        thread = threading.Thread(target=lambda: answers.append(run(client, dataset_id, work)))
        thread.start()
        assert begun.wait(30)
    # When it ends while statussvc is away, Then it waits for it
    gone.set()
    thread.join(1.2)
    assert thread.is_alive()
    with running(url, port=port) as status:
        thread.join(30)
        assert status.state(dataset_id) == "DOWNLOADED"
    assert answers[0] is not None
    assert answers[0].answer == pb.ANSWER_WON
    client.close()
