"""What a source is, before it is submitted and while it is fetched, on a real stack."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import LOOK, finish, submit
from tests.support.images import makers
from tests.support.network.answers import sending
from tests.support.network.sources import Exchange, SourceServer
from tilewright.client import Client


def test_inspect_looks_without_fetching(command: Command, sources: SourceServer) -> None:
    # Given a picture of 100 megapixels
    ended = command("inspect", sources.url("/huge.jpg"), "--json")
    # Then it is known, and little of it was fetched
    assert ended.code == 0
    report = json.loads(ended.out)["report"]
    assert report["source"] == {"format": "jpeg", "width": 10_000, "height": 10_000, "pages": 1}
    assert report["fetched_bytes"] < 500_000 < report["bytes"]
    # And a person can read it
    assert "10,000 x 10,000 pixels" in command("inspect", sources.url("/huge.jpg")).out


def test_inspect_tells_what_would_be_refused(command: Command, sources: SourceServer) -> None:
    refused = command("inspect", sources.url("/page.html"))
    assert refused.code == 1
    assert "(not_an_image)" in refused.out
    missing = command("inspect", sources.url("/nowhere.tif"))
    assert missing.code == 1
    assert "(source_not_found)" in missing.err


def test_a_jpeg_that_is_too_wide_for_its_decoder_is_called_that(
    client: Client, command: Command, files: SourceServer, tmp_path: Path
) -> None:
    # Given a whole JPEG of 65,504 pixels' width, of which its decoder takes 65,500
    makers.wide_jpeg(tmp_path / "wide.jpg", 65504)
    last = finish(client, submit(client, files.url("/wide.jpg")))
    assert (last["error"]["code"], "65,500 pixels" in last["error"]["message"]) == ("image_too_large", True)
    # And that is known before it is fetched
    ended = command("inspect", files.url("/wide.jpg"))
    assert (ended.code, "(image_too_large)" in ended.out, "65,500 pixels" in ended.out) == (1, True, True)


def test_the_status_shows_the_header_while_the_rest_is_on_its_way(client: Client, sources: SourceServer) -> None:
    # Given a server that holds back all but the first 300 kB
    assert sources.directory is not None
    data = (sources.directory / "huge.jpg").read_bytes()
    gate = threading.Event()

    def send(exchange: Exchange, body: bytes) -> None:
        exchange.body(body[:300_000])
        exchange.wait(gate)
        exchange.body(body[300_000:])

    # When it is submitted
    dataset_id = submit(client, sources.on("/held.jpg", sending(data, send)))
    # Then its size is there long before it is
    status = next(one for one in client.watch(dataset_id, pause=LOOK) if one.get("source"))
    assert status["state"] == "DOWNLOADING"
    assert status["source"] == {"format": "jpeg", "width": 10_000, "height": 10_000, "pages": 1}
    assert not gate.is_set()
    client.cancel(dataset_id)
    gate.set()
