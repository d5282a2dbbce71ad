"""Responses come in the order of their requests, whatever is fast, slow or not read."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.http.limits import Limits, Phase
from gateway.http_server_protocol import Protocol, protocol_for
from gateway.tiles import QuickTiles

REQUESTS = 12
LARGE = 5000
HIGH = 4000
"""Bytes above which the transport pauses writing: one large response."""


class Quick:
    """Responds to tiles at once, except to those that are not in memory."""

    def response(self, url: bytes, headers: Any) -> tuple[bytes, bytes] | None:
        kind, number = url.split(b"/")[2:]
        if kind != b"fast":
            return None
        return b"HTTP/1.1 200 OK\r\nn: %b\r\ncontent-length: %d\r\n" % (number, LARGE), b"a" * LARGE


class Transport(asyncio.Transport):
    """Keeps what is written until the client reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unread = 0
        self.reads = True
        self.closing = False
        self.protocol: Protocol

    def write(self, data: Any) -> None:
        if self.closing:
            return
        self.written += data
        self.unread += len(data)
        if self.unread > HIGH:
            self.protocol.pause_writing()

    def client_reads(self) -> None:
        paused, self.unread = self.unread > HIGH, 0
        if paused:
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


class Line:
    """A connection to an app whose slow requests wait until they are released."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []
        self.limits = Limits(10, 60.0, 60.0)
        config = uvicorn.Config(
            self.app, lifespan="off", interface="asgi3", log_config=None, access_log=False, ws="none"
        )
        config.load()
        self.state = ServerState()
        kind = protocol_for(cast("QuickTiles", Quick()), self.limits)
        self.protocol = kind(config=config, server_state=self.state, app_state={})
        self.transport = Transport()
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        kind, number = scope["path"].split("/")[2:]
        if kind == "slow":
            future = asyncio.get_running_loop().create_future()
            self.waiting.append(future)
            await future
        size = LARGE if int(number) % 2 else 2
        headers = [(b"n", number.encode()), (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"b" * size})

    def release(self) -> None:
        while self.waiting:
            self.waiting.pop(0).set_result(None)

    def numbers(self) -> list[int]:
        return [int(number) for number in re.findall(rb"\r\nn: (\d+)", self.transport.written)]


async def soon() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def request(kind: str, number: int, padding: int = 0) -> bytes:
    return b"GET /tiles/%b/%d HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (kind.encode(), number, b"x" * padding)


@pytest.mark.parametrize("seed", range(300))
def test_responses_come_in_the_order_of_the_requests(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311

    async def run() -> None:
        line = Line()
        # Given fast and slow requests, in one piece or several
        kinds = [chance.choice(["fast", "fast", "slow", "app"]) for _ in range(REQUESTS)]
        data = b"".join(
            request(kind, number, chance.choice([0, 0, 900])) for number, kind in enumerate(kinds)
        ) + chance.choice([b"", b"nonsense\r\n\r\n"])
        is_refused = data.endswith(b"nonsense\r\n\r\n")
        ends_its_side = chance.choice([True, False])
        # When they are sent, worked on and read in any order, and the client may end its side after the last
        for _ in range(1000):
            step = chance.choice(["send", "read", "release", "wait"])
            if ends_its_side and not data and not line.protocol.is_half_closed:
                # What the transport calls, or the gateway's sweep while the transport is not read from.
                if not line.transport.reads:
                    line.protocol.note_half_closed()
                elif not line.protocol.eof_received():
                    line.transport.close()
            if step == "send" and data and line.transport.reads:
                size = chance.choice([10, 200, 2000])
                piece, data = data[:size], data[size:]
                line.protocol.data_received(piece)
            elif step == "read":
                line.transport.client_reads()
            elif step == "release":
                line.release()
            else:
                await soon()
            # Then a connection is never called idle while a response is due
            if line.waiting:
                assert line.protocol.phase is not Phase.IDLE
                assert line.protocol.timeout_keep_alive_task is None
            if not data and len(line.numbers()) == REQUESTS and (not is_refused or b" 400 " in line.transport.written):
                break
        # And each response comes once, in the order of the requests
        assert line.numbers() == list(range(REQUESTS))
        assert line.transport.written.count(b"HTTP/1.1 400 ") == int(is_refused)
        assert not is_refused or line.transport.written.rindex(b"HTTP/1.1 400 ") > line.transport.written.rindex(
            b"\r\nn: "
        )
        # And the connection ends with the last of them if the client sends nothing more
        if line.protocol.is_half_closed and not is_refused:
            line.transport.client_reads()
            await soon()
            assert line.transport.closing
        line.protocol.connection_lost(None)

    asyncio.run(run())


def test_a_connection_whose_pipelined_request_is_answered_is_not_closed_to_make_room() -> None:
    async def run() -> None:
        line = Line()
        # Given a slow request behind a fast one, of whatever kind
        for fast in ("fast", "app"):
            line.protocol.data_received(request(fast, 0) + request("slow", 2))
            await soon()
            line.transport.client_reads()
            await soon()
            assert line.waiting
            # Then it is not idle
            assert not line.limits.make_room([line.protocol])
            # Until it has its response
            line.release()
            await soon()
            assert line.protocol.phase is Phase.IDLE
        assert line.limits.make_room([line.protocol])
        assert line.transport.closing

    asyncio.run(run())
