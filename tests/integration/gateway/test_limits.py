"""What a client may cost before its request is one, tried by raw sockets as an attacker has them."""

from __future__ import annotations

import json
import re
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from gateway.http.body_limit import MAX_BODY
from gateway.http.limited_protocol import LimitedProtocol
from gateway.http.limits import Phase
from tests.support.rigs import gateway_rig, status_rig
from tests.support.rigs.gateway_rig import Gateway
from tests.support.rigs.waiting import until

LIMIT = 64 * 1024
TIMEOUT = 0.5
"""Seconds, of heads and bodies."""

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CODED = (
    b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: %b\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with (
        status_rig.running(f"sqlite:///{folder / 'rows.sqlite3'}") as status,
        gateway_rig.serving(status.address, folder, head_timeout=TIMEOUT, body_timeout=TIMEOUT) as gateway,
    ):
        yield gateway


def connect(gateway: Gateway) -> socket.socket:
    host, port = gateway.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def rest(line: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    data = b""
    try:
        while piece := line.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def answers(data: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


def send(gateway: Gateway, data: bytes) -> bytes:
    with connect(gateway) as line:
        with suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(data)
        return rest(line)


def ask(line: socket.socket, data: bytes) -> None:
    """Sends a request for /healthz, and takes its whole answer."""
    line.sendall(data)
    got = b""
    while not got.endswith(b'{"status":"ok"}'):
        got += line.recv(65536)
    assert answers(got) == [200]


def problem(data: bytes) -> dict[str, Any]:
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"connection: close" in head
    told: dict[str, Any] = json.loads(body)
    assert told["success"] is False
    return told


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * LIMIT + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 414),
        (HEAD + b"X: " + b"a" * LIMIT + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nCookie: " + b"a" * LIMIT + b"\r\n\r\n", 431),
        (HEAD + b"a" * LIMIT + b": x\r\n\r\n", 431),
        (HEAD + b"X: y\r\n" * 100 + b"\r\n", 431),
        (HEAD + b"X: " + b"y" * 1000 + b"\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 70 + b"\r\n", 431),
        (HEAD + b"Host: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /tiles/" + b"a" * 64 + b"/0/0/0.jpg HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n", 505),
        (b"GET /healthz HTTP/0.9\r\nHost: 127.0.0.1\r\n\r\n", 505),
        (CODED % b"gzip, chunked", 501),
        (CODED % b"gzip\r\nTransfer-Encoding: chunked", 501),
    ],
    ids=[
        "url",
        "value",
        "first value",
        "name",
        "fields",
        "lines",
        "two hosts",
        "no host",
        "no host for a tile",
        "nonsense",
        "HTTP/2.0",
        "HTTP/0.9",
        "two codings",
        "two codings in two headers",
    ],
)
def test_a_head_beyond_its_limits_is_refused(gateway: Gateway, request_: bytes, status: int) -> None:
    assert problem(send(gateway, request_))["status"] == status


@pytest.mark.parametrize("more", [b"Host: localhost\r\n", b"X: " + b"a" * LIMIT + b"\r\n", b": nonsense\r\n"])
def test_a_refused_head_request_is_answered_without_a_body(gateway: Gateway, more: bytes) -> None:
    head, _, body = send(gateway, HEAD.replace(b"GET", b"HEAD") + more + b"\r\n").partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert body == b""


def test_a_head_within_its_limits_is_answered(gateway: Gateway) -> None:
    # Given 99 fields beside Host, or nearly 64 KiB in one
    for more in (b"X: y\r\n" * 98, b"X: " + b"y" * (LIMIT - 200) + b"\r\n"):
        data = send(gateway, HEAD + more + b"Connection: close\r\n\r\n")
        assert answers(data) == [200]


def test_http_1_0_needs_no_host(gateway: Gateway) -> None:
    assert answers(send(gateway, b"GET /healthz HTTP/1.0\r\n\r\n")) == [200]


@pytest.mark.parametrize(
    "what", ["a header's value", "a header's name", "the url", "header lines", "trailers", "a chunk"]
)
def test_nothing_is_kept_of_a_head_without_end(gateway: Gateway, what: str) -> None:
    # Given a client that sends for as long as it is let
    chunked = b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    start, piece = {
        "a header's value": (HEAD + b"X: ", b"a" * 65536),
        "a header's name": (HEAD, b"a" * 65536),
        "the url": (b"GET /", b"a" * 65536),
        "header lines": (HEAD, b"X: y\r\n" * 10000),
        "trailers": (chunked + b"2\r\n{}\r\n0\r\n", b"X: y\r\n" * 10000),
        "a chunk": (chunked + b"2;", b"a" * 65536),
    }[what]
    before = psutil.Process().memory_info().rss
    sent = 0
    with connect(gateway) as line:
        line.sendall(start)
        try:
            while sent < 100 * 2**20:
                line.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
    # Then it was cut off early, and the process is as large as before
    assert sent < 100 * 2**20
    assert psutil.Process().memory_info().rss - before < 20 * 2**20


def test_chunks_of_one_byte_are_a_body_like_any_other(gateway: Gateway) -> None:
    body = json.dumps({"name": "Earth", "url": "https://example.org/earth.jpg", "description": "x" * 30000}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    head = b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    assert answers(send(gateway, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"))[0] in (202, 422)


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HT", HEAD, HEAD + b"X: a"])
def test_a_head_that_does_not_arrive_is_given_up_on(gateway: Gateway, begun: bytes) -> None:
    with connect(gateway) as line:
        line.sendall(begun)
        data = rest(line)
    # Whoever has begun is told, whoever has not is not
    assert answers(data) == ([408] if begun else [])


def test_a_body_that_does_not_arrive_is_given_up_on(gateway: Gateway) -> None:
    head = b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with connect(gateway) as line:
        line.sendall(head + b"Content-Length: 1000\r\n\r\n{")
        rest(line)  # ends


def test_a_client_that_drips_a_head_is_given_up_on_all_the_same(gateway: Gateway) -> None:
    # Given a client that sends a byte every tenth of a second
    with connect(gateway) as line:
        stop = threading.Event()

        def drip() -> None:
            with ExitStack() as stack:
                stack.callback(stop.set)
                try:
                    for byte in HEAD * 1000:
                        line.sendall(bytes([byte]))
                        if stop.wait(0.1):
                            return
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        # Then it is cut off
        rest(line)
        stop.set()
        dripping.join()


def test_beyond_the_cap_idle_connections_make_room_and_then_clients_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as status,
        gateway_rig.serving(status.address, tmp_path, max_connections=10) as gateway,
        ExitStack() as stack,
    ):
        # Given as many connections as there may be, that were used once
        idle = [stack.enter_context(connect(gateway)) for _ in range(10)]
        for line in idle:
            ask(line, HEAD + b"\r\n")
        # When another comes, Then it is answered, and the one that was idle for the longest is closed
        other = stack.enter_context(connect(gateway))
        ask(other, HEAD + b"\r\n")
        assert rest(idle[0]) == b""
        # And when all are in the middle of a request
        for line in (*idle[1:], other):
            line.sendall(b"GET ")
        served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)
        until(lambda: all(one.phase is Phase.HEAD for one in list(served)), "the requests' beginnings")
        # Then new ones are refused, each with a reason, in one line of the log
        for _ in range(5):
            with connect(gateway) as refused:
                assert problem(rest(refused))["status"] == 503
        assert sum("TILEWRIGHT_MAX_CONNECTIONS" in record.message for record in caplog.records) == 1
        # And those that were there are served
        ask(other, HEAD.removeprefix(b"GET ") + b"\r\n")


@pytest.mark.parametrize("padding", [0, 1200], ids=["one piece", "several pieces"])
def test_a_pipelined_request_that_is_at_work_is_not_idle(tmp_path: Path, padding: int) -> None:
    with (
        status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as status,
        gateway_rig.serving(status.address, tmp_path, max_connections=10, idle_timeout=1) as gateway,
        ExitStack() as stack,
    ):
        # Given a request that takes longer than a connection may be idle, behind one that is answered at once
        line = stack.enter_context(connect(gateway))
        first = HEAD + b"X: %b\r\n\r\n" % (b"x" * padding)
        line.sendall(first + WAIT.replace(b"wait=300", b"wait=3") + HEAD + b"Connection: close\r\n\r\n")
        served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)
        until(lambda: any(_has_begun(one, line.getsockname()) for one in list(served)), "the request")
        # When all connections are in use, Then it is not closed to make room for another
        for _ in range(12):
            ask(stack.enter_context(connect(gateway)), HEAD + b"\r\n")
        # And not for being idle
        assert answers(rest(line)) == [200, 202, 200]


def test_a_client_that_takes_nothing_of_its_answers_is_given_up_on(gateway: Gateway) -> None:
    served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)
    with connect(gateway) as line:
        own = line.getsockname()

        def is_served() -> bool:
            return any(one.transport.get_extra_info("peername") == own for one in list(served))

        # Given a client that asks for much more than the kernel's buffers hold, and reads nothing
        line.setblocking(False)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        line.send(request * 500)
        until(is_served, "the client's connection")
        # Then it is cut off
        until(lambda: not is_served(), "the end of the client's connection")
        line.settimeout(60)
        assert len(answers(rest(line))) < 500


LIST = b"GET /api/datasets?limit=200 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def reading_nothing(gateway: Gateway) -> socket.socket:
    """Connects with the smallest buffer for what comes."""
    host, port = gateway.url.removeprefix("http://").split(":")
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    line.connect((host, int(port)))
    return line


def test_unread_answers_of_all_clients_together_are_limited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limit = 2 * 2**20
    with (
        status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as status,
        gateway_rig.serving(status.address, tmp_path, max_unsent_bytes=limit) as gateway,
        ExitStack() as stack,
    ):
        # Given a catalogue whose page is a megabyte, and a client that has not read its small answer yet
        for number in range(30):
            gateway.submit(f"Earth {number}", description="\N{EARTH GLOBE EUROPE-AFRICA}" * 10_000)
        served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)
        patient = stack.enter_context(connect(gateway))
        patient.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        # When many ask for it several times, so that the kernel's buffers are full, and read nothing
        lines = [stack.enter_context(reading_nothing(gateway)) for _ in range(40)]
        for line in lines:
            line.sendall(LIST * 5)
        highest = 0

        def is_limited() -> bool:
            nonlocal highest
            highest = max(highest, sum(one.transport.get_write_buffer_size() for one in list(served)))
            return any("TILEWRIGHT_MAX_UNSENT_BYTES" in record.message for record in caplog.records)

        # Then connections are closed, and no more than the limit and one page is kept for all of them
        until(is_limited, "the end of some connections")
        until(lambda: len(list(served)) < len(lines), "the end of some connections")
        assert 0 < highest <= limit + 2**20
        # And those that have little to read, or read, get all of it
        assert answers(rest(patient)) == [200]
        page = gateway.get("/api/datasets?limit=200")
        assert page.ok
        assert page.json()["datasets"]


