"""Hosts that allow few connections, or ask to be left alone: whoever waits for that fails for nothing."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.acceptance.conftest import StartStack
from tests.acceptance.jobs import LOOK, ready, submit
from tests.support.network.answers import gated, limited, redirect, status, whole
from tests.support.network.descriptions import presentation_3
from tests.support.network.few_places import FewPlaces
from tests.support.network.iiif_service import dumped
from tests.support.network.sources import SourceServer, serve
from tests.support.rigs.waiting import until as awaited
from tilewright.client import Client

JOBS, PLACES = 8, 2
SECONDS = 2
"""For each picture over one connection: long enough for additional connections to be worth it."""

REFUSALS = {
    "429": status(429),
    "503": status(503, {"Retry-After": "1"}),
    "text": whole(b"Download limit exceeded for your address, please try again.\n", {"Content-Type": "text/plain"}),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_batch_from_a_host_that_allows_two_connections_is_ready_without_a_retry(
    start_stack: StartStack, sources: SourceServer, picture_folder: Path, tmp_path: Path, refusal: str
) -> None:
    # Given a host that answers two requests at once and refuses the others, without saying when to come again
    data = (picture_folder / "map.jpg").read_bytes()
    host = FewPlaces(PLACES, REFUSALS[refusal])
    urls = [
        sources.on(f"/few-{refusal}-{number}.jpg", host.answer(limited(data, len(data) // SECONDS, f'"{number}"')))
        for number in range(JOBS)
    ]
    stack = start_stack()
    with closing(Client(stack.url)) as client:
        # When eight pictures of it are submitted at once
        ids = [submit(client, url) for url in urls]
        # Then those that wait say so, and for what
        told: set[str] = set()

        def ended() -> bool:
            for one in ids:
                now = client.status(one)
                if "waiting_for" in now:
                    told.add(now["message"])
                    assert now["waiting_for"]["host"] == "127.0.0.1"
            return all(client.get(one)["status"] in ("ready", "failed") for one in ids)

        awaited(ended, "the end of all", 120)
        assert [client.get(one)["status"] for one in ids] == ["ready"] * JOBS
        assert "Waiting for 127.0.0.1, which allows 2 connections…" in told
    assert host.refused
    # And none has spent a retry
    stack.stop()
    with create_engine(f"sqlite:///{tmp_path}/data/tilewright.sqlite3").connect() as rows:
        assert rows.execute(text("SELECT DISTINCT retries, crashes FROM datasets")).all() == [(0, 0)]


def test_a_host_that_asks_for_an_hour_is_left_alone_for_an_hour(start_stack: StartStack, sources: SourceServer) -> None:
    # Given a host that blocks this address for an hour
    blocked = sources.on("/blocked.jpg", status(429, {"Retry-After": "3600"}))
    stack = start_stack()
    with closing(Client(stack.url)) as client:
        one = submit(client, blocked)
        told = next(now for now in client.watch(one, pause=LOOK) if "Retrying at" in now["message"])
        assert "429" in told["message"]
        asked = sources.requests["/blocked.jpg"]
        # Then another picture of that host waits too, and says until when
        other = submit(client, sources.url("/map.jpg?blocked"))
        told = next(now for now in client.watch(other, pause=LOOK) if "waiting_for" in now)
        assert told["waiting_for"]["until"].endswith("Z")
        assert "Waiting until" in told["message"]
        assert "as 127.0.0.1 asks" in told["message"]
        # And the host is left alone
        assert sources.requests["/blocked.jpg"] == asked
        assert [client.status(each)["status"] for each in (one, other)] == ["queued"] * 2


def test_a_stranger_to_whom_a_url_leads_does_not_speak_for_its_host(
    start_stack: StartStack, sources: SourceServer, picture_folder: Path
) -> None:
    # Given URLs at one host that lead to a stranger's server, which asks for a day, or refuses
    gate = threading.Event()
    slow = sources.on("/slow.jpg", gated((picture_folder / "map.jpg").read_bytes(), 100, gate))
    with serve(host="127.0.0.2") as stranger:
        for code in (429, 503):
            stranger.on(f"/day-{code}", status(code, {"Retry-After": "80000"}))
        stranger.on("/busy", status(503))
        led = {
            name: (stranger.url(path, "127.0.0.2"), code)
            for name, path, code in (("r429", "/day-429", 429), ("r503", "/day-503", 503), ("named", "/day-429", 429))
        }
        manifest = dumped(presentation_3({"type": "Image", "id": led["named"][0]}))
        busy = sources.on("/led-busy.jpg", redirect(stranger.url("/busy", "127.0.0.2")))
        stack = start_stack(allow=("127.0.0.1", "127.0.0.2"))
        with closing(Client(stack.url)) as client:
            for name, (url, code) in led.items():
                answer = redirect(url) if name != "named" else whole(manifest, {"Content-Type": "application/json"})
                # When each is the only download at work
                one = submit(client, sources.on(f"/led-{name}.jpg", answer))
                told = next(now for now in client.watch(one, pause=LOOK) if "Retrying at" in now["message"])
                # Then its status names the stranger, and other pictures of the host are tiled meanwhile
                assert f"127.0.0.2 answered {code}" in told["message"]
                ready(client, submit(client, sources.url(f"/map.jpg?{name}")))
                assert client.status(one)["status"] == "queued"
            # And where another picture of the host is being downloaded, the host keeps its places
            open_one = submit(client, slow)
            sources.wait_for("/slow.jpg")
            one = submit(client, busy)
            told = next(now for now in client.watch(one, pause=LOOK) if "127.0.0.2 answered 503" in now["message"])
            assert "waiting_for" not in told
            ready(client, submit(client, sources.url("/map.jpg?beside")))
            assert client.status(open_one)["state"] == "DOWNLOADING"
            gate.set()
            ready(client, open_one)


@pytest.mark.parametrize(("way", "refusal"), [("redirect", "503"), ("manifest", "text")])
def test_a_slow_stranger_to_whom_a_url_leads_takes_no_place_of_its_host(
    start_stack: StartStack, sources: SourceServer, picture_folder: Path, way: str, refusal: str
) -> None:
    gate = threading.Event()
    with serve(host="127.0.0.2") as stranger:
        # Given a URL at one host that leads to a stranger's server, which sends nothing more for hours
        stranger.on("/slow.jpg", gated((picture_folder / "map.jpg").read_bytes(), 100, gate))
        slow = stranger.url("/slow.jpg", "127.0.0.2")
        manifest = whole(dumped(presentation_3({"type": "Image", "id": slow})), {"Content-Type": "application/json"})
        led = sources.on(f"/held-{way}.jpg", redirect(slow) if way == "redirect" else manifest)
        # And one that the host always refuses
        refused = sources.on(f"/no-{way}", REFUSALS[refusal])
        stack = start_stack(allow=("127.0.0.1", "127.0.0.2"))
        with closing(Client(stack.url)) as client:
            one = submit(client, led)
            stranger.wait_for("/slow.jpg")
            busy = submit(client, refused)
            # Then the refusal is a retry of its own, and no sign of a limit
            said = ("Waiting for 127.0.0.1, which allows", "Retrying in")
            told = next(now for now in client.watch(busy, pause=LOOK) if now["message"].startswith(said))
            assert told["message"].startswith("Retrying in")
            # And other pictures of the host are tiled meanwhile
            others = [submit(client, sources.url(f"/map.jpg?{way}-{number}")) for number in range(3)]
            for other in others:
                ready(client, other)
            assert client.status(one)["state"] == "DOWNLOADING"
            gate.set()
            ready(client, one)


@pytest.mark.parametrize("refusal", ["503", "text"])
def test_urls_that_are_always_refused_hold_no_others_of_their_host(
    start_stack: StartStack, sources: SourceServer, refusal: str
) -> None:
    # Given a crowd of URLs that their host refuses whatever else it does
    refused = [sources.on(f"/never-{refusal}-{number}", REFUSALS[refusal]) for number in range(12)]
    with closing(Client(start_stack().url)) as client:
        crowd = [submit(client, url) for url in refused]
        sources.wait_for(f"/never-{refusal}-11")
        # When others of that host are submitted
        others = [submit(client, sources.url(f"/map.jpg?{refusal}-{number}")) for number in range(3)]
        # Then they are ready, and were told of no limit
        for other in others:
            assert not [now for now in client.watch(other, pause=LOOK) if "waiting_for" in now]
            ready(client, other)
        # And each of the crowd waits for itself only
        assert not [now for now in map(client.status, crowd) if "waiting_for" in now]
