"""Clients that hold connections and send nothing: honest ones are served, and jobs end well."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acceptance.conftest import ENVIRONMENT, SOURCES
from tests.acceptance.jobs import finish, submit
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until
from tilewright.client import Client, Unreachable
from tilewright.embedded import LaunchedStack, launch

FILES = 1024
"""What shells give by default."""

HELD = 990

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BODY = (
    b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
)


@pytest.fixture
def short_stack(tmp_path: Path) -> Iterator[LaunchedStack]:
    """A stack that may open 1,024 files, soft limit and hard."""
    stack = launch(
        tmp_path / "data",
        allow_sources=[SOURCES],
        environment=ENVIRONMENT | {"TILEWRIGHT_HEAD_TIMEOUT": "2", "TILEWRIGHT_BODY_TIMEOUT": "2"},
        under=["prlimit", f"--nofile={FILES}:{FILES}"],
    )
    yield stack
    assert stack.stop() == 0


@pytest.mark.parametrize("begun", [HEAD, BODY, b""], ids=["half a head", "half a body", "nothing"])
def test_half_sent_requests_lock_nobody_out(short_stack: LaunchedStack, sources: SourceServer, begun: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * FILES)), hard))
    parts = urlsplit(short_stack.url)
    client = Client(short_stack.url)
    with ExitStack() as stack:
        # When 990 clients send half a request, or nothing, and hold on
        for _ in range(HELD):
            line = stack.enter_context(socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60))
            with suppress(OSError):  # refused already
                line.sendall(begun)

        # Then an honest image is accepted as soon as the first of them are given up on, and ends ready
        def accepted() -> bool:
            try:
                ids.append(submit(client, sources.url("/map.jpg")))
            except Unreachable:
                return False
            return True

        ids: list[str] = []
        until(accepted, "an accepted POST")
        last = finish(client, ids[0])
    assert last["status"] == "ready", last
    client.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    # And nothing broke, and the log does not say the same a thousand times
    log = short_stack.log.read_text()
    assert "Traceback" not in log
    assert "internal_error" not in log
    assert log.count("TILEWRIGHT_MAX_CONNECTIONS") <= 2
