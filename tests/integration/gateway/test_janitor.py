"""The janitor against a real statussvc and a real directory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from gateway.background.janitor import Janitor
from gateway.background.lost_builds import LostBuilds
from pipeline.pyramids import FILES
from pipeline.status import StatusClient
from pipeline.storage.directory import DirectoryStorage, pyramid_key, source_key
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.repository import garbage
from tests.support.rigs.status_rig import Status, running
from tests.support.rigs.waiting import until

INGEST, TILER, LOST = "1" * 32, "2" * 32, "9" * 32


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Status]:
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as rig:
        yield rig


@pytest.fixture
def storage(tmp_path: Path) -> DirectoryStorage:
    return DirectoryStorage(tmp_path / "storage")


@pytest.fixture
def janitor(status: Status, storage: DirectoryStorage) -> Iterator[Janitor]:
    client = StatusClient(status.address)
    janitor = Janitor(client, storage, interval=3600.0)
    yield janitor
    janitor.stop()
    client.close()


def put(storage: DirectoryStorage, key: str) -> None:
    folder = storage.scratch("maker")
    (folder / "file").write_bytes(b"x")
    storage.put_file(folder / "file", key)
    storage.drop_scratch("maker")


def stored(storage: DirectoryStorage) -> set[str]:
    return {key for kind in ("sources", "pyramids", "scratch") for key in storage.list_prefix(kind)} - {
        f"{kind}/" for kind in ("sources", "pyramids", "scratch")
    }


def make_ready(status: Status, storage: DirectoryStorage) -> tuple[str, set[str]]:
    """A ready dataset with its source and its build; returns its id and their keys."""
    dataset_id = status.create()
    status.begin(dataset_id, INGEST)
    put(storage, source_key(dataset_id, 1))
    status.complete_ingest(INGEST)
    tile_id = status.begin(dataset_id, TILER, stage=pb.STAGE_TILER).tile_id
    keys = {pyramid_key(tile_id, TILER, name) for name in ("pyramid.szi", "tiles.idx")}
    for key in keys:
        put(storage, key)
    status.complete_tiler(TILER)
    return dataset_id, keys | {source_key(dataset_id, 1)}


def test_a_sweep_removes_leftovers_and_nothing_that_is_referred_to_or_written(
    status: Status, storage: DirectoryStorage, janitor: Janitor
) -> None:
    # Given a ready dataset, a run at work, and what dead runs left
    _, kept = make_ready(status, storage)
    working = status.create()
    status.begin(working, "3" * 32)
    (storage.scratch("3" * 32) / "source").write_bytes(b"half")
    (storage.scratch(LOST) / "source").write_bytes(b"half")
    storage.scratch("8" * 32)
    put(storage, source_key(working, 7))
    put(storage, pyramid_key("f" * 64, LOST, "pyramid.szi"))
    # When the janitor sweeps
    assert janitor.sweep() == 4
    # Then only what is used is left, and a second sweep finds nothing
    assert stored(storage) == kept | {f"scratch/{'3' * 32}/source"}
    assert janitor.sweep() == 0


def test_a_deleted_dataset_takes_its_source_and_pyramid_along_unless_another_has_the_same(
    status: Status, storage: DirectoryStorage, janitor: Janitor
) -> None:
    # Given two datasets with the same bytes
    first, keys = make_ready(status, storage)
    second = status.create()
    status.begin(second, "4" * 32)
    put(storage, source_key(second, 1))
    status.complete_ingest("4" * 32)
    assert status.state(second) == "READY"
    # When the first is deleted, Then its source goes, and the pyramid stays
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=first))
    assert janitor.sweep() == 1
    assert stored(storage) == (keys - {source_key(first, 1)}) | {source_key(second, 1)}
    # When the second is deleted too, Then nothing is left
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=second))
    janitor.sweep()
    assert stored(storage) == set()


def test_a_pyramid_whose_files_were_lost_is_built_anew_once_no_dataset_refers_to_it(
    status: Status, storage: DirectoryStorage, janitor: Janitor
) -> None:
    # Given a ready dataset whose files were lost, with the whole storage
    dataset_id, _ = make_ready(status, storage)
    storage.delete_prefix("pyramids")
    storage.delete_prefix("sources")
    # When it is deleted and storage is swept
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=dataset_id))
    janitor.sweep()
    # Then the same bytes are tiled again
    again = status.create()
    status.begin(again, "5" * 32)
    assert status.complete_ingest("5" * 32).HasField("next")


def test_a_sweep_of_many_leftovers_asks_in_pieces(status: Status, storage: DirectoryStorage, janitor: Janitor) -> None:
    # Given more leftovers than may be asked about in one call
    for number in range(garbage.MOST + 50):
        storage.scratch(f"{number:032x}")
    # When the janitor sweeps, then all of them go
    assert janitor.sweep() == garbage.MOST + 50
    assert stored(storage) == set()


@pytest.mark.parametrize(
    ("count", "code", "said"),
    [
        (
            600,
            grpc.StatusCode.INVALID_ARGUMENT,
            "found: must have at most 500 items; ask about the others in further calls",
        ),
        (
            3000,
            grpc.StatusCode.INVALID_ARGUMENT,
            "LeaseGarbageRequest.found: has 3,000 entries; at most 2,000 are allowed",
        ),
        (60_000, grpc.StatusCode.RESOURCE_EXHAUSTED, ""),
    ],
)
def test_a_call_that_asks_about_too_much_is_refused_and_holds_up_nobody(
    status: Status, count: int, code: grpc.StatusCode, said: str
) -> None:
    # Given a request about so many things, of each kind, as one caller may send it
    kinds = ("sources/custom_{:08x}/1", "pyramids/{:064x}/1/", "scratch/{:032x}/")
    found = [pb.StoredItem(prefix=kind.format(number)) for number in range(count // 3) for kind in kinds]
    request = pb.LeaseGarbageRequest(found=found)
    # When it is sent, then it is refused in words
    with pytest.raises(grpc.RpcError) as caught:
        status.pipeline.LeaseGarbage(request)
    assert caught.value.code() is code
    assert said in (caught.value.details() or "")


def test_a_sweep_has_only_so_many_pyramids_made_again(
    status: Status, storage: DirectoryStorage, janitor: Janitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statussvc.db.repository.lost_builds.SETTLED", -1.0)
    monkeypatch.setattr("gateway.background.lost_builds.PAGE", 1)
    monkeypatch.setattr("gateway.background.lost_builds.MOST_REPORTED", 1)
    # Given three ready datasets, of which two have lost their pyramids
    tile_ids = {}
    for digit in "123":
        dataset_id = status.create()
        status.begin(dataset_id, digit * 32)
        status.complete_ingest(digit * 32, digit * 64)
        tile_id = status.begin(dataset_id, digit * 31 + "f", stage=pb.STAGE_TILER).tile_id
        status.complete_tiler(digit * 31 + "f")
        for name in FILES:
            put(storage, pyramid_key(tile_id, digit * 31 + "f", name))
        tile_ids[tile_id] = dataset_id
    whole, *lost = tile_ids
    for tile_id in lost:
        storage.delete_prefix(f"pyramids/{tile_id}")

    def made_again() -> set[str]:
        return {tile_id for tile_id, dataset_id in tile_ids.items() if status.state(dataset_id) == "DOWNLOADED"}

    # When the janitor looks around, then each sweep has one made again, and what is whole stays
    for count in (1, 2, 2):
        janitor.check_next()
        assert len(made_again()) == count
    assert whole not in made_again()


def test_a_statussvc_that_is_older_than_the_janitor_costs_it_no_sweep(
    status: Status, storage: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a statussvc that has no such call
    with grpc.insecure_channel(status.address) as channel:
        call = channel.unary_unary(
            "/tilewright.status.v1.PipelineService/NotThereYet",
            request_serializer=pb.ListBuildsRequest.SerializeToString,
            response_deserializer=pb.ListBuildsResponse.FromString,
        )
        monkeypatch.setattr(StatusClient, "list_builds", lambda _client, request: call(request))
        client = StatusClient(status.address)
        janitor = Janitor(client, storage, interval=0.05)
        # When the janitor sweeps, then leftovers go, and nothing is wrong
        leftovers = [storage.scratch(digit * 32) for digit in "89"]
        janitor.start()
        until(lambda: not any(leftover.exists() for leftover in leftovers), "a sweep")
        leftovers = [storage.scratch("7" * 32)]
        until(lambda: not leftovers[0].exists(), "another sweep")
        assert janitor.state() == "ok"
        janitor.stop()
        client.close()


def test_what_is_asked_for_without_pause_is_looked_at_once(storage: DirectoryStorage) -> None:
    # Given a pyramid that cannot be opened
    builds = LostBuilds(StatusClient("127.0.0.1:1"), storage, None)
    # When a crowd asks for it, then it is looked at once, and another is looked at all the same
    assert [builds.suspect("a" * 64) for _ in range(100)] == [True] + [False] * 99
    assert builds.suspect("b" * 64)


def test_it_sweeps_at_start_when_poked_and_outlives_a_failed_sweep(
    status: Status, storage: DirectoryStorage, janitor: Janitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept = threading.Semaphore(0)
    sweep = janitor.sweep

    def counted() -> int:
        try:
            return sweep()
        finally:
            swept.release()

    monkeypatch.setattr(janitor, "sweep", counted)
    janitor.start()
    assert swept.acquire(timeout=30)
    put(storage, source_key("custom_ffffffff", 1))
    janitor.poke()
    assert swept.acquire(timeout=30)
    assert stored(storage) == set()

    # Given a volume that is gone, When it sweeps, Then it fails quietly and goes on with the next poke
    def away() -> int:
        swept.release()
        raise OSError("the volume is gone")

    monkeypatch.setattr(janitor, "sweep", away)
    janitor.poke()
    assert swept.acquire(timeout=30)
    monkeypatch.setattr(janitor, "sweep", counted)
    janitor.poke()
    assert swept.acquire(timeout=30)
