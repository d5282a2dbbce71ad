"""A storage that hangs holds up who reads it, and nobody else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.acceptance.conftest import StartStack
from tests.acceptance.jobs import ready, submit
from tests.acceptance.test_restarts import talking_to
from tests.support.network.sources import SourceServer
from tilewright.embedded import LaunchedStack

READERS = 40
"""More than there are threads that wait for storage."""


@contextmanager
def hanging(path: Path) -> Iterator[None]:
    """A file that nobody can open before the block ends."""
    path.rename(path.with_suffix(".away"))
    os.mkfifo(path)
    try:
        yield
    finally:
        path.with_suffix(".away").rename(path.with_suffix(".back"))
        # Whoever waits for a writer goes on once there is one; later readers find the file.
        with ExitStack() as writers:
            writer = os.open(path, os.O_RDWR)
            writers.callback(os.close, writer)
            path.with_suffix(".back").replace(path)


def ask(stack: LaunchedStack, target: str) -> socket.socket:
    host, _, port = stack.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    return connection


def answer_so_far(connection: socket.socket) -> bytes:
    limit = connection.gettimeout()
    connection.setblocking(False)
    try:
        return connection.recv(1000, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
    finally:
        connection.settimeout(limit)


def test_a_file_that_hangs_stops_no_post_and_no_other_picture(start_stack: StartStack, sources: SourceServer) -> None:
    # Given two pictures, and a storage that hangs where the first one's files are opened
    stack = start_stack()
    with talking_to(stack) as client:
        hung = ready(client, submit(client, sources.url("/map.jpg")))
        other = ready(client, submit(client, sources.url("/glass.png")))
    (build,) = (stack.data / "storage" / "pyramids" / hung["tile_id"]).iterdir()

    def tile(tile_info: dict[str, Any], extension: str) -> str:
        return f"/tiles/{tile_info['tile_id']}_files/0/0_0.{extension}"

    assert requests.get(stack.url + tile(other, "png"), timeout=60).status_code == 200
    with ExitStack() as open_ones:
        with hanging(build / "tiles.idx"), hanging(build / "thumbnail.jpg"):
            # When many ask for the first one's tiles
            waiting = [open_ones.enter_context(ask(stack, tile(hung, "jpg"))) for _ in range(READERS)]
            # Then everything else is answered
            for path in ("/healthz", "/readyz", "/api/datasets", tile(other, "png")):
                assert requests.get(stack.url + path, timeout=60).status_code == 200
            new = {"name": "x", "url": sources.url("/map.jpg")}
            assert requests.post(f"{stack.url}/api/datasets", json=new, timeout=60).status_code == 202
            # While those still wait
            assert [answered for connection in waiting if (answered := answer_so_far(connection))] == []
        # And once the storage answers, so do they: with the tile, or with the advice to come again
        for connection in waiting:
            status = connection.makefile("rb").readline().split()[1]
            assert status in (b"200", b"503")
    assert requests.get(stack.url + tile(hung, "jpg"), timeout=60).status_code == 200