@pytest.mark.parametrize("is_whole", [False, True], ids=["the last bytes are missing", "whole, and waiting"])
def test_bodies_of_all_clients_together_are_limited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_whole: bool
) -> None:
    limit = 2 * 2**20
    with (
        status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as status,
        gateway_rig.serving(status.address, tmp_path, max_bodies_bytes=limit) as gateway,
        ExitStack() as stack,
    ):
        served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)
        body = WAITING + b" " * (MAX_BODY - len(WAITING))
        head = WAIT.partition(b"Content-Length")[0] + b"Content-Length: %d\r\n\r\n" % len(body)
        # Given an honest client in the middle of a small request
        honest = stack.enter_context(connect(gateway))
        small = WAIT.replace(b"Prefer: wait=300\r\n", b"Connection: close\r\n")
        honest.sendall(small[:-5])
        # When many clients send nearly as much as a body may have, and hold back the rest
        lines = [stack.enter_context(connect(gateway)) for _ in range(40)]
        highest = 0
        for line in lines:
            with suppress(BrokenPipeError, ConnectionResetError):
                line.sendall(head + (body if is_whole else body[:-10]))
            highest = max(highest, sum(one.body_bytes for one in list(served)))
        # Then most of them are ended: told so if their request is not whole
        name = "TILEWRIGHT_MAX_BODIES_BYTES"
        until(lambda: any(name in record.message for record in list(caplog.records)), "a line of the log")
        until(lambda: sum(one.body_bytes > 0 for one in list(served)) <= 10, "the end of some requests")
        assert highest <= limit + LIMIT
        if not is_whole:
            told = problem(rest(lines[0]))
            assert (told["status"], told["code"]) == (503, "service_unavailable")
        assert sum(name in record.message for record in list(caplog.records)) == 1
        # And honest requests get in, before and after
        honest.sendall(small[-5:])
        assert answers(rest(honest)) == [202]
        gateway.submit("Mars")
    # And nothing is left in the count
    assert gateway.server._limits.bodies._total == 0


