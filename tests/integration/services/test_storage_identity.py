"""Which storage a database speaks of, between a real statussvc and real directories."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.background.janitor import Janitor
from pipeline.errors import Conflict, ObjectMissing, StorageLost
from pipeline.identity import StorageIdentity
from pipeline.run import Limits, Run, run_stage
from pipeline.status import StatusClient
from pipeline.storage.directory import DirectoryStorage
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.integration.gateway.test_janitor import make_ready, put, stored
from tests.support.rigs.status_rig import SHA, Status, running

LIMITS = Limits(total=600.0, progress=600.0)


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Status]:
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as rig:
        yield rig


def storage_at(path: Path) -> DirectoryStorage:
    return DirectoryStorage(path)


def identify(path: Path, client: StatusClient, *, adopt: bool = False) -> DirectoryStorage:
    """The directory as a service that starts now has it. Raises StorageLost."""
    storage = storage_at(path)
    StorageIdentity(storage, client, adopt=adopt).require()
    return storage


def test_a_new_storage_and_a_new_database_belong_together_from_then_on(tmp_path: Path, client: StatusClient) -> None:
    # Given two services that start on nothing
    first, second = (identify(tmp_path / "storage", client) for _ in range(2))
    # Then both know the same token, which lies in the storage
    assert first.token == second.token == (tmp_path / "storage" / "tilewright.id").read_text().strip()
    # And an older storage of an older database is taken as it is, once
    assert identify(tmp_path / "storage", client).token == first.token


def test_an_older_release_is_taken_over_with_its_files(tmp_path: Path, status: Status, client: StatusClient) -> None:
    storage = storage_at(tmp_path / "storage")
    _, keys = make_ready(status, storage)
    assert identify(tmp_path / "storage", client).token
    assert stored(storage) >= keys


def test_what_was_begun_and_cut_off_is_taken_up(tmp_path: Path, client: StatusClient) -> None:
    # Given a first start that was killed between the database and the storage
    made = client.identify_storage(pb.IdentifyStorageRequest(empty=True)).token
    # When a service starts anew, then it goes on with that token
    assert identify(tmp_path / "storage", client).token == made


def test_each_kind_of_wrong_storage_is_refused(tmp_path: Path, status: Status, client: StatusClient) -> None:
    # Given a database with files in its storage
    storage = identify(tmp_path / "storage", client)
    make_ready(status, storage)
    # When there is none, an empty one, or another's, then it is refused
    other = tmp_path / "other"
    (other / "sources").mkdir(parents=True)
    (other / "tilewright.id").write_text("f" * 32)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere", tmp_path / "empty", other):
        with pytest.raises(StorageLost, match=str(path)):
            identify(path, client)
    assert not (tmp_path / "nowhere").exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_older_release_whose_volume_is_not_mounted_is_refused(
    tmp_path: Path, status: Status, client: StatusClient
) -> None:
    # Given a database of before there were tokens, and an empty mount point
    make_ready(status, storage_at(tmp_path / "storage"))
    # When a service starts, then it is told that the files are gone
    with pytest.raises(StorageLost, match="gone"):
        identify(tmp_path / "empty", client)


def test_a_new_database_is_refused_a_full_storage(tmp_path: Path, client: StatusClient) -> None:
    put(storage_at(tmp_path / "storage"), "sources/custom_12345678/1")
    with pytest.raises(StorageLost, match="the database is new"):
        identify(tmp_path / "storage", client)


def test_an_operator_may_adopt_either(tmp_path: Path, status: Status, client: StatusClient) -> None:
    # Given a database and a storage of another
    make_ready(status, identify(tmp_path / "storage", client))
    other = tmp_path / "other"
    (other / "sources").mkdir(parents=True)
    (other / "tilewright.id").write_text("f" * 32)
    # When it is adopted, then it is the database's own, and the first is not
    assert identify(other, client, adopt=True).token == "f" * 32
    assert identify(other, client).token == "f" * 32
    with pytest.raises(StorageLost):
        identify(tmp_path / "storage", client)
    # And an empty one gets a token of its own
    assert identify(tmp_path / "empty", client, adopt=True).token == identify(tmp_path / "empty", client).token


def test_nothing_is_deleted_by_a_database_that_does_not_know_the_storage(
    tmp_path: Path, status: Status, client: StatusClient
) -> None:
    # Given a storage of this database, with rubbish in it
    storage = identify(tmp_path / "storage", client)
    put(storage, "sources/custom_12345678/1")
    kept = stored(storage)
    # When a janitor that was started by an older release, or on another storage, asks for garbage
    with pytest.raises(Conflict, match="does not belong to this database"):
        Janitor(client, storage_at(tmp_path / "storage"), 3600.0).sweep()
    # Then it is given none, and neither is one whose storage was changed under it
    (tmp_path / "storage" / "tilewright.id").write_text("f" * 32)
    with pytest.raises(StorageLost):
        Janitor(client, storage, 3600.0).sweep()
    assert stored(storage_at(tmp_path / "storage")) == kept
    # But the right one cleans up
    (tmp_path / "storage" / "tilewright.id").write_text(storage.token)
    assert Janitor(client, storage, 3600.0, StorageIdentity(storage, client)).sweep() == 1


def test_no_call_makes_a_lost_storage_anew(tmp_path: Path, client: StatusClient) -> None:
    # Given a storage that is deleted under a service
    storage = identify(tmp_path / "storage", client)
    path = storage.scratch("run") / "file"
    path.write_bytes(b"x")
    shutil.rmtree(tmp_path / "storage")
    # When it is used, then each call tells that all of it is gone
    for call in (
        lambda: storage.scratch("run"),
        lambda: storage.put_file(path, "sources/a/1"),
        lambda: storage.link("sources/a/1", "sources/b/1"),
        lambda: storage.size("sources/a/1"),
        lambda: storage.get_range("sources/a/1", 0, 1),
        lambda: storage.delete_prefix("sources/a/1"),
        lambda: list(storage.list_prefix("sources")),
        storage.free_bytes,
    ):
        with pytest.raises(StorageLost):
            call()
    # And nothing lies in its place
    assert not (tmp_path / "storage").exists()


def test_a_run_that_loses_its_storage_is_given_back_and_begun_when_it_is_there(
    tmp_path: Path, status: Status, client: StatusClient
) -> None:
    # Given a worker whose volume vanishes in the middle of its work
    root, away = tmp_path / "storage", tmp_path / "away"
    storage = storage_at(root)
    identity = StorageIdentity(storage, client)
    dataset_id = status.create()
    stopping = threading.Event()

    def work(run: object) -> pb.IngestResult:
        root.rename(away)
        storage.put_file(tmp_path / "file", "sources/a/1")
        raise AssertionError("nothing is stored where nothing is")

    wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_INGEST)
    # When the work fails by that
    run_stage(client, wake_up, work, stopping=stopping, limits=LIMITS, storage=identity)
    # Then the stage is given back, and nothing is counted against the dataset
    assert status.state(dataset_id) == "QUEUED"
    assert status.pending() == [(dataset_id, 2, pb.STAGE_INGEST)]
    # And the next one is held until the volume is back
    begun = threading.Event()

    def work_well(run: object) -> pb.IngestResult:
        begun.set()
        return pb.IngestResult(sha256=SHA, bytes=1)

    wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=2, stage=pb.STAGE_INGEST)
    worker = threading.Thread(
        target=run_stage,
        args=(client, wake_up, work_well),
        kwargs={"stopping": stopping, "limits": LIMITS, "storage": identity},
    )
    held = threading.Event()
    real = identity.require

    def require() -> None:
        try:
            real()
        finally:
            held.set()

    identity.require = require  # type: ignore[method-assign]
    worker.start()
    assert held.wait(30)
    assert not begun.is_set()
    assert status.state(dataset_id) == "QUEUED"
    away.rename(root)
    assert begun.wait(30)
    worker.join(30)
    assert status.state(dataset_id) == "DOWNLOADED"


def test_a_build_that_is_missed_is_replaced_and_another_that_took_its_place_is_not(
    status: Status, tmp_path: Path, client: StatusClient
) -> None:
    # Given a ready dataset, and a second of the same bytes whose worker has missed the build's files
    storage = identify(tmp_path / "storage", client)
    first, _ = make_ready(status, storage)
    build = status.get(first).pyramid.build
    storage.delete_prefix("pyramids")
    with pytest.raises(ObjectMissing):
        storage.size(f"pyramids/{status.get(first).pyramid.tile_id}/{build}/tiles.idx")
    second, third = status.create(), status.create()
    for dataset_id, run_id in ((second, "4" * 32), (third, "5" * 32)):
        status.begin(dataset_id, run_id)
    missed = pb.IngestResult(sha256=SHA, bytes=1234, lost_build=build)
    # When it completes, then it waits for the tiler, and the first is shown as it was
    status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id="4" * 32, ingest=missed))
    assert status.state(second) == "DOWNLOADED"
    assert status.get(first).pyramid.build == build
    status.begin(second, "6" * 32, stage=pb.STAGE_TILER)
    assert status.complete_tiler("6" * 32).answer == pb.ANSWER_WON
    # Then the new build counts for both
    assert {status.get(one).pyramid.build for one in (first, second)} == {"6" * 32}
    # And a third that has missed the old one is content with the new
    status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id="5" * 32, ingest=missed))
    assert status.state(third) == "READY"


def test_a_worker_that_is_stopping_gives_back_what_it_is_given_and_leaves_a_lost_storage(
    tmp_path: Path, status: Status, client: StatusClient
) -> None:
    # Given a worker that was asked to stop, and is given one job more
    storage = storage_at(tmp_path / "storage")
    identity, stopping = StorageIdentity(storage, client), threading.Event()
    stopping.set()
    dataset_id = status.create()

    def work(run: Run) -> pb.IngestResult:
        assert run.stopped.wait(30)
        run.check()
        raise AssertionError

    wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_INGEST)
    run_stage(client, wake_up, work, stopping=stopping, limits=LIMITS, storage=identity)
    # Then the job is another's at once: it was begun and given back
    assert status.pending() == [(dataset_id, 2, pb.STAGE_INGEST)]
    # And without its storage it is not even begun, and the worker ends
    shutil.rmtree(tmp_path / "storage")
    wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=2, stage=pb.STAGE_INGEST)
    assert run_stage(client, wake_up, work, stopping=stopping, limits=LIMITS, storage=identity) is None
    assert status.state(dataset_id) == "QUEUED"
