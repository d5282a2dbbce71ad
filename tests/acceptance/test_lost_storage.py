"""The storage or the database vanishes under a stack, or is another's at its start: an outage, and nothing is lost."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.acceptance.conftest import StartStack
from tests.acceptance.jobs import finish, ready, submit
from tests.acceptance.test_restarts import talking_to
from tests.support.network import answers
from tests.support.network.sources import SourceServer, stored
from tests.support.rigs import waiting
from tilewright.embedded import LaunchedStack, StackDied


def post(stack: LaunchedStack, url: str) -> requests.Response:
    return requests.post(f"{stack.url}/api/datasets", json={"name": "x", "url": url}, timeout=60)


def readyz(stack: LaunchedStack) -> requests.Response:
    return requests.get(f"{stack.url}/readyz", timeout=60)


def tile(stack: LaunchedStack, tile_info: dict[str, Any]) -> int:
    return requests.get(f"{stack.url}/tiles/{tile_info['tile_id']}_files/0/0_0.jpg", timeout=60).status_code


def make_ready(stack: LaunchedStack, url: str) -> dict[str, Any]:
    with talking_to(stack) as client:
        return ready(client, submit(client, url))


def sweeps(stack: LaunchedStack) -> int:
    """How many of a janitor's sweeps were refused so far, by its log."""
    return stack.log.read_text().count("the sweep of storage is incomplete")


def settle(stack: LaunchedStack) -> None:
    """Have all builds be an hour old: younger ones are not missed."""
    with closing(sqlite3.connect(stack.data / "tilewright.sqlite3", timeout=60)) as rows, rows:
        rows.execute("UPDATE pyramids SET created_at = created_at - 3600")


def attempts(stack: LaunchedStack) -> list[tuple[str, int]]:
    """State and attempt of each dataset."""
    with closing(sqlite3.connect(stack.data / "tilewright.sqlite3", timeout=60)) as rows:
        return rows.execute("SELECT state, attempt FROM datasets ORDER BY seq").fetchall()


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and "scratch" not in path.parts}


def test_a_storage_that_is_deleted_under_a_stack_is_an_outage_until_it_is_back(
    start_stack: StartStack, sources: SourceServer
) -> None:
    # Given a stack with a dataset that is ready
    stack = start_stack()
    tile_info = make_ready(stack, sources.url("/map.jpg"))
    storage = stack.data / "storage"
    # When its storage vanishes, as by a volume that is unmounted
    storage.rename(stack.data / "away")
    # Then both say so, with the directory's name, and nothing is made in its place
    waiting.until(lambda: post(stack, sources.url("/map.jpg")).status_code == 503, "a refusal")
    for answer in (post(stack, sources.url("/map.jpg")), readyz(stack)):
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
        assert answer.headers["Retry-After"]
        assert str(storage) in answer.json()["detail"]
    looked = requests.post(f"{stack.url}/api/inspections", json={"url": sources.url("/map.jpg")}, timeout=60)
    assert (looked.status_code, looked.json()["code"]) == (503, "storage_unavailable")
    thumbnail = requests.get(f"{stack.url}/tiles/{tile_info['tile_id']}/thumbnail.jpg", timeout=60)
    assert (thumbnail.status_code, thumbnail.json()["code"]) == (503, "storage_unavailable")
    assert not storage.exists()
    # And when it is back, then work goes on, with what was there
    (stack.data / "away").rename(storage)
    waiting.until(lambda: readyz(stack).status_code == 200, "a stack that is ready again")
    assert tile(stack, tile_info) == 200
    make_ready(stack, sources.url("/glass.png"))


def test_an_empty_folder_in_the_storages_place_is_not_written_to(
    start_stack: StartStack, sources: SourceServer
) -> None:
    # Given a stack whose storage's volume is gone, so that its mount point is empty
    stack = start_stack()
    make_ready(stack, sources.url("/map.jpg"))
    storage = stack.data / "storage"
    storage.rename(stack.data / "away")
    storage.mkdir()
    waiting.until(lambda: readyz(stack).status_code == 503, "an outage")
    # When the stack is stopped and started anew, then it does not start over
    assert stack.stop() == 0
    with pytest.raises(StackDied, match="--adopt-storage"):
        start_stack()
    assert list(storage.iterdir()) == []


