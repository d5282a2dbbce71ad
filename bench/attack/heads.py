"""Requests without an end, half sent ones, and answers that nobody takes: what they cost the gateway and its clients.

`python -m bench.attack heads`; some two minutes. The stack has its usual settings. Against half sent requests it may
open no more files than most shells allow.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bench.picture import cached_picture
from gateway.settings import GatewaySettings
from pipeline.errors import TilewrightError
from tilewright.client import Client
from tilewright.commands.pictures import served
from tilewright.embedded import LaunchedStack, launch

ENDLESS = 100 * 2**20
"""Bytes that each request without an end would have, if it were taken."""

CLIENTS = 8
"""That send them at once."""

MOST_TAKEN = 8 * 2**20
"""Bytes of one of them that may leave its client: 64 KiB are read of them, the rest lies in the kernel's buffers."""

MOST_MEMORY = 64 * 2**20
"""Bytes by which the stack may grow."""

MOST_WAIT = 1.0
"""Seconds that `/healthz` may take meanwhile: one long header took five before there were limits."""

FILES = 1024
"""What most shells allow a process to open."""

HELD = 990
"""Connections that hold half a request."""

SLACK = 10.0
"""Seconds, above the time-out, within which a client is served that came when all connections were held."""

READERS, ASKED = 100, 200
"""Clients that take none of their answers, and requests of each: 14 MB of answers for each. Those that fit into the
kernel's buffers have to be made, and `/healthz` has its turn between them."""

BEHIND = 250 * 1024
"""Bytes of the shortest requests behind one that waits: ten thousand on each connection."""

SHORT = b"GET / HTTP/1.1\r\nHost:a\r\n\r\n"

START = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

WITHOUT_END = {
    "header lines": (START, b"X: y\r\n" * 10_000),
    "one header": (START + b"X: ", b"a" * 65536),
    "a URL": (b"GET /", b"a" * 65536),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n" * 10_000),
    "a chunk's line": (CHUNKED + b"2;", b"a" * 65536),
}

HALF_SENT = {"half a head": START, "half a body": POST + b"Content-Length: 1000\r\n\r\n{"}


class Table:
    """What is printed, and whether a goal was missed."""

    missed = False

    def row(self, name: str, said: str, *, is_good: bool) -> None:
        self.missed = self.missed or not is_good
        print(f"{name:34}{said:58}{'' if is_good else 'MISSED'}", flush=True)


def main() -> int:
    """Print the table; gives 1 where a goal was missed."""
    table = Table()
    with tempfile.TemporaryDirectory(prefix="tilewright-heads-") as name:
        folder = Path(name)
        # Connections are taken by the kernel, and nobody answers.
        with socket.create_server(("127.0.0.1", 0)) as silent:
            source = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with _stack(folder / "open", source) as stack:
                for kind, (start, piece) in WITHOUT_END.items():
                    _endless(stack, table, kind, start, piece)
                _not_taken(stack, table)
                _in_a_row(stack, table, f"{source}/never.jpg")
        pictures = folder / "pictures"
        pictures.mkdir()
        (pictures / "honest.jpg").symlink_to(cached_picture(1000))
        with served(pictures) as url:
            for kind, begun in HALF_SENT.items():
                with _stack(folder / kind.rpartition(" ")[2], url, files=FILES) as stack:
                    _held(stack, table, kind, begun, f"{url}/honest.jpg")
    print(
        f"goals: {MOST_TAKEN // 2**20} MiB taken of each at most, {MOST_MEMORY // 2**20} MiB of memory, "
        f"{MOST_WAIT:g} s for /healthz beside endless ones; honest images ready, accepted {SLACK:g} s "
        "after the time-out at the latest"
    )
    return int(table.missed)


@contextmanager
def _stack(folder: Path, source: str = "", files: int = 0) -> Iterator[LaunchedStack]:
    folder.mkdir()
    allowed = [urlsplit(source).netloc] if source else []
    under = ["prlimit", f"--nofile={files}:{files}"] if files else []
    stack = launch(folder / "data", allow_sources=allowed, under=under)
    try:
        yield stack
    finally:
        stack.stop()


def _connect(stack: LaunchedStack) -> socket.socket:
    parts = urlsplit(stack.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)


