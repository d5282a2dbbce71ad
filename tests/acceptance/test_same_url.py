"""One URL, posted many times: it is downloaded once, and nobody waits in vain for another's download."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import requests

from tests.acceptance.jobs import finish, ready, submit, until
from tests.support.network.answers import gated, sequence, silent, status, whole
from tests.support.network.sources import Behaviour, Exchange, SourceServer
from tests.support.rigs.waiting import until as eventually
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

POSTS = 5


@pytest.fixture
def data(picture_folder: Path) -> bytes:
    return (picture_folder / "map.jpg").read_bytes()


def posted(client: Client, sources: SourceServer, path: str, behaviour: Behaviour) -> list[str]:
    """Datasets of one URL: the first downloads it, and the others wait for that."""
    url = sources.on(path, behaviour)
    first = submit(client, url)
    sources.wait_for(path)
    until(client, first, "DOWNLOADING")
    others = [submit(client, url) for _ in range(POSTS - 1)]
    for one in others:
        told = client.status(one)
        assert (told["status"], told["waiting_for"]["dataset_id"]) == ("queued", first)
        assert first in told["message"]
    return [first, *others]


def test_a_url_that_is_posted_five_times_is_downloaded_once(client: Client, sources: SourceServer, data: bytes) -> None:
    # Given five datasets of a URL whose server sends no validators
    gate = threading.Event()
    ids = posted(client, sources, "/same.jpg", gated(data, 1000, gate))
    # When its download goes on, then all are ready with the same pyramid, after one request
    gate.set()
    assert len({ready(client, one)["tile_id"] for one in ids}) == 1
    assert sources.requests["/same.jpg"] == 1
    assert [client.get(one)["state"] for one in ids] == ["READY"] * POSTS
    # And one that asks for other bytes of that URL downloads it itself, and fails by itself
    other = client.submit(sources.url("/same.jpg"), "Other", sha256="ab" * 32)["dataset_id"]
    assert finish(client, other)["error"]["code"] == "source_corrupted"
    # And when the dataset that downloaded it is deleted, the others keep their file
    client.delete(ids[0])
    assert client.get(ids[1])["state"] == "READY"


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_one_of_those_that_wait_takes_over(client: Client, sources: SourceServer, data: bytes, how: str) -> None:
    # Given five datasets of a URL, and a server that stops in the middle of the first download
    gate, path = threading.Event(), f"/taken-over-{how}.jpg"
    ids = posted(client, sources, path, sequence(gated(data, 1000, gate), whole(data)))
    # When the one that downloads ends, then another downloads it, and the rest wait for that one
    getattr(client, how)(ids[0])
    assert len({ready(client, one)["tile_id"] for one in ids[1:]}) == 1
    assert sources.requests[path] == 2
    gate.set()


def test_nobody_waits_for_a_download_that_asks_for_other_bytes(
    client: Client, sources: SourceServer, data: bytes
) -> None:
    # Given downloads of a URL that ask for bytes which it does not have, and are slow
    gate, path = threading.Event(), "/other-bytes.jpg"
    slow = gated(data, 1000, gate)
    url = sources.on(path, sequence(slow, slow, whole(data)))
    strangers = [client.submit(url, "Stranger", sha256=digit * 64)["dataset_id"] for digit in "12"]
    for one in strangers:
        until(client, one, "DOWNLOADING")
    # Then one that takes any bytes is ready meanwhile
    honest = submit(client, url)
    assert "waiting_for" not in client.status(honest)
    ready(client, honest)
    assert {client.status(one)["state"] for one in strangers} == {"DOWNLOADING"}
    gate.set()
    assert {finish(client, one)["error"]["code"] for one in strangers} == {"source_corrupted"}


def test_those_that_wait_go_on_when_the_one_that_downloads_gets_another_url(
    client: Client, stack: LaunchedStack, sources: SourceServer, data: bytes
) -> None:
    # Given a dataset between two tries, and one that waits for it
    url = sources.on("/moved.jpg", status(500))
    first = submit(client, url)
    eventually(lambda: client.status(first)["attempt"] > 1, "another try")
    second = submit(client, url)
    assert client.status(second)["waiting_for"]["dataset_id"] == first
    # When the old URL works again, and the first gets another one, whose server says nothing
    gate = threading.Event()
    slow = sources.on("/silent.jpg", silent(gate))

    def moved() -> bool:
        # A dataset that is just being downloaded cannot get another URL.
        answer = requests.patch(f"{stack.url}/api/datasets/{first}", json={"url": slow}, timeout=60)
        return answer.status_code == 200

    eventually(moved, "another URL")
    sources.on("/moved.jpg", whole(data))
    # Then the other does not wait for that one
    ready(client, second)
    assert client.status(first)["status"] != "ready"
    client.delete(first)
    gate.set()


def test_what_is_wrong_with_the_url_is_told_to_all_that_wait(client: Client, sources: SourceServer) -> None:
    # Given five datasets of a URL with nothing behind it, whose server takes its time to say so
    gate = threading.Event()

    def missing(exchange: Exchange) -> None:
        exchange.wait(gate)
        status(404)(exchange)

    ids = posted(client, sources, "/missing-for-all.jpg", missing)
    # When it says so, then it has said so to all
    gate.set()
    assert [finish(client, one)["error"]["code"] for one in ids] == ["source_not_found"] * POSTS
    # Twice: a range that is refused is asked for again as a whole file
    assert sources.requests["/missing-for-all.jpg"] == 2


def test_a_url_that_is_being_tiled_is_not_downloaded_again(
    client: Client, sources: SourceServer, picture_folder: Path
) -> None:
    # Given a dataset whose file is stored and is being tiled, from a server that sends no validators
    data = (picture_folder / "huge.jpg").read_bytes()
    # With a comment of its own: other tests have had the same picture tiled.
    url = sources.on("/tiled.jpg", whole(data[:2] + b"\xff\xfe\x00\x06same" + data[2:]))
    first = submit(client, url)
    until(client, first, "TILING")
    # When its URL is submitted with other tiles, then the file is used, and the status says whose it is
    other = client.submit(url, "Other", tile_size=512)["dataset_id"]
    told = until(client, other, "DOWNLOADED")
    assert told["downloaded_by"] == first
    assert first in told["message"]
    assert ready(client, other)["tile_size"] == 512
    assert sources.requests["/tiled.jpg"] == 1
    # And once both are ready, the file may have changed, and is downloaded again
    sources.on("/tiled.jpg", whole((picture_folder / "map.jpg").read_bytes()))
    assert ready(client, submit(client, url))["width"] == 1500