def test_a_data_directory_that_is_deleted_takes_nothing_more(start_stack: StartStack, sources: SourceServer) -> None:
    # Given a stack whose whole data directory is deleted, and another stack in its place
    first = start_stack(TILEWRIGHT_SWEEP_INTERVAL="0.2")
    make_ready(first, sources.url("/map.jpg"))
    shutil.rmtree(first.data, ignore_errors=True)
    shutil.rmtree(first.data, ignore_errors=True)
    # When something is posted, then it is never accepted: no row of it would be found again
    answer = post(first, sources.url("/map.jpg"))
    assert answer.status_code == 503
    assert readyz(first).status_code == 503
    # And a second stack on the same path keeps what it makes, although the first one's janitor sweeps on
    second = start_stack()
    tile_info = make_ready(second, sources.url("/map.jpg"))
    kept = files(second.data / "storage")
    assert post(first, sources.url("/map.jpg")).status_code == 503
    seen = sweeps(first)
    waiting.until(lambda: sweeps(first) > seen + 2, "further sweeps of the first janitor")
    first.stop()
    assert files(second.data / "storage") == kept
    assert tile(second, tile_info) == 200


def test_a_new_database_takes_no_full_storage_for_rubbish(start_stack: StartStack, sources: SourceServer) -> None:
    # Given a stopped stack whose database is gone
    stack = start_stack()
    make_ready(stack, sources.url("/map.jpg"))
    assert stack.stop() == 0
    for path in stack.data.glob("tilewright.sqlite3*"):
        path.unlink()
    kept = files(stack.data / "storage")
    # When it is started, then it says what to do, and removes nothing
    with pytest.raises(StackDied, match="belongs to another database"):
        start_stack()
    assert files(stack.data / "storage") == kept


def test_a_lost_storage_is_adopted_on_request_and_what_it_had_is_built_anew(
    start_stack: StartStack, sources: SourceServer
) -> None:
    # Given a stopped stack whose storage is lost for good
    stack = start_stack()
    before = make_ready(stack, sources.url("/map.jpg"))
    assert stack.stop() == 0
    shutil.rmtree(stack.data / "storage")
    with pytest.raises(StackDied, match="gone"):
        start_stack()
    # When the operator says so, then it starts
    adopted = start_stack(TILEWRIGHT_ADOPT_STORAGE="true")
    # And the same picture is downloaded and built again, under the address that it had
    assert tile(adopted, before) == 404
    after = make_ready(adopted, sources.url("/map.jpg"))
    assert after["tile_id"] == before["tile_id"]
    assert tile(adopted, before) == 200
    assert adopted.stop() == 0
    # And from then on it is the stack's own
    assert tile(start_stack(), before) == 200


def test_a_pyramid_whose_files_are_gone_is_built_anew(start_stack: StartStack, sources: SourceServer) -> None:
    # Given a ready dataset whose pyramid was deleted by hand, in a storage that is the right one
    stack = start_stack()
    before = make_ready(stack, sources.url("/map.jpg"))
    shutil.rmtree(stack.data / "storage" / "pyramids")
    # When the same bytes are submitted again, then they are ready with tiles
    after = make_ready(stack, sources.url("/map.jpg"))
    assert after["tile_id"] == before["tile_id"]
    assert tile(stack, after) == 200


def test_a_lost_pyramid_is_made_again_when_somebody_looks_at_it(start_stack: StartStack, sources: SourceServer) -> None:
    # Given two ready datasets with the same pyramid, whose files were deleted, and a janitor that does not sweep
    stack = start_stack(TILEWRIGHT_SWEEP_INTERVAL="3600")
    before = make_ready(stack, sources.url("/map.jpg"))
    assert make_ready(stack, sources.url("/map.jpg")) == before
    settle(stack)
    asked = sources.requests["/map.jpg"]
    shutil.rmtree(stack.data / "storage" / "pyramids")
    # When a tile is asked for, then it is not there for now, and comes back by itself, under its old address
    assert tile(stack, before) == 404
    waiting.until(lambda: tile(stack, before) == 200, "a tile that is back")
    # And one of them has worked for both, from the stored original
    waiting.until(lambda: sorted(attempts(stack)) == [("READY", 1), ("READY", 2)], "an end")
    assert sources.requests["/map.jpg"] == asked


def test_a_pyramid_that_has_lost_only_its_thumbnail_is_made_again(
    start_stack: StartStack, sources: SourceServer
) -> None:
    # Given a ready dataset of whose pyramid only the small pictures are gone
    stack = start_stack(TILEWRIGHT_SWEEP_INTERVAL="3600")
    made = make_ready(stack, sources.url("/map.jpg"))
    settle(stack)
    for name in ("thumbnail.jpg", "full.jpg"):
        (file,) = (stack.data / "storage" / "pyramids").glob(f"*/*/{name}")
        file.unlink()
    address = f"{stack.url}/tiles/{made['tile_id']}/thumbnail.jpg"
    # When it is asked for, then it comes back by itself
    assert requests.get(address, timeout=60).status_code == 404
    waiting.until(lambda: requests.get(address, timeout=60).status_code == 200, "a thumbnail that is back")