def test_bytes_behind_waiting_requests_count_as_bodies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limit = 2**20
    with (
        status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as status,
        gateway_rig.serving(status.address, tmp_path, max_bodies_bytes=limit) as gateway,
        ExitStack() as stack,
    ):
        served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)

        def unparsed() -> int:
            return sum(len(one._unparsed) for one in list(served))

        # Given an honest client that waits, with a request behind it
        honest = stack.enter_context(connect(gateway))
        honest.sendall(WAIT.replace(b"wait=300", b"wait=3") + HEAD + b"Connection: close\r\n\r\n")
        # When many clients send requests behind one that waits
        own = [stack.enter_context(connect(gateway)) for _ in range(30)]
        highest = 0
        for line in own:
            line.setblocking(False)
            line.send(WAIT)
            with suppress(BlockingIOError):
                line.send(b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 8000)
            highest = max(highest, unparsed())
        # Then most of them are ended
        name = "TILEWRIGHT_MAX_BODIES_BYTES"
        until(lambda: any(name in record.message for record in list(caplog.records)), "a line of the log")
        until(lambda: unparsed() <= limit, "the end of some requests")
        assert highest <= 2 * limit
        # And the honest client has its responses
        assert answers(rest(honest)) == [202, 200]
    assert gateway.server._limits.bodies._total == 0


