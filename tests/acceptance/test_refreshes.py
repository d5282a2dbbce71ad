"""A dataset's source is fetched again while the dataset is shown: its addresses answer the whole time."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from pipeline.pyramids import PYRAMID_VERSION
from tests.acceptance.conftest import Command, StartStack
from tests.acceptance.jobs import ready, submit
from tests.support.images import pictures
from tests.support.network.answers import gated, ranges, sending, status
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until
from tilewright.client import Client, Problem
from tilewright.embedded import LaunchedStack

LATER = f"""
import pipeline.pyramids, pipeline.pyramids.geometry
pipeline.pyramids.PYRAMID_VERSION = pipeline.pyramids.geometry.PYRAMID_VERSION = {PYRAMID_VERSION + 1}
"""
"""A sitecustomize by which a stack is one of a later version."""


def grey(folder: Path, value: int, size: tuple[int, int] = (300, 200)) -> bytes:
    """A picture of one grey."""
    file = folder / f"{value}.png"
    pictures.save(np.full((size[1], size[0], 3), value, dtype="uint8"), file)
    return file.read_bytes()


def ended(client: Client, dataset_id: str) -> dict[str, Any]:
    """The status after the end of the refresh at work."""
    found: dict[str, Any] = {}

    def is_over() -> bool:
        found.update(client.status(dataset_id))
        return "finished_at" in found["refresh"]

    until(is_over, "the end of the refresh")
    return found


def assert_all_answer(stack: LaunchedStack, dataset: dict[str, Any]) -> None:
    """Each permanent address of a dataset, and each of its present immutable ones."""
    paths = [*dataset["urls"].values(), *dataset["tile_urls"].values()]
    answers = {path: requests.get(stack.url + path.format(z=0, x=0, y=0), timeout=60).status_code for path in paths}
    assert set(answers.values()) == {200}, answers


def shade(stack: LaunchedStack, path: str) -> int:
    """The grey that a tile shows."""
    answer = requests.get(stack.url + path.format(z=0, x=0, y=0), timeout=60)
    assert answer.status_code == 200
    return int(pictures.decode(answer.content)[0, 0, 0])


def test_a_changed_source_is_shown_at_the_same_addresses(
    stack: LaunchedStack, client: Client, command: Command, files: SourceServer, tmp_path: Path
) -> None:
    url = files.on("/refreshed.png", ranges(grey(tmp_path, 50), '"first"'))
    dataset_id = str(client.submit(url, "A grey", format="png")["dataset_id"])
    old = ready(client, dataset_id)
    dataset = client.get(dataset_id)
    xyz = dataset["urls"]["xyz"]
    assert (shade(stack, xyz), old["pyramid_version"]) == (50, PYRAMID_VERSION)
    # When nothing has changed, then the source's server is asked, and confirms it, and that is said
    asked = client.refresh(dataset_id)
    assert (asked["status"], asked["tile_info"], asked["refresh"]["state"]) == ("ready", old, "queued")
    same = ended(client, dataset_id)
    assert (same["refresh"]["state"], same["tile_info"]) == ("unchanged", old)
    assert files.headers["/refreshed.png"][-1]["If-None-Match"] == '"first"'
    assert len(client.versions(dataset_id)) == 1
    # When the source has changed, and while the new file arrives
    go, after = threading.Event(), grey(tmp_path, 200)

    def send(exchange: Any, body: bytes) -> None:
        exchange.body(body[:100])
        exchange.wait(go)
        exchange.body(body[100:])

    files.on("/refreshed.png", sending(after, send, '"second"'))
    client.refresh(dataset_id)
    until(lambda: client.status(dataset_id)["refresh"]["state"] == "downloading", "the download")
    # Then a second request is the same refresh, the old picture is shown, and no list knows of two
    assert client.refresh(dataset_id)["refresh"]["requested_at"] == client.status(dataset_id)["refresh"]["requested_at"]
    assert_all_answer(stack, client.get(dataset_id))
    assert shade(stack, xyz) == 50
    assert [each["dataset_id"] for each in client.datasets(url=url)] == [dataset_id]
    poll = requests.get(f"{stack.url}/api/datasets/{dataset_id}/status", timeout=60)
    assert poll.json()["status"] == "ready"
    assert "Retry-After" in poll.headers
    # And once it is there, the new one is
    go.set()
    new = ended(client, dataset_id)
    assert (new["refresh"]["state"], new["refresh"]["message"]) == ("changed", "New tiles are shown.")
    assert new["tile_info"]["tile_id"] != old["tile_id"]
    until(lambda: shade(stack, xyz) == 200, "the new picture at the old address")
    assert_all_answer(stack, client.get(dataset_id))
    # And the old one goes on at its own address, for those who have it open
    assert shade(stack, old["xyz"]) == 50
    present, before = client.versions(dataset_id)
    assert (present["tile_id"], present["present"]) == (new["tile_info"]["tile_id"], True)
    assert (before["tile_id"], before["present"], before["xyz"]) == (old["tile_id"], False, old["xyz"])
    assert before["kept_until"] > before["replaced_at"]
    said = command("versions", dataset_id)
    assert (said.code, said.out.count("\n"), said.out.count(before["tile_id"])) == (0, 2, 2)
    # When it is forced, then without a condition, and new tiles lie at the same addresses
    done = command("refresh", dataset_id, "--force", "--wait")
    assert (done.code, done.out) == (0, f"{dataset_id}: New tiles are shown.\n")
    assert files.headers["/refreshed.png"][-1]["If-None-Match"] is None
    assert client.get(dataset_id)["tile_info"] == new["tile_info"]
    # When the source is gone, then the picture stays, with a warning
    files.on("/refreshed.png", status(404))
    done = command("refresh", dataset_id, "--wait")
    assert done.code == 1
    gone = client.get(dataset_id)
    assert (gone["status"], gone["tile_info"]) == ("ready", new["tile_info"])
    assert gone["refresh"]["error"]["code"] == "source_not_found"
    assert [warning["code"] for warning in gone["warnings"]] == ["refresh_failed"]
    assert "404" in gone["warnings"][0]["message"]
    assert_all_answer(stack, gone)


def test_only_ready_datasets_are_refreshed_and_a_refresh_can_be_cancelled(
    client: Client, command: Command, files: SourceServer, tmp_path: Path
) -> None:
    go = threading.Event()
    url = files.on("/to-cancel.png", gated(grey(tmp_path, 90), 100, go))
    dataset_id = submit(client, url)
    with pytest.raises(Problem) as refused:
        client.refresh(dataset_id)
    assert (refused.value.status, refused.value.code) == (409, "conflict")
    go.set()
    before = ready(client, dataset_id)
    files.on("/to-cancel.png", gated(grey(tmp_path, 91), 100, threading.Event()))
    client.refresh(dataset_id)
    until(lambda: client.status(dataset_id)["refresh"]["state"] == "downloading", "the download")
    cancelled = client.cancel(dataset_id)
    assert (cancelled["status"], cancelled["refresh"]["state"]) == ("ready", "cancelled")
    assert (cancelled["tile_info"], cancelled["warnings"]) == (before, [])
    with pytest.raises(Problem) as refused:
        client.refresh("custom_00000000")
    assert refused.value.status == 404
    assert command("refresh").code == command("refresh", dataset_id, "--older-than-version", "3").code == 2


def test_a_kill_in_the_middle_and_a_later_version_leave_every_address_answering(
    start_stack: StartStack, command: Command, files: SourceServer, tmp_path: Path
) -> None:
    # Given two ready datasets, and a third in the middle of a refresh when everything is killed
    urls = [files.on(f"/upgraded-{grey_}.png", ranges(grey(tmp_path, grey_), f'"{grey_}"')) for grey_ in (60, 70, 80)]
    stack = start_stack()
    client = Client(stack.url)
    ids = [str(client.submit(url, "A grey", format="png")["dataset_id"]) for url in urls]
    old = [ready(client, dataset_id) for dataset_id in ids]
    go = threading.Event()
    files.on("/upgraded-80.png", gated(grey(tmp_path, 180), 100, go))
    client.refresh(ids[2])
    until(lambda: client.status(ids[2])["refresh"]["state"] == "downloading", "the download")
    stack.kill()
    client.close()
    go.set()
    files.on("/upgraded-80.png", ranges(grey(tmp_path, 180), '"180"'))
    files.on("/upgraded-70.png", status(404))
    # When a stack of a later version is started on the same directory
    later = tmp_path / "later"
    later.mkdir()
    (later / "sitecustomize.py").write_text(LATER)
    stack = start_stack(
        PYTHONPATH=os.pathsep.join([str(later), *filter(None, [os.environ.get("PYTHONPATH")])]),
        TILEWRIGHT_VERSION_GRACE_SECONDS="0",
    )
    client = Client(stack.url)
    # Then the refresh goes on to its end, and everything answers before, while and after all is upgraded
    assert ended(client, ids[2])["refresh"]["state"] == "changed"
    xyz = [client.get(dataset_id)["urls"]["xyz"] for dataset_id in ids]
    until(lambda: shade(stack, xyz[2]) == 180, "the new picture")
    assert [client.get(dataset_id)["tile_info"] for dataset_id in ids[:2]] == old[:2]
    for dataset_id in ids:
        assert_all_answer(stack, client.get(dataset_id))
    asked = files.requests["/upgraded-80.png"]
    done = command("refresh", "--all", "--older-than-version", str(PYRAMID_VERSION + 1), server=stack.url)
    assert (done.code, done.out) == (0, "2 changed\n"), done.err
    for dataset_id, before in zip(ids, old, strict=True):
        dataset = client.get(dataset_id)
        assert dataset["tile_info"]["pyramid_version"] == PYRAMID_VERSION + 1
        assert dataset["tile_info"]["tile_id"] != before["tile_id"]
        assert_all_answer(stack, dataset)
    assert [shade(stack, path) for path in xyz] == [60, 70, 180]
    # And one source was confirmed, one was gone, so that its original was tiled, and the third was left alone
    assert files.headers["/upgraded-60.png"][-1]["If-None-Match"] == '"60"'
    assert [warning["code"] for warning in client.get(ids[1])["warnings"]] == ["refresh_failed"]
    assert files.requests["/upgraded-80.png"] == asked
    # And a second run finds nothing more
    done = command("refresh", "--all", "--older-than-version", str(PYRAMID_VERSION + 1), server=stack.url)
    assert (done.code, done.out) == (0, "Nothing to refresh.\n")
    # And a sweep takes the replaced tiles, as nothing says to keep them
    client.delete(ids[2])
    until(
        lambda: requests.get(stack.url + old[0]["dzi"], timeout=60).status_code == 404,
        "the sweep of the replaced tiles",
    )
    assert len(client.versions(ids[0])) == 1
    assert_all_answer(stack, client.get(ids[0]))
    client.close()
