"""However a stack ends, what it has accepted comes to its end after the next start."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from pipeline.file_lock import holding, this_boot
from tests.acceptance.conftest import Command, StartStack
from tests.acceptance.jobs import finish, submit, until
from tests.support.network.answers import gated
from tests.support.network.sources import SourceServer
from tests.support.rigs import waiting
from tilewright.client import Client
from tilewright.embedded import LaunchedStack, StackDied, launch

SWEEP_LIMIT = 60.0
"""Seconds for the sweep at a start: the next one comes only after five minutes."""

STOP_LIMIT = 10.0
"""Seconds that `tilewright up` promises to need for its end: the issue's own number."""


@contextmanager
def talking_to(stack: LaunchedStack) -> Iterator[Client]:
    client = Client(stack.url)
    yield client
    client.close()


def assert_all_tiles_are_there(stack: LaunchedStack, client: Client, dataset_id: str) -> None:
    """The last tile of the highest level, the first of the lowest, and the descriptor; nothing left in scratch."""
    tile_info = client.get(dataset_id)["tile_info"]
    level = (max(tile_info["width"], tile_info["height"]) - 1).bit_length()
    column, row = ((tile_info[side] - 1) // 256 for side in ("width", "height"))
    base = f"{stack.url}/tiles/{tile_info['tile_id']}"
    for url in (f"{base}.dzi", f"{base}_files/0/0_0.jpg", f"{base}_files/{level}/{column}_{row}.jpg"):
        assert requests.get(url, timeout=60).status_code == 200
    await_empty(stack.data / "storage" / "scratch")


def await_empty(folder: Path) -> None:
    """Returns once nothing is in it: the sweep at the start takes what a kill has left, beside the work."""
    waiting.until(lambda: not list(folder.iterdir()), "an empty scratch", SWEEP_LIMIT)


def test_a_kill_in_the_middle_of_a_download_loses_nothing(
    start_stack: StartStack, sources: SourceServer, picture_folder: Path
) -> None:
    # Given a download that hangs in its middle
    gate = threading.Event()
    data = (picture_folder / "map.jpg").read_bytes()
    url = sources.on("/killed-download.jpg", gated(data, len(data) // 2, gate))
    stack = start_stack()
    with talking_to(stack) as client:
        dataset_id = submit(client, url)
        until(client, dataset_id, "DOWNLOADING")
        sources.wait_for("/killed-download.jpg")

    # When the stack is killed, and started again on the same directory
    stack.kill()
    gate.set()
    stack = start_stack()

    # Then the dataset ends ready by itself
    with talking_to(stack) as client:
        assert finish(client, dataset_id)["status"] == "ready"
        assert_all_tiles_are_there(stack, client, dataset_id)
    assert "died" in stack.log.read_text()


def test_a_kill_in_the_middle_of_a_tiling_loses_nothing_and_leaves_no_child(
    start_stack: StartStack, sources: SourceServer
) -> None:
    # Given a large picture of which some tiles are made
    stack = start_stack()
    with talking_to(stack) as client:
        dataset_id = submit(client, sources.url("/huge.jpg?killed"))
        until(client, dataset_id, "TILING", tiles=1)
    children = psutil.Process(stack.process.pid).children(recursive=True)
    assert children

    # When the stack is killed
    stack.kill()

    # Then its child ends by itself
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert (len(gone), alive) == (len(children), [])

    # And after a new start of the machine the dataset ends ready, from the source that is stored already
    asked = sources.requests["/huge.jpg"]
    lock = stack.data / "tilewright.embedded.lock"
    lock.write_text(lock.read_text().replace(this_boot(), "another-boot"))
    stack = start_stack()
    with talking_to(stack) as client:
        assert finish(client, dataset_id)["status"] == "ready"
        assert_all_tiles_are_there(stack, client, dataset_id)
    assert sources.requests["/huge.jpg"] == asked
    # And nobody is to blame for the machine's end
    assert "died" not in stack.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_an_orderly_stop_releases_the_work_within_its_time_and_a_later_start_goes_on(
    start_stack: StartStack, sources: SourceServer, picture_folder: Path, number: signal.Signals
) -> None:
    # Given one picture half tiled, one half downloaded, and one that waits
    gate = threading.Event()
    data = (picture_folder / "map.jpg").read_bytes()
    hanging = sources.on(f"/stopped-{number}.jpg", gated(data, len(data) // 2, gate))
    stack = start_stack()
    with talking_to(stack) as client:
        ids = [
            submit(client, sources.url(f"/huge.jpg?stopped-{number}")),
            submit(client, hanging),
            submit(client, sources.url("/glass.png")),
        ]
        until(client, ids[0], "TILING", tiles=1)
        until(client, ids[1], "DOWNLOADING")
    children = psutil.Process(stack.process.pid).children(recursive=True)

    # When the stack is told to stop
    stack.process.send_signal(number)

    # Then it ends within ten seconds, as a shell expects, and no child is left
    assert stack.process.wait(STOP_LIMIT) == (0 if number == signal.SIGTERM else 130)
    assert children
    assert not any(child.is_running() for child in children)
    assert list((stack.data / "storage" / "scratch").iterdir()) == []

    # And after a new start all end ready, nobody being blamed for the stop
    gate.set()
    stack = start_stack()
    with talking_to(stack) as client:
        assert [finish(client, dataset_id)["status"] for dataset_id in ids] == ["ready", "ready", "ready"]
        assert_all_tiles_are_there(stack, client, ids[0])
    assert "died" not in stack.log.read_text()


def test_what_is_ready_stays_ready_over_a_restart(start_stack: StartStack, sources: SourceServer) -> None:
    stack = start_stack()
    with talking_to(stack) as client:
        dataset_id = submit(client, sources.url("/map.jpg"))
        finish(client, dataset_id)
        before = client.get(dataset_id)
    # When its terminal is closed
    stack.process.send_signal(signal.SIGHUP)
    assert stack.process.wait(STOP_LIMIT) == 0
    stack = start_stack()
    with talking_to(stack) as client:
        assert client.get(dataset_id) == before
        assert_all_tiles_are_there(stack, client, dataset_id)


def test_a_second_start_on_the_same_directory_is_refused_and_harms_nothing(
    start_stack: StartStack, sources: SourceServer
) -> None:
    # Given a stack at work
    stack = start_stack()
    with talking_to(stack) as client:
        dataset_id = submit(client, sources.url("/huge.jpg?second-start"))
        until(client, dataset_id, "TILING")

        # When another is started on its directory, then it names the directory and the holder, and ends
        with pytest.raises(StackDied) as refused:
            launch(stack.data, log=stack.data.parent / "second.log")
        assert f"{stack.data}" in str(refused.value)
        assert f"process {stack.process.pid}." in str(refused.value)

        # And the first goes on as if nothing had been
        last = finish(client, dataset_id)
        assert last["status"] == "ready"
    assert "died" not in stack.log.read_text()


def test_a_directory_whose_database_another_service_has_is_refused(command: Command, tmp_path: Path) -> None:
    # Given a statussvc that was started by itself on the directory's database
    with holding(tmp_path / "tilewright.sqlite3.lock"):
        ended = command("up", "--port", "0", "--grpc-port", "0", "--data", str(tmp_path))
    # Then the stack does not start beside it
    assert (ended.code, ended.out) == (1, "")
    assert f"in use by process {os.getpid()}." in " ".join(ended.err.split())
    assert "Traceback" not in ended.err


def test_a_newer_versions_directory_is_refused(command: Command, start_stack: StartStack, tmp_path: Path) -> None:
    # Given a directory that a newer version has used
    data = tmp_path / "data"
    start_stack(data).stop()
    database = sqlite3.connect(data / "tilewright.sqlite3")
    with database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    # When this one is started on it, then it says so at once, without a traceback
    ended = command("up", "--port", "0", "--grpc-port", "0", "--data", str(data))
    assert (ended.code, ended.out) == (1, "")
    assert "newer version of Tilewright" in " ".join(ended.err.split())
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_busy_port_is_named_with_what_to_do(command: Command, tmp_path: Path, option: str) -> None:
    # Given a port that is taken
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        # When a stack is to listen there
        other = "--grpc-port" if option == "--port" else "--port"
        ended = command("up", option, str(port), other, "0", "--data", str(tmp_path / "data"))

    # Then it ends with a sentence, and not with a traceback
    assert (ended.code, ended.out) == (1, "")
    assert str(port) in ended.err
    assert option in ended.err
    assert "Traceback" not in ended.err
