"""One statussvc on a database, whatever is started, cut off, or comes in between."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

import statussvc.__main__ as entrance
from statussvc.claim import LOCK, InUse
from statussvc.server import Server
from statussvc.settings import StatusSettings
from tests.status_rig import await_health, running
from tests.waiting import until


async def start_another(database_url: str) -> None:
    server = Server(StatusSettings(database_url=database_url, grpc_port=0))
    try:
        await server.start()
    finally:
        await server.stop()


def test_a_second_service_is_refused_until_the_first_has_ended(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(database_url) as status:
        dataset_id = status.create()
        # Given a service that is at work, when another is started, then it is refused, and told why
        with pytest.raises(InUse, match=r"in use by .* stop that one, or set TILEWRIGHT_DATABASE_URL"):
            asyncio.run(start_another(database_url))
        # And as a process it waits for a while, says so, and ends
        monkeypatch.setattr(entrance, "START_PATIENCE", 0.0)
        assert asyncio.run(entrance.serve(StatusSettings(database_url=database_url, grpc_port=0))) == 1
        assert [record.levelname for record in caplog.records if "in use by" in record.message] == ["ERROR"]
        # And the first one goes on
        assert status.state(dataset_id) == "QUEUED"
    # When the first has ended, then the database is free
    with running(database_url) as status:
        assert status.state(dataset_id) == "QUEUED"


LOCKS = f"FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK} AND"


def test_a_service_that_has_lost_its_claim_says_so_and_takes_it_again(postgres_url: str) -> None:
    with running(postgres_url) as status:
        dataset_id = status.create()
        url = postgres_url.replace("+psycopg", "")
        with ThreadPoolExecutor(1) as thread, psycopg.connect(url, autocommit=True) as other:
            # Given another that waits for the database
            waiting = thread.submit(other.execute, "SELECT pg_advisory_lock(%s)", [LOCK])
            with psycopg.connect(url, autocommit=True) as operator:
                until(lambda: operator.execute(f"SELECT 1 {LOCKS} NOT granted").rowcount == 1, "a waiting service")
                # When the first one's session is cut off, then it says that it does not serve
                operator.execute(f"SELECT pg_terminate_backend(pid) {LOCKS} granted")
            waiting.result(timeout=30)
            await_health(status.address, "NOT_SERVING")
        # And when that one has gone, it serves again
        await_health(status.address, "SERVING")
        assert status.state(dataset_id) == "QUEUED"
