"""The `tilewright` command against a real stack: results, exit codes, JSON."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import requests

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish, submit, until
from tests.support.network.answers import gated
from tests.support.network.sources import SourceServer
from tests.support.rigs.servers import free_port
from tilewright.client import Client
from tilewright.embedded import LaunchedStack


def test_submit_and_wait_ends_with_the_addresses_of_the_tiles(
    stack: LaunchedStack, command: Command, sources: SourceServer
) -> None:
    ended = command("submit", sources.url("/map.jpg"), "--name", "Map", "--category", "maps", "--wait")
    assert ended.code == 0
    values = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert values["status"] == "ready"
    assert values["view"] == f"{stack.url}/view/{values['dataset']}"
    assert re.fullmatch(rf"{re.escape(stack.url)}/tiles/[0-9a-f]{{64}}\.dzi", values["dzi"])
    assert ended.err.splitlines()[-1] == f"{values['dataset']}: Ready."


def test_submit_list_status_and_delete_as_a_script_uses_them(command: Command, sources: SourceServer) -> None:
    # Given an id from a submission
    dataset_id = command("submit", sources.url("/glass.png"), "--name", "Glass 7", "--quiet").out.strip()

    # When it is watched to its end, then each line is a status
    watched = command("watch", dataset_id, "--json")
    assert watched.code == 0
    assert json.loads(watched.out.splitlines()[-1])["status"] == "ready"

    # Then its status, the list and the search all know it
    assert json.loads(command("status", dataset_id, "--json").out)["tile_info"]["format"] == "png"
    assert "611 x 333 pixels" in command("status", dataset_id).out
    listed = [json.loads(line) for line in command("list", "-q", "glass 7", "--json").out.splitlines()]
    assert [row["dataset_id"] for row in listed] == [dataset_id]
    assert dataset_id in command("list", "--status", "ready", "--all").out

    # And deleted it is unknown to all
    assert command("delete", dataset_id).code == 0
    gone = command("status", dataset_id)
    assert (gone.code, gone.out) == (1, "")
    assert "tilewright: " in gone.err


def test_arguments_that_cannot_be_sent_end_with_a_sentence(command: Command, sources: SourceServer) -> None:
    submission = ("submit", sources.url("/glass.png"), "--name", "Glass")
    # Given keys that no header may have
    for key in ("", "a\nb"):
        ended = command(*submission, "--idempotency-key", key)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("tilewright: The idempotency key")
    # And one in another script, which is sent as it is: the second time there is no second dataset
    key = "\u00e9\u6f22"
    first, second = (command(*submission, "--idempotency-key", key, "--quiet") for _ in range(2))
    assert (first.code, first.out) == (0, second.out)
    # And an id that is no text
    ended = command("status", "\udcff")
    assert (ended.code, ended.out) == (1, "")
    assert "There is no dataset" in ended.err
    assert command("list", "-q", "\udcff").code == 2
    # And a name of a server that no server has
    for name in ("http://a..b", f"http://{'a' * 64}.com"):
        ended = command("list", "--server", name)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == f"tilewright: {name} is not the address of a server.\n"
    # And a wrong value is told once
    ended = command("submit", sources.url("/glass.png"), "--name", "")
    assert ended.err.splitlines() == ["tilewright: name: String should have at least 1 character."]


def test_a_failed_job_ends_with_1_and_its_reason(command: Command, sources: SourceServer) -> None:
    ended = command("submit", sources.url("/page.html"), "--name", "A page", "--wait", "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["error"]["code"] == "not_an_image"
    assert "(not_an_image)" in ended.err


def test_cancel_and_retry(command: Command, client: Client, sources: SourceServer, picture_folder: Path) -> None:
    # Given a download that hangs in its middle
    gate = threading.Event()
    data = (picture_folder / "map.jpg").read_bytes()
    dataset_id = submit(client, sources.on("/hanging.jpg", gated(data, 5000, gate)))
    until(client, dataset_id, "DOWNLOADING")

    # When it is cancelled, then it ends; to cancel it twice is refused
    assert command("cancel", dataset_id).code == 0
    assert command("watch", dataset_id).code == 1
    refused = command("cancel", dataset_id)
    assert (refused.code, refused.out) == (1, "")

    # When it is retried with the way clear, then it becomes ready
    gate.set()
    assert command("retry", dataset_id).code == 0
    assert finish(client, dataset_id)["status"] == "ready"


def test_no_server_is_3_and_wrong_usage_is_2(command: Command) -> None:
    assert command("list", server=f"http://127.0.0.1:{free_port()}").code == 3
    assert command("list", "--status", "done").code == 2
    assert command("up", "--allow-source", "10.0.0.1/8").code == 2


def test_a_refused_request_says_what_to_change(command: Command) -> None:
    ended = command("submit", "https://user:secret@example.org/a.jpg", "--name", "A", "--tile-size", "300")
    assert (ended.code, ended.out) == (1, "")
    assert "tile_size" in ended.err
    assert "secret" not in ended.err


def test_doctor_finds_all_in_order(stack: LaunchedStack, command: Command) -> None:
    ended = command("doctor", "--json", "--data", str(stack.data))
    report = json.loads(ended.out)
    assert ended.code == 0
    assert report["ok"] is True
    levels = {check["name"]: check["level"] for check in report["checks"]}
    assert set(levels) >= {"libvips", "formats", "data directory", "disk", "server"}
    assert {levels[name] for name in ("libvips", "formats", "data directory", "server")} == {"ok"}
    assert command("doctor", "--data", str(stack.data)).out.count("[ok]") >= 4
    # And it says of the sandbox what the running stack says
    ((level, found),) = [(check["level"], check["found"]) for check in report["checks"] if check["name"] == "sandbox"]
    layers = requests.get(f"{stack.url}/readyz", timeout=10).json()["sandbox"]
    assert "limits" in layers
    assert level == ("ok" if set(layers.values()) == {"ok"} else "warning")
    assert all(name in found for name, state in layers.items() if (state == "ok") == (level == "ok"))


def test_doctor_ends_with_1_where_something_is_wrong(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    ended = command("doctor", "--data", str(tmp_path / "file" / "data"), "--json")
    report = json.loads(ended.out)
    wrong = [check for check in report["checks"] if check["level"] == "error"]
    assert (ended.code, report["ok"]) == (1, False)
    assert [check["name"] for check in wrong] == ["data directory"]
    assert wrong[0]["advice"]
