"""A tile's quick answer: the same as the long way's, given only where that is all there is to say, and in order."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.http.limits import Limits
from gateway.http.request_id import RequestId
from gateway.http_server_protocol import protocol_for
from gateway.tiles.quick_tiles import QuickTiles
from pipeline.pyramids.geometry import Geometry
from pipeline.storage.directory import DirectoryStorage, pyramid_key
from tests.support.images import pictures
from tests.support.rigs.tile_rig import TILE_ID, Answer, Kiln, RemoteStorage, Server, Site, run

WIDTH, HEIGHT = 700, 301
GEOMETRY = Geometry(WIDTH, HEIGHT)
TILE = f"/tiles/{TILE_ID}_files/10/1_0.jpg"


@pytest.fixture
def site(tmp_path: Path, kiln: Kiln) -> Iterator[Site]:
    site = Site(DirectoryStorage(tmp_path / "storage"), tmp_path, kiln)
    site.store(pictures.jpeg(tmp_path / "source.jpg", WIDTH, HEIGHT))
    yield site
    site.pyramids.close()


class Wire:
    """A connection to the server, kept over all requests."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.get(TILE)  # the long way, which opens the pyramid

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, names)
        answer = self._connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def send(self, *requests: bytes) -> bytes:
        """Sends all at once on a new connection, and gives all that comes back until it is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as raw:
            raw.sendall(b"".join(requests))
            return raw.makefile("rb").read()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    with Server(
        RequestId(site.tiles), protocol_for(QuickTiles(site.pyramids, site.addresses), Limits(1000, 60.0, 60.0))
    ) as port:
        wire = Wire(port)
        yield wire
        wire.close()


def quick(answer: Answer) -> bool:
    """Only the long way names a request."""
    return "x-request-id" not in answer.headers


def addresses() -> Iterator[str]:
    for number, level in enumerate(GEOMETRY.levels):
        for x in range(level.columns):
            for y in range(level.rows):
                yield f"/tiles/{TILE_ID}_files/{number}/{x}_{y}.jpg"
                if (zoom := number - GEOMETRY.level_of_zoom(0)) >= 0:
                    yield f"/tiles/{TILE_ID}/{zoom}/{x}/{y}.jpg"


def test_every_tile_is_answered_as_by_the_long_way(wire: Wire) -> None:
    for path in addresses():
        # When a tile is asked for plainly, and so that it has to go the long way
        short, long = wire.get(path), wire.get(path, x_request_id="mine")
        assert quick(short)
        assert long.headers.pop("x-request-id") == "mine"
        # Then nothing tells them apart
        assert short.headers.pop("date")
        assert long.headers.pop("date")
        assert short == long
        assert short.status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/tiles/{TILE_ID}.dzi", 200),
        (f"/tiles/{TILE_ID}/thumbnail.jpg", 200),
        (f"{TILE}?a=b", 200),
        (TILE.replace("_files", "%5Ffiles"), 200),
        (TILE.replace("10/", "11/"), 404),
        (TILE.replace("1_0", "3_0"), 404),
        (TILE.replace("1_0", "01_0"), 404),
        (TILE.replace("jpg", "png"), 404),
        (TILE.replace(TILE_ID, "f" * 64), 404),
        (f"/tiles/{TILE_ID}/3/0/0.jpg", 404),
    ],
)
def test_what_is_no_tile_goes_the_long_way(wire: Wire, path: str, status: int) -> None:
    answer = wire.get(path)
    assert (answer.status, quick(answer)) == (status, False)


def test_so_does_what_has_another_answer(wire: Wire) -> None:
    etag = wire.get(TILE).headers["etag"]
    assert wire.get(TILE, if_none_match=etag)[::2] == (304, b"")
    assert wire.get(TILE, x_request_id="mine-7").headers["x-request-id"] == "mine-7"
    head = wire.get(TILE, "HEAD")
    assert (head.status, head.body, quick(head)) == (200, b"", False)
    assert wire.get(TILE, "POST").status == 405


def test_a_connection_that_is_to_end_ends(wire: Wire) -> None:
    body = wire.get(TILE).body
    for request in (
        f"GET {TILE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        f"GET {TILE} HTTP/1.0\r\nHost: x\r\n\r\n",
    ):
        assert wire.send(request.encode()).endswith(body)


def test_requests_sent_in_one_go_are_answered_in_their_order(wire: Wire) -> None:
    # Given quick and long ones mixed, more than a connection's buffers hold, and a client that reads afterwards
    ask = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
    paths = [TILE, f"/tiles/{TILE_ID}.dzi", f"/tiles/{TILE_ID}_files/9/0_0.jpg", f"/tiles/{TILE_ID}/9/9/9.jpg"] * 40
    bodies = {path: wire.get(path).body for path in set(paths[:3])}
    last = f"GET {TILE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    # When they are sent at once
    rest = wire.send(*(ask.format(path).encode() for path in paths), last.encode())
    # Then their answers come in the same order
    for path in [*paths, TILE]:
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        body, rest = rest[:length], rest[length:]
        assert head.startswith(b"HTTP/1.1 200" if path in bodies else b"HTTP/1.1 404")
        assert body == bodies.get(path, body)
    assert rest == b""


def test_a_body_that_nobody_asked_for_is_not_taken_for_a_request(wire: Wire) -> None:
    # Given a GET with a body that looks like a request
    trap = b"GET /trap HTTP/1.1\r\n\r\n"
    first = f"GET {TILE} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(trap)}\r\n\r\n".encode()
    last = f"GET {TILE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    # When it is sent, then two requests are answered, not three
    answers = wire.send(first, trap, last)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answers.count(b"HTTP/1.1 ") == 2


def test_what_lies_on_the_disk_is_waited_for_by_its_own_request_only(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = wire.get(TILE).body

    # Given that nothing is in memory
    def would_block(*_: Any) -> int:
        raise BlockingIOError(errno.EAGAIN, "would block")

    monkeypatch.setattr(os, "preadv", would_block)
    # When a tile is asked for, then it comes by the long way
    answer = wire.get(TILE)
    assert (answer.status, answer.body, quick(answer)) == (200, expected, False)


def test_a_file_system_that_cannot_tell_is_read_in_a_thread(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, real = wire.get(TILE).body, os.pread
    readers: set[str] = set()

    # Given a file system without that flag
    def no_flags(*_: Any) -> int:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    def noting(descriptor: int, length: int, offset: int) -> bytes:
        readers.add(threading.current_thread().name.partition("-")[0])
        return real(descriptor, length, offset)

    monkeypatch.setattr(os, "preadv", no_flags)
    monkeypatch.setattr(os, "pread", noting)
    # When tiles are asked for, then they come, and the event loop reads none of them
    answers = [wire.get(TILE) for _ in range(3)]
    assert [(answer.body, quick(answer)) for answer in answers] == [(expected, False)] * 3
    assert readers == {"storage"}


def test_a_build_that_is_gone_is_found_out_when_the_cache_looks(site: Site, wire: Wire) -> None:
    # Given a build that is open, and deleted
    assert quick(wire.get(TILE))
    site.storage.delete_prefix(pyramid_key(TILE_ID, "a"))
    # When the cache has looked for such
    run(site.pyramids.drop_deleted())
    # Then it is served no longer
    assert wire.get(TILE).status == 404


def test_a_tile_that_is_remembered_comes_from_the_build_that_counts(site: Site, wire: Wire) -> None:
    # Given a tile that is remembered, and another picture's build in the place of its own
    before = wire.get(TILE)
    assert quick(wire.get(TILE))
    site.store(pictures.save(pictures.noise(WIDTH, HEIGHT), site.folder / "other.png"), run="b")
    site.storage.delete_prefix(pyramid_key(TILE_ID, "a"))
    run(site.pyramids.drop_deleted())
    # When it is asked for again, the long way first and then the short one, then it is the other's
    long, short = wire.get(TILE), wire.get(TILE)
    assert (quick(long), quick(short)) == (False, True)
    assert long.body == short.body == pictures.deep_zoom(site.stored("pyramid.szi", "b"))[10, 1, 0]
    assert short.body != before.body


def test_only_so_many_tiles_are_remembered(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.tiles.quick_tiles.REMEMBERED", 2)
    for _ in range(2):
        assert all(quick(wire.get(path)) for path in addresses())


def test_a_bucket_is_always_asked_the_long_way(tmp_path: Path, kiln: Kiln) -> None:
    site = Site(RemoteStorage(tmp_path / "storage"), tmp_path, kiln)
    site.store(pictures.jpeg(tmp_path / "source.jpg", WIDTH, HEIGHT))
    with Server(
        RequestId(site.tiles), protocol_for(QuickTiles(site.pyramids, site.addresses), Limits(1000, 60.0, 60.0))
    ) as port:
        wire = Wire(port)
        answer = wire.get(TILE)
        assert (answer.status, quick(answer)) == (200, False)
        wire.close()
    site.pyramids.close()