def create(body: bytes, more: bytes = b"") -> bytes:
    return (
        b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n%b"
        b"Content-Length: %d\r\n\r\n%b" % (more, len(body), body)
    )


@pytest.mark.parametrize(
    "fields",
    [b'"x": [' + b'{"":0},' * 35_000 + b"0]", b",".join(b'"%d": 0' % number for number in range(20_000))],
    ids=["nested", "many"],
)
def test_a_post_that_waits_keeps_nothing_of_its_body(gateway: Gateway, fields: bytes) -> None:
    count = 24
    body = b'{"name": "Earth", "subject": "%d", "url": "https://example.org/earth.jpg", %b}' % (len(fields), fields)

    def begun() -> int:
        return len(gateway.get(f"/api/datasets?subject={len(fields)}&limit=200").json()["datasets"])

    gateway.submit("Mars")
    with ExitStack() as stack:
        lines = [stack.enter_context(connect(gateway)) for _ in range(count)]
        tracemalloc.start()
        try:
            # When clients send bodies that take many times their bytes as Python objects, and wait
            for line in lines:
                line.sendall(create(body, b"Prefer: wait=300\r\n"))
            until(lambda: begun() == count, "all datasets")
            # Then less than their bytes is left, with all else that a waiting request needs
            until(lambda: tracemalloc.get_traced_memory()[0] < count * len(body), "the end of the bodies")
        finally:
            tracemalloc.stop()


def test_the_largest_body_that_is_valid_is_accepted_and_no_larger_one(gateway: Gateway) -> None:
    planet = b"\\ud83c\\udf0d"
    url = b"".join(b"\\u%04x" % byte for byte in b"https://example.org/".ljust(8000, b"a"))
    fields = [b'"name": "%b"' % (planet * 200), b'"description": "%b"' % (planet * 10_000), b'"url": "%b"' % url]
    fields += [b'"%b": "%b"' % (name, planet * 200) for name in (b"category", b"subject")]
    body = b"{" + b", ".join(fields) + b"}"
    close = b"Connection: close\r\n"
    assert answers(send(gateway, create(body, close))) == [202]
    assert answers(send(gateway, create(body.ljust(MAX_BODY), close))) == [202]
    assert answers(send(gateway, create(body.ljust(MAX_BODY + 1), close))) == [413]


def test_blanks_around_a_header_are_not_part_of_it(gateway: Gateway) -> None:
    start = b"GET /healthz HTTP/1.1\r\nConnection: close \r\n"
    for host in (b"localhost ", b"localhost:80 \t ", b"\t localhost\t"):
        assert answers(send(gateway, start + b"Host: " + host + b"\r\n\r\n")) == [200]
    assert answers(send(gateway, start + b"Host: local host \r\n\r\n")) == [400]
    assert answers(send(gateway, start + b"Host: example.org \r\n\r\n")) == [421]


