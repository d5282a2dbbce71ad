"""Links as people paste them become tiles, or a message that says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish, submit
from tests.support.network import answers
from tests.support.network.descriptions import V3, presentation_3
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


def test_links_to_descriptions_become_the_image_and_the_status_says_so(
    client: Client, sources: SourceServer, command: Command, stack: LaunchedStack, picture: bytes
) -> None:
    # Given an image behind a manifest and an info.json, whose server caps its size
    at = sources.url("/iiif/1")
    info = V3 | {"id": at, "maxWidth": 1500}
    sources.on("/iiif/1/full/max/0/default.jpg", answers.ranges(picture))
    manifest = presentation_3({"service": [{"id": at}]}, {})
    urls = {
        sources.on("/iiif/1/info.json", answers.whole(json.dumps(info).encode())): "1,500 x 1,125 of this image",
        sources.on("/iiif/manifest", answers.whole(json.dumps(manifest).encode())): "image 1 of 2 of the manifest",
    }
    for url, note in urls.items():
        # When the link is submitted, then it becomes ready, and says what was fetched
        dataset_id = submit(client, url)
        status = finish(client, dataset_id)
        assert status["tile_info"]["width"] == 1500
        assert status["rewritten"]["rule"] == "IIIF"
        assert status["rewritten"]["url"] == f"{at}/full/max/0/default.jpg"
        assert note in status["rewritten"]["note"]
        assert "1,500 x 1,125 of this image" in status["rewritten"]["note"]
        # By the dataset and the command too; what was submitted stays as it was, and is found by that
        dataset = client.get(dataset_id)
        assert (dataset["url"], dataset["rewritten"]) == (url, status["rewritten"])
        assert f"{at}/full/max/0/default.jpg (IIIF)" in command("status", dataset_id).out
        found = requests.get(f"{stack.url}/api/datasets", params={"url": url}, timeout=60).json()["datasets"]
        assert dataset_id in [one["dataset_id"] for one in found]
        # And by an inspection
        assert f"{at}/full/max/0/default.jpg (IIIF)" in command("inspect", url).out
    # And others say nothing of it
    assert "rewritten" not in finish(client, submit(client, sources.on("/plain.jpg", answers.ranges(picture))))


def test_a_description_may_not_lead_inside(client: Client, sources: SourceServer) -> None:
    # Given descriptions that name a forbidden address
    with serve(host="127.0.0.2") as inside:
        inside.answer_all = answers.ranges(b"\x89PNG\r\n\x1a\n")
        for number, address in enumerate((inside.url("/i", "127.0.0.2"), inside.url("/i", "0x7f.2"))):
            for name, description in {
                "info": V3 | {"id": address},
                "manifest": presentation_3({"service": {"id": address}}),
                "image": presentation_3({"id": f"{address}/x.jpg"}),
            }.items():
                url = sources.on(f"/inside-{number}-{name}", answers.whole(json.dumps(description).encode()))
                error = finish(client, submit(client, url))["error"]
                assert error["code"] == "source_forbidden_address"
        assert inside.targets == []


def test_a_page_offers_the_image_that_it_names(client: Client, sources: SourceServer, command: Command) -> None:
    html = '<!DOCTYPE html><html><head><meta property="og:image" content="/the%20image.jpg?a=1&amp;b=2"></head></html>'
    url = sources.on("/gallery/7", answers.page(html))
    error = finish(client, submit(client, url))["error"]
    assert (error["code"], error["retryable"]) == ("not_an_image", False)
    assert error["message"].endswith(f": {sources.url('/the%20image.jpg?a=1&b=2')}")
    assert "/the image.jpg" not in sources.requests
    assert sources.url("/the%20image.jpg?a=1&b=2") in command("inspect", url).out
