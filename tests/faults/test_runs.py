"""Runs that die, freeze, stall, are given back or cannot tell their outcome: each is counted as what it was."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from pipeline.run import Limits, Run, run_stage
from pipeline.status import StatusClient
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.faults.conftest import NewPicture
from tests.faults.farm import QUICK, Farm
from tests.faults.invariants import Expected, check_invariants, children, keys
from tests.support.network.answers import gated, sequence, whole
from tests.support.network.sources import SourceServer
from tests.support.rigs import status_rig
from tests.support.rigs.waiting import until

LEASE = float(QUICK["TILEWRIGHT_LEASE_SECONDS"])


def test_a_worker_that_one_dataset_kills_three_times_is_not_given_it_again(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    data, other = picture(), picture()
    # Given a dataset that kills each tiler that takes it
    mark = farm.tiler.arm("tiler_mid_build", times=3)
    dataset_id = farm.submit(sources.on("/poison.jpg", whole(data)))
    # When it has done so three times, then it is failed, and the next dataset is not held up
    assert farm.finish(dataset_id).failure.code == "worker_died"
    assert mark.exists()
    next_id = farm.submit(sources.on("/next.jpg", whole(other)))
    farm.finish(next_id)
    died = Expected(state=pb.STATE_FAILED, code="worker_died", attempts=3, crashes=3)
    check_invariants(farm, {dataset_id: died, next_id: Expected(other)})
    # And a retry counts anew, and takes the download that is there
    assert farm.act("POST", dataset_id, "/retry") == 202
    farm.finish(dataset_id)
    assert sources.requests["/poison.jpg"] == 1
    check_invariants(farm, {dataset_id: Expected(data, attempts=4)})


def test_a_frozen_download_that_wakes_after_its_lease_changes_nothing(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    data = picture()
    # Given a worker that freezes when it has stored its download
    mark = farm.ingest.arm("ingest_before_complete", "SIGSTOP", dramatiq_queue_prefetch="1")
    dataset_id = farm.submit(sources.on("/frozen.jpg", whole(data)))
    until(mark.exists, "a frozen worker")
    # When its lease has expired, another worker has done its work, and it wakes
    farm.add_worker("ingest-2", "ingest").start()
    farm.finish(dataset_id)
    farm.ingest.signal(signal.SIGCONT)
    # Then its outcome is refused, and what it stored is swept
    until(lambda: "the result was ANSWER_REFUSED" in farm.ingest.log.read_text(), "a refused result")
    assert len(list(keys(farm, f"sources/{dataset_id}"))) == 2
    check_invariants(farm, {dataset_id: Expected(data, attempts=2, crashes=1)})


def test_a_frozen_tiling_that_wakes_after_its_lease_changes_nothing(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    data = picture()
    # Given a worker that freezes when it has stored its build
    mark = farm.tiler.arm("tiler_before_complete", "SIGSTOP")
    dataset_id = farm.submit(sources.on("/frozen-tiling.jpg", whole(data)))
    until(mark.exists, "a frozen worker")
    # When its lease has expired, another worker has done its work, and it wakes
    farm.add_worker("tiler-2", "tiler").start()
    farm.finish(dataset_id)
    farm.tiler.signal(signal.SIGCONT)
    # Then its outcome is refused, the other's build counts, and its own is swept
    until(lambda: "the result was ANSWER_REFUSED" in farm.tiler.log.read_text(), "a refused result")
    tile_id = farm.row(dataset_id)["tile_id"]
    assert len({key.split("/")[2] for key in keys(farm, f"pyramids/{tile_id}")}) == 2
    check_invariants(farm, {dataset_id: Expected(data, attempts=2, crashes=1)})


def test_a_download_without_progress_is_stalled_although_it_beats(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    data = picture()
    # Given a server that stops in the middle of its first answer
    source = sources.on("/stalled.jpg", sequence(gated(data, 300_000, threading.Event()), whole(data)))
    farm.ingest.begin_anew(TILEWRIGHT_STAGE_PROGRESS_LIMIT="2")
    # When the limit is over, then the next attempt is made, and told why
    dataset_id = farm.submit(source)
    assert farm.await_state(dataset_id, pb.STATE_QUEUED, attempt=2).failure.code == "stalled"
    farm.finish(dataset_id)
    check_invariants(farm, {dataset_id: Expected(data, attempts=2, retries=1)})


def test_a_tiling_that_hangs_in_its_decoder_is_stalled(farm: Farm, sources: SourceServer, picture: NewPicture) -> None:
    data = picture()
    # Given a child that hangs
    mark = farm.tiler.arm("tiler_child_mid_build", "SIGSTOP", TILEWRIGHT_STAGE_PROGRESS_LIMIT="2")
    dataset_id = farm.submit(sources.on("/hangs.jpg", whole(data)))
    # When the limit is over, then the child is killed, and the next attempt is made
    assert farm.await_state(dataset_id, pb.STATE_DOWNLOADED, attempt=2).failure.code == "stalled"
    assert mark.exists()
    farm.finish(dataset_id)
    check_invariants(farm, {dataset_id: Expected(data, attempts=2, retries=1)})


def test_orderly_restarts_of_workers_in_mid_job_cost_attempts_only(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    data, gate = picture(), threading.Event()
    source = sources.on("/restarts.jpg", gated(data, 300_000, gate))
    # Given a download in its middle, when its worker is restarted, more often than crashes are allowed
    dataset_id = farm.submit(source)
    for count in range(1, 4):
        sources.wait_for("/restarts.jpg", count)
        farm.await_state(dataset_id, pb.STATE_DOWNLOADING, attempt=count)
        farm.ingest.restart()
    # And its tiling, too, while the decoder hangs
    mark = farm.tiler.arm("tiler_child_mid_build", "SIGSTOP")
    gate.set()
    for _ in range(2):
        until(mark.exists, "a hanging child")
        farm.tiler.stop()
        mark = farm.tiler.arm("tiler_child_mid_build", "SIGSTOP")
    until(mark.exists, "a hanging child")
    farm.tiler.restart()
    # Then the dataset ends ready, nobody being blamed
    farm.finish(dataset_id)
    runs = [run for run in farm.rows("runs") if run["dataset_id"] == dataset_id]
    released = sum(run["outcome"] == "released" for run in runs)
    # One that is stopping may be given the job once more before it is gone.
    assert released >= 3 + 3
    check_invariants(farm, {dataset_id: Expected(data, attempts=1 + released)})


def test_thirty_orderly_stops_are_never_too_many(tmp_path: Path) -> None:
    with status_rig.running(f"sqlite:///{tmp_path}/rows.sqlite3") as status:
        client, stopping = StatusClient(status.address), threading.Event()
        dataset_id = status.create()

        def interrupted(run: Run) -> pb.IngestResult:
            assert run.stopped.wait(30)
            run.check()
            raise AssertionError

        # When a run is stopped at its start by its worker's stop, thirty times
        stopping.set()
        for attempt in range(1, 31):
            wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=pb.STAGE_INGEST)
            limits = Limits(total=60.0, progress=60.0)
            assert run_stage(client, wake_up, interrupted, stopping=stopping, limits=limits) is None
        # Then it waits for the thirty-first
        assert (status.state(dataset_id), status.get(dataset_id).attempt) == ("QUEUED", 31)
        client.close()


def test_statussvc_may_be_away_for_longer_than_a_lease(farm: Farm, sources: SourceServer, picture: NewPicture) -> None:
    data, gate = picture(), threading.Event()
    # Given a download in its middle
    dataset_id = farm.submit(sources.on("/away.jpg", gated(data, 300_000, gate)))
    farm.await_state(dataset_id, pb.STATE_DOWNLOADING)
    # When statussvc is killed, and stays away for several leases, and the download ends meanwhile
    farm.statussvc.down()
    gate.set()
    until(lambda: list(keys(farm, f"sources/{dataset_id}")), "a stored download")
    # Then nothing is answered wrongly
    for answer in (farm.session.get(f"{farm.url}/api/datasets/{dataset_id}/status"), farm.post("http://example.org/")):
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) > 0
    threading.Event().wait(3 * LEASE)
    # And when it is back, the outcome is told, at no cost
    farm.statussvc.start()
    farm.finish(dataset_id)
    check_invariants(farm, {dataset_id: Expected(data)})


def test_statussvc_killed_under_a_run_costs_nothing(farm: Farm, sources: SourceServer, picture: NewPicture) -> None:
    data, gate = picture(), threading.Event()
    dataset_id = farm.submit(sources.on("/status-killed.jpg", gated(data, 300_000, gate)))
    farm.await_state(dataset_id, pb.STATE_DOWNLOADING)
    # When statussvc is killed and started again, then the run goes on by a fresh lease
    farm.statussvc.kill()
    gate.set()
    farm.finish(dataset_id)
    check_invariants(farm, {dataset_id: Expected(data)})


def test_a_power_cut_in_the_middle_of_everything_loses_nothing(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    tiled, loaded, waiting = picture(), picture(), picture()
    # Given a tiling and a download in their middles, and one that waits behind them
    mark = farm.tiler.arm("tiler_child_mid_build", "SIGSTOP")
    first = farm.submit(sources.on("/cut-tiling.jpg", whole(tiled)))
    until(mark.exists, "a hanging child")
    gate = threading.Event()
    second = farm.submit(sources.on("/cut-download.jpg", gated(loaded, 300_000, gate)))
    farm.await_state(second, pb.STATE_DOWNLOADING)
    third = farm.submit(sources.on("/cut-waiting.jpg", whole(waiting)))
    farm.await_state(third, pb.STATE_DOWNLOADED)
    # When all services are killed at once and started again
    services = (farm.gateway, farm.ingest, farm.tiler, farm.statussvc)
    for service in services:
        service.down()
    until(lambda: not list(children(farm)), "the end of all children")
    gate.set()
    for service in services:
        service.start()
    # Then all end ready: what was at work died once, what waited did not
    for dataset_id in (first, second, third):
        farm.finish(dataset_id)
    died = {first: Expected(tiled, attempts=2, crashes=1), second: Expected(loaded, attempts=2, crashes=1)}
    check_invariants(farm, died | {third: Expected(waiting)})


def test_the_same_holds_on_postgresql(postgres_farm: Farm, sources: SourceServer, picture: NewPicture) -> None:
    farm = postgres_farm
    expected = {}
    for service, point, attempts, crashes in (
        (farm.gateway, "gateway_after_create", 1, 0),
        (farm.ingest, "ingest_before_complete", 2, 1),
        (farm.tiler, "tiler_before_complete", 2, 1),
    ):
        mark, data = service.arm(point), picture()
        dataset_id = farm.submit(sources.on(f"/postgres-{point}.jpg", whole(data)))
        farm.finish(dataset_id)
        assert mark.exists(), f"{point} was not reached"
        expected[dataset_id] = Expected(data, attempts=attempts, crashes=crashes)
    check_invariants(farm, expected)