def test_the_next_answer_is_not_made_before_the_client_reads_the_one_before_it(gateway: Gateway) -> None:
    served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)
    before = {id(one) for one in list(served)}
    with reading_nothing(gateway) as line:
        # Given a client that asks for more than the kernel's buffers hold, in requests one after the other
        line.sendall((b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: %b\r\n\r\n" % (b"y" * 2000)) * 100)
        until(lambda: any(one.flow.write_paused for one in list(served)), "a client that does not read")
        (protocol,) = (one for one in list(served) if id(one) not in before)
        # Then no request of it is at work
        assert protocol._responding is not None
        until(lambda: protocol._responding is not None and protocol._responding.response_complete, "the last answer")
        assert protocol.flow.write_paused
        # And when it reads, all are answered
        line.settimeout(60)
        got = b""
        while len(answers(got)) < 20:
            got += line.recv(65536)


WAITING = b'{"name": "Earth", "url": "https://example.org/earth.jpg"}'
WAIT = (
    b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nPrefer: wait=300\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(WAITING), WAITING)
)
"""A request that is answered once somebody has worked on it: nobody does here."""


MALFORMED = {
    "no request": b"garbage\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a long head": HEAD + b"X: " + b"a" * LIMIT + b"\r\n\r\n",
    "a malformed chunk": CODED.replace(b"2\r\n{}", b"zz\r\n{}") % b"chunked",
    "another version": HEAD.replace(b"1.1", b"2.0") + b"\r\n",
}


@pytest.mark.parametrize("malformed", MALFORMED.values(), ids=MALFORMED)
def test_a_request_is_answered_also_if_what_follows_it_is_malformed(gateway: Gateway, malformed: bytes) -> None:
    # Given requests that have arrived whole, of which one waits for its result
    waiting = WAIT.replace(b"wait=300", b"wait=1")
    # When something malformed follows them
    found = answers(send(gateway, HEAD + b"\r\n" + waiting + HEAD + b"\r\n" + malformed))
    # Then each gets its own answer, and only then what follows is refused
    assert found[:-1] == [200, 202, 200]
    assert found[-1] in (400, 431, 505)


def test_a_request_is_answered_also_if_what_follows_it_later_is_malformed(gateway: Gateway) -> None:
    served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)
    with connect(gateway) as line:
        line.sendall(WAIT.replace(b"wait=300", b"wait=1"))
        own = line.getsockname()
        until(lambda: any(_has_begun(one, own) for one in list(served)), "the request")
        line.sendall(b"garbage\r\n\r\n")
        assert answers(rest(line)) == [202, 400]


def _has_begun(one: LimitedProtocol, own: tuple[str, int]) -> bool:
    return one.transport.get_extra_info("peername") == own and one._responding is not None


def test_a_body_that_waits_behind_another_request_is_not_late(gateway: Gateway) -> None:
    # Given a request whose body comes in pieces, behind one that waits for longer than a body may take
    body = b"{}" + b" " * 4000
    late = b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with connect(gateway) as line:
        line.sendall(WAIT.replace(b"wait=300", b"wait=2") + late + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        # Then both are answered
        assert answers(rest(line)) == [202, 422]


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_a_client_that_ends_its_side_gets_its_answers(gateway: Gateway, version: bytes) -> None:
    for requests, statuses in (
        (WAIT.replace(b"wait=300", b"wait=1"), [202]),
        (HEAD + b"\r\n", [200]),
        ((HEAD + b"\r\n") * 3, [200] * 3),
        (WAIT.replace(b"wait=300", b"wait=1") + (HEAD + b"\r\n") * 100, [202] + [200] * 100),
        (WAIT.replace(b"wait=300", b"wait=1") + b"garbage\r\n\r\n", [202, 400]),
    ):
        with connect(gateway) as line:
            line.sendall(requests.replace(b"HTTP/1.1", version))
            line.shutdown(socket.SHUT_WR)
            found = [status for status in answers(rest(line)) if status != 100]
        assert found == (statuses if version == b"HTTP/1.1" else statuses[:1])


def test_a_request_that_is_cut_off_by_its_client_is_not_waited_for(gateway: Gateway) -> None:
    for cut in (HEAD, WAIT[:-1]):
        with connect(gateway) as line:
            line.sendall(cut)
            line.shutdown(socket.SHUT_WR)
            assert rest(line) == b""


def test_a_client_that_leaves_is_not_waited_for(gateway: Gateway) -> None:
    served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)
    with connect(gateway) as line:
        line.sendall(WAIT)
        own = line.getsockname()
        until(lambda: any(_has_begun(one, own) for one in list(served)), "the request")
    until(lambda: not any(_has_begun(one, own) for one in list(served)), "the end of the connection")