def _endless(stack: LaunchedStack, table: Table, kind: str, start: bytes, piece: bytes) -> None:
    taken: list[int] = []

    def send() -> None:
        sent = 0
        with suppress(OSError), _connect(stack) as line:
            line.sendall(start)
            while sent < ENDLESS:
                sent += line.send(piece)
        taken.append(sent)

    clients = [threading.Thread(target=send, daemon=True) for _ in range(CLIENTS)]

    def attack() -> None:
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    grown, wait = _meanwhile(stack, attack)
    most = max(taken)
    table.row(
        f"{CLIENTS} x {ENDLESS // 2**20} MiB of {kind}",
        f"{most / 1024:5.0f} KiB taken, {grown / 2**20:4.0f} MiB of memory, {wait:5.2f} s",
        is_good=most <= MOST_TAKEN and grown <= MOST_MEMORY and wait <= MOST_WAIT,
    )


def _not_taken(stack: LaunchedStack, table: Table) -> None:
    with ExitStack() as lines:

        def attack() -> None:
            for _ in range(READERS):
                line = lines.enter_context(_connect(stack))
                line.setblocking(False)
                with suppress(OSError):  # what does not fit is not sent
                    line.send(LARGE * ASKED)
            time.sleep(2 * MOST_WAIT)

        grown, wait = _meanwhile(stack, attack)
    table.row(
        f"{READERS} x {ASKED} answers not taken",
        f"{grown / 2**20:4.0f} MiB of memory, {wait:5.2f} s",
        is_good=grown <= MOST_MEMORY,
    )


def _in_a_row(stack: LaunchedStack, table: Table, url: str) -> None:
    new = json.dumps({"name": "a wait", "url": url}).encode()
    first = POST + b"Prefer: wait=300\r\nContent-Length: %d\r\n\r\n" % len(new) + new

    def attack() -> None:
        for _ in range(READERS):
            with _connect(stack) as line, suppress(OSError):
                line.settimeout(1.0)
                line.sendall(first)
                line.sendall(SHORT * (BEHIND // len(SHORT)))

    grown, wait = _meanwhile(stack, attack)
    time.sleep(2 * MOST_WAIT)  # in which those that have left are looked for
    left = sum(one.status == psutil.CONN_CLOSE_WAIT for one in psutil.Process(stack.process.pid).net_connections())
    table.row(
        f"{READERS} x {BEHIND // 1024} KiB behind a wait",
        f"{grown / 2**20:4.0f} MiB of memory, {wait:5.2f} s, {left} places held afterwards",
        is_good=grown <= MOST_MEMORY and not left,
    )


def _held(stack: LaunchedStack, table: Table, kind: str, begun: bytes, image: str) -> None:
    settings = GatewaySettings()
    most = SLACK + (settings.body_timeout if kind.endswith("body") else settings.head_timeout)
    client = Client(stack.url)
    with ExitStack() as lines:
        for _ in range(HELD):
            line = lines.enter_context(_connect(stack))
            with suppress(OSError):  # refused already
                line.sendall(begun)
        began = time.monotonic()
        dataset_id = _patiently(lambda: str(client.submit(image, "honest")["dataset_id"]), most)
        waited = time.monotonic() - began
        state = _ends(client, dataset_id, most) if dataset_id else "never accepted"
    client.close()
    said = stack.log.read_text().count("TILEWRIGHT_MAX_CONNECTIONS")
    table.row(
        f"{HELD} x {kind}, {FILES} files",
        f"accepted after {waited:4.1f} s, ends {state}, {said} lines of log",
        is_good=state == "ready" and waited <= most and said <= 2,
    )


def _patiently(ask: Callable[[], str], seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(TilewrightError):
            return ask()
        time.sleep(0.2)
    return ""


def _ends(client: Client, dataset_id: str, seconds: float) -> str:
    def ask() -> str:
        if (state := str(client.status(dataset_id)["status"])) not in ("ready", "failed"):
            raise TilewrightError("at work")
        return state

    return _patiently(ask, seconds) or "not at all"


def _meanwhile(stack: LaunchedStack, attack: Callable[[], None]) -> tuple[int, float]:
    """Give by how many bytes the stack grew during an attack, and the longest that `/healthz` took."""
    process = psutil.Process(stack.process.pid)
    over = threading.Event()
    sizes, waits = [before := process.memory_info().rss], [0.0]

    def look() -> None:
        while not over.wait(0.02):
            began = time.monotonic()
            with suppress(OSError), _connect(stack) as line:
                line.sendall(START + b"Connection: close\r\n\r\n")
                while line.recv(4096):
                    pass
            waits.append(time.monotonic() - began)
            sizes.append(process.memory_info().rss)

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    attack()
    over.set()
    looker.join()
    return max(sizes) - before, max(waits)


if __name__ == "__main__":
    sys.exit(main())
