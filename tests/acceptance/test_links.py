"""Links as people paste them become tiles, or a message that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish, submit
from tests.support.network import answers
from tests.support.network.sources import SourceServer, serve
from tilewright.client import Client
from tilewright.embedded import LaunchedStack


@pytest.fixture(scope="module")
def picture(picture_folder: Path) -> bytes:
    """map.jpg, of some hundred kilobytes."""
    return (picture_folder / "map.jpg").read_bytes()


def test_addresses_are_fetched_as_a_browser_fetches_them(client: Client, command: Command, picture: bytes) -> None:
    # Given a server that gives each file only for exactly the target that a browser sends
    pasted = {
        "/a/%7Ejoe%2dx.tif?sig=%2babc%2f": "/a/%7Ejoe%2dx.tif?sig=%2babc%2f",
        "/my scan [1] {2} |3|.jpg": "/my%20scan%20[1]%20%7B2%7D%20|3|.jpg",
        "/Zürich/東京.jpg?größe=2": "/Z%C3%BCrich/%E6%9D%B1%E4%BA%AC.jpg?gr%C3%B6%C3%9Fe=2",
        "/a\n  b.jpg ": "/a%20%20b.jpg",
        "\\x\\..\\y.jpg": "/y.jpg",
        "/away-latin": "/caf%E9.jpg",
        "/away-utf": "/caf%C3%A9.jpg",
        "/d/away-up?x": "/up.jpg?y",
        "/d/away-query": "/d/away-query?q",
        "/away-slashes": "/slashes.jpg",
    }
    with serve() as server:
        for path, location in {
            "/away-latin": "/caf\xe9.jpg",
            "/away-utf": "/café.jpg".encode().decode("latin-1"),
            "/d/away-up": "../up.jpg?y",
            "/away-slashes": f"//localhost:{server.port}/slashes.jpg",
        }.items():
            server.on(path, answers.redirect(location))
        server.on("/d/away-query", answers.sequence(answers.redirect("?q"), answers.ranges(picture)))
        server.answer_all = answers.ranges(picture)
        # When all are submitted as they are pasted, then all become ready
        ids = {written: submit(client, server.url(written)) for written in pasted}
        ends = {written: finish(client, dataset_id) for written, dataset_id in ids.items()}
        assert {written: end.get("error") for written, end in ends.items() if end["status"] != "ready"} == {}
        # By exactly those targets
        assert {*pasted.values()} <= {*server.targets}
        assert len(server.targets) == len(pasted) + 5
        # And what was submitted stays as it was
        assert [client.get(ids[written])["url"] for written in pasted][2] == server.url("/Zürich/東京.jpg?***")
        # By the command, and for an inspection, too
        assert command("inspect", server.url("/my scan [1] {2} |3|.jpg")).code == 0


@pytest.mark.parametrize(
    "host",
    ["127.2", "0x7f.2", "2130706434", "127%2e0.0.2", "①②⑦.0.0.2", "127。0。0。2", "[::ffff:127.0.0.2]", "127.\n2"],
)
def test_a_forbidden_address_is_refused_in_every_spelling(
    client: Client, stack: LaunchedStack, sources: SourceServer, host: str
) -> None:
    # Given a server at an address of this machine that is not allowed
    with serve(host="127.0.0.2") as inside:
        url = f"http://{host}:{inside.port}/a.jpg"
        # When it is submitted in any spelling, then it is refused at once
        answer = requests.post(f"{stack.url}/api/datasets", json={"name": "A", "url": url}, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (422, "source_forbidden_address")
        # And when an allowed server redirects there, it fails
        location = url.replace("\n", "\t").encode().decode("latin-1")
        path = f"/to-{host.encode().hex()}"
        for number, spelled in enumerate((location, location.removeprefix("http:"), location.replace("/", "\\"))):
            dataset_id = submit(client, sources.on(f"{path}-{number}", answers.redirect(spelled)))
            assert finish(client, dataset_id)["error"]["code"] == "source_forbidden_address"
        assert inside.targets == []