def test_requests_behind_one_that_waits_are_not_kept_and_end_with_their_client(gateway: Gateway) -> None:
    served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)

    def protocols(own: tuple[str, int]) -> list[LimitedProtocol]:
        return [one for one in list(served) if one.transport.get_extra_info("peername") == own]

    # Given ten thousand requests behind one that waits
    with connect(gateway) as line:
        own = line.getsockname()
        line.setblocking(False)
        line.send(WAIT + b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 10_000)
        until(lambda: any(one._unparsed for one in protocols(own)), "requests that wait unparsed")
        (protocol,) = protocols(own)
        # Then few of them are begun, and of the rest little is taken
        assert len(protocol.pipeline) < 50
        assert len(protocol._unparsed) < 2**20
    # When the client leaves, of which nobody is told who does not read, then its place is free
    until(lambda: not protocols(own), "the end of the connection")


def test_requests_sent_in_one_go_are_all_answered_in_their_order(gateway: Gateway) -> None:
    ways = [b"/healthz", b"/api/datasets?limit=1", b"/nothing", b"/readyz"]
    with connect(gateway) as line:
        for way in ways * 50:
            line.sendall(b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % way)
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        found = answers(rest(line))
    assert found[:200:4] == [200] * 50
    assert found[2:200:4] == [404] * 50
    assert len(found) == 201


@pytest.mark.parametrize(
    "body",
    [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 30_000 + b"\r\n",
    ],
    ids=["no chunk", "a chunk's extension", "trailers"],
)
def test_a_malformed_body_is_a_problem(gateway: Gateway, body: bytes) -> None:
    head = b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    assert problem(send(gateway, head + body))["status"] in {400, 431}


def test_whoever_leaves_behind_requests_in_a_row_fills_no_log(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    request = b"GET /api/datasets?q=earth HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    for more in (request * 2, WAIT * 2, WAIT + b"XX\r\n\r\n", b"nonsense\r\n\r\n"):
        for _ in range(20):
            with connect(gateway) as line:
                line.sendall(more)
    served = cast("set[LimitedProtocol]", gateway.server._server.server_state.connections)
    until(lambda: not served, "the end of all connections")
    assert len([record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]) < 5, caplog.text


def test_a_client_that_leaves_in_the_middle_of_a_pipeline_troubles_nobody(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    # Given clients that ask for much at once, and leave without waiting
    for _ in range(20):
        with connect(gateway) as line:
            line.sendall((HEAD + b"\r\n") * 200)
            # A reset, as of a process that was killed
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    # Then others are answered, and nothing is logged
    assert gateway.get("/healthz").ok
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
"""What `curl --http2` and Java's client send along with a first request."""


@pytest.mark.parametrize("apart", [False, True], ids=["one segment", "two segments"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
def test_a_request_that_offers_another_protocol_keeps_its_body(gateway: Gateway, apart: bool, is_chunked: bool) -> None:
    # Given a submission
    body = b'{"url": "https://images.example/a.jpg", "name": "n"}'
    length = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
    coded = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body
    head = b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + UPGRADE + length
    with connect(gateway) as line:
        # When it is sent, and a request behind it
        if apart:
            line.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
            assert line.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        else:
            line.sendall(head + b"\r\n\r\n")
        line.sendall(coded + HEAD + b"Connection: close\r\n\r\n")
        # Then both are answered, in HTTP/1.1
        assert answers(rest(line)) == [202, 200]


def test_requests_behind_one_that_offers_another_protocol_are_answered(gateway: Gateway) -> None:
    plain = HEAD + b"\r\n"
    offered = HEAD + UPGRADE + b"\r\n"
    last = HEAD + b"Connection: close\r\n\r\n"
    assert answers(send(gateway, plain + offered + plain + last)) == [200, 200, 200, 200]


def test_an_offer_of_another_protocol_lifts_no_limit(gateway: Gateway) -> None:
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(120))
    assert answers(send(gateway, HEAD + UPGRADE + many + b"\r\n")) == [431]
    assert answers(send(gateway, b"GET /healthz HTTP/1.1\r\n" + UPGRADE + b"\r\n")) == [400]
    assert answers(send(gateway, b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" + HEAD + b"\r\n")) == [501]
