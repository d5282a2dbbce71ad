"""Poll statuses with thousands of clients, in a process of its own: `python -m bench.attack.pollers`.

Each client keeps its connection. A polite one waits after each answer as Retry-After says; a rude one does not wait.
Prints one JSON object: the number of answers by status, of lost connections, and the times of the answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import time
from collections import Counter
from typing import cast
from urllib.parse import urlsplit

import uvloop

PAUSE = 1.0
"""Seconds between two polls if an answer has no Retry-After."""

STAGGER = 0.0005
"""Seconds between the starts of two connections."""

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: (\d+)", re.IGNORECASE)
_ETAG = re.compile(rb"\r\netag: ([^\r]+)", re.IGNORECASE)


class Crowd:
    """State that all pollers share."""

    def __init__(self, *, polite: bool) -> None:
        self.polite = polite
        self.answers: Counter[int] = Counter()
        self.cut = 0
        self.seconds: list[float] = []
        self.over = False


class Poller(asyncio.Protocol):
    """One client with one connection, which polls one status. With `with_etag` it sends If-None-Match."""

    def __init__(self, crowd: Crowd, path: str, host: str, *, with_etag: bool) -> None:
        self._crowd = crowd
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n".encode()
        self._with_etag = with_etag
        self._etag = b""
        self._data = b""
        self._sent = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) < int(length[1]):
            return
        self._data = b""
        status = _STATUS.match(head)
        self._crowd.answers[int(status[1]) if status else 0] += 1
        self._crowd.seconds.append(time.monotonic() - self._sent)
        if self._with_etag and (etag := _ETAG.search(head)):
            self._etag = b"If-None-Match: " + etag[1] + b"\r\n"
        wished = _RETRY_AFTER.search(head)
        pause = (float(wished[1]) if wished else PAUSE) if self._crowd.polite else 0.0
        asyncio.get_running_loop().call_later(pause, self._ask)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self._crowd.over:
            self._crowd.cut += 1

    def _ask(self) -> None:
        if not self._crowd.over and not self._transport.is_closing():
            self._sent = time.monotonic()
            self._transport.write(self._request + self._etag + b"\r\n")


async def poll(url: str, paths: list[str], count: int, seconds: float, *, polite: bool) -> Crowd:
    """Open `count` connections, then poll with all of them for `seconds`."""
    host = urlsplit(url).netloc
    name, _, port = host.rpartition(":")
    crowd, loop, transports = Crowd(polite=polite), asyncio.get_running_loop(), []
    for number in range(count):
        path, with_etag = paths[number % len(paths)], number % 2 == 0
        try:
            transport, _ = await loop.create_connection(
                lambda path=path, with_etag=with_etag: Poller(crowd, path, host, with_etag=with_etag),  # type: ignore[misc]
                name,
                int(port),
            )
        except OSError:
            crowd.cut += 1
            continue
        transports.append(transport)
        await asyncio.sleep(STAGGER)
    await asyncio.sleep(seconds)
    crowd.over = True
    for transport in transports:
        transport.close()
    return crowd


def main() -> int:
    """Poll as the arguments say, and print the results."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.attack.pollers", description="Poll statuses with many connections."
    )
    parser.add_argument("url", help="URL of the gateway")
    parser.add_argument("paths", nargs="+", help="paths of statuses")
    parser.add_argument("--count", type=int, default=3000, help="number of connections; default: 3,000")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds that all of them poll; default: 60")
    parser.add_argument("--rude", action="store_true", help="do not wait between two polls")
    options = parser.parse_args()
    # A real crowd has its own machines, so give the stack priority over this process.
    os.nice(10)
    crowd = uvloop.run(poll(options.url, options.paths, options.count, options.seconds, polite=not options.rude))
    took = sorted(crowd.seconds) or [0.0]
    told = {
        "answers": dict(sorted(crowd.answers.items())),
        "cut": crowd.cut,
        "median_ms": round(1000 * took[len(took) // 2], 1),
        "p99_ms": round(1000 * took[int(len(took) * 0.99)], 1),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
