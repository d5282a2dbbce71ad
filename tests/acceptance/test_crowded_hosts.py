"""Hosts that allow few connections, or ask to be left alone: whoever waits for that fails for nothing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.acceptance.conftest import StartStack
from tests.acceptance.jobs import LOOK, submit
from tests.support.network.answers import limited, status, whole
from tests.support.network.few_places import FewPlaces
from tests.support.network.sources import SourceServer
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