def test_a_sweep_finds_what_is_lost_and_downloads_what_is_lost_with_it(
    start_stack: StartStack, sources: SourceServer
) -> None:
    # Given a ready dataset that lost its pyramid and its original, and at which nobody looks
    stack = start_stack(TILEWRIGHT_SWEEP_INTERVAL="0.2")
    before = make_ready(stack, sources.url("/glass.png"))
    settle(stack)
    asked = sources.requests["/glass.png"]
    for lost in ("sources", "pyramids"):
        shutil.rmtree(stack.data / "storage" / lost)
    # When the janitor sweeps, then both come back
    waiting.until(lambda: any(path.name == "pyramid.json" for path in files(stack.data)), "a pyramid")
    waiting.until(lambda: attempts(stack)[0][0] == "READY", "an end")
    assert sources.requests["/glass.png"] > asked
    assert requests.get(f"{stack.url}{before['dzi']}", timeout=60).status_code == 200


def test_what_cannot_be_made_again_fails_with_its_reason_and_may_be_retried(
    start_stack: StartStack, sources: SourceServer, picture_folder: Path
) -> None:
    # Given a ready dataset that lost all its files, and whose source is gone as well
    stack = start_stack(TILEWRIGHT_SWEEP_INTERVAL="3600")
    url = sources.on("/for-a-while.jpg", stored(picture_folder / "map.jpg"))
    with talking_to(stack) as client:
        dataset_id = submit(client, url)
        before = ready(client, dataset_id)
        settle(stack)
        sources.on("/for-a-while.jpg", answers.status(404))
        for lost in ("sources", "pyramids"):
            shutil.rmtree(stack.data / "storage" / lost)
        # When somebody looks at it, then it ends with the reason
        assert tile(stack, before) == 404
        waiting.until(lambda: attempts(stack)[0][0] == "FAILED", "a failure")
        assert finish(client, dataset_id)["error"]["code"] == "source_not_found"
        # And once the source is back, a retry makes it whole
        sources.on("/for-a-while.jpg", stored(picture_folder / "map.jpg"))
        client.retry(dataset_id)
        assert ready(client, dataset_id) == before
        assert tile(stack, before) == 200


def test_an_outage_of_storage_makes_nothing_again(start_stack: StartStack, sources: SourceServer) -> None:
    # Given two ready datasets, and a janitor that sweeps all the time
    stack = start_stack(TILEWRIGHT_SWEEP_INTERVAL="0.05")
    tile_info = make_ready(stack, sources.url("/map.jpg"))
    unopened = make_ready(stack, sources.url("/glass.png"))
    settle(stack)
    storage = stack.data / "storage"
    for has_mount_point in (False, True):
        # When its storage is away, or only an empty mount point is there, and people look at it
        storage.rename(stack.data / "away")
        if has_mount_point:
            storage.mkdir()
        assert requests.get(f"{stack.url}{unopened['dzi']}", timeout=60).status_code in {404, 503}
        # A janitor looks at what was asked for after each sweep.
        seen = sweeps(stack)
        waiting.until(lambda: sweeps(stack) > seen + 3, "refused sweeps")  # noqa: B023  called at once
        if has_mount_point:
            storage.rmdir()
        (stack.data / "away").rename(storage)
        # Then nothing is done once it is back, however often it is swept
        leftover = storage / "scratch" / ("9" * 32)
        leftover.mkdir()
        waiting.until(lambda: not leftover.exists(), "a sweep")  # noqa: B023  called at once
        waiting.until(lambda: readyz(stack).status_code == 200, "a stack that is ready again")
        assert attempts(stack) == [("READY", 1), ("READY", 1)]
        assert tile(stack, tile_info) == 200
    assert "tiles it again" not in stack.log.read_text()


def test_a_second_stack_is_refused_also_when_the_lock_file_was_deleted(start_stack: StartStack) -> None:
    # Given a stack whose lock files were deleted
    stack = start_stack()
    for lock in stack.data.glob("*.lock"):
        lock.unlink()
    # When a second one is started on its directory, then it is refused
    with pytest.raises(StackDied, match="in use"):
        start_stack()
