"""`tilewright refresh` and `tilewright versions` against a scripted server: what they ask, print, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.rigs.command import Ended, run_command
from tests.support.rigs.rest import Answer, ScriptedGateway, scripted_gateway

NEW, OLD, OTHER = "custom_00000001", "custom_00000002", "custom_00000003"

Run = Callable[..., Ended]


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    """Has a dataset of version 10, and two of version 9."""
    with scripted_gateway() as running:
        found = [{"dataset_id": NEW, "tile_info": {"pyramid_version": 10}}]
        found += [{"dataset_id": dataset_id, "tile_info": {"pyramid_version": 9}} for dataset_id in (OLD, OTHER)]
        running.on("GET /api/datasets", Answer(body={"datasets": found, "next_cursor": None}))
        yield running


@pytest.fixture
def run(gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr("tilewright.commands.refreshing.POLL_INTERVAL", 0.0)

    def run(*arguments: str) -> Ended:
        return run_command(monkeypatch, capsys, *arguments, "--server", gateway.url)

    return run


def status(state: str, message: str = "Said.") -> Answer:
    ended: dict[str, Any] = {} if state in ("queued", "downloading") else {"finished_at": "2026-11-28T12:00:00.000Z"}
    return Answer(body={"status": "ready", "refresh": {"state": state, "message": message, **ended}})


def asked(gateway: ScriptedGateway) -> list[str]:
    """What was asked for after the list, without the server's address."""
    return [f"{one.method} {one.target.removeprefix('/api/datasets/')}" for one in gateway.asked[1:]]


def test_only_older_ones_are_refreshed_and_no_more_at_once_than_asked_for(gateway: ScriptedGateway, run: Run) -> None:
    for dataset_id in (OLD, OTHER):
        gateway.on(f"POST /api/datasets/{dataset_id}/refresh", status("queued"))
        gateway.on(f"GET /api/datasets/{dataset_id}/status", status("downloading"), status("changed"))
    done = run("refresh", "--all", "--older-than-version", "10", "--at-once", "1")
    assert (done.code, done.out, done.err) == (0, "2 changed\n", "")
    assert asked(gateway) == [
        f"{call}" for each in (OLD, OTHER) for call in (f"POST {each}/refresh", *2 * [f"GET {each}/status"])
    ]


def test_what_failed_is_told_and_what_is_gone_is_counted(gateway: ScriptedGateway, run: Run) -> None:
    gateway.on(f"POST /api/datasets/{NEW}/refresh", Answer(409, {"detail": "It is processing."}))
    for dataset_id, end in ((OLD, status("failed", "404 Not Found.")), (OTHER, status("unchanged"))):
        gateway.on(f"POST /api/datasets/{dataset_id}/refresh", status("queued"))
        gateway.on(f"GET /api/datasets/{dataset_id}/status", end)
    done = run("refresh", "--all", "--json")
    assert done.code == 1
    assert json.loads(done.out) == {"datasets": 3, "failed": 1, "unchanged": 1, "no longer ready": 1}
    assert done.err == f"{OLD}: 404 Not Found.\n"


def test_ctrl_c_says_how_to_go_on(gateway: ScriptedGateway, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tilewright.commands.refreshing.time.sleep", interrupt)
    for dataset_id in (NEW, OLD, OTHER):
        gateway.on(f"POST /api/datasets/{dataset_id}/refresh", status("queued"))
    done = run("refresh", "--all")
    assert done.code == 130
    assert done.err == "0 of 3 are done, and those at work go on. Run the command again for the rest.\n"


def test_one_is_refreshed_and_its_result_said_and_its_versions_listed(gateway: ScriptedGateway, run: Run) -> None:
    gateway.on(f"POST /api/datasets/{OLD}/refresh?force=true", status("queued", "Waiting for a worker…"))
    gateway.on(f"POST /api/datasets/{OLD}/refresh", status("queued", "Waiting for a worker…"))
    assert run("refresh", OLD).out == f"{OLD}: Waiting for a worker…\n"
    gateway.on(f"GET /api/datasets/{OLD}/status", status("downloading"), status("failed", "404 Not Found."))
    done = run("refresh", OLD, "--wait", "--force")
    assert (done.code, done.out) == (1, f"{OLD}: 404 Not Found.\n")
    assert any(one.target.endswith("/refresh?force=true") for one in gateway.asked)
    source = {"sha256": "9f" * 32, "bytes": 5653052, "last_modified": ""}
    version = {"tile_id": "ab" * 32, "present": True, "created_at": "2026-11-25T00:23:36.165Z", "source": source}
    gateway.on(f"GET /api/datasets/{OLD}/versions", Answer(body={"versions": [version | {"dzi": "/tiles/ab.dzi"}]}))
    assert run("versions", OLD).out.split("\t")[1:3] == ["2026-11-25T00:23:36.165Z", "present"]


def test_an_id_or_all_has_to_be_given(gateway: ScriptedGateway, run: Run) -> None:
    for wrong in ((), (OLD, "--all"), (OLD, "--older-than-version", "3")):
        assert run("refresh", *wrong).code == 2
    assert gateway.asked == []
