"""Endless requests, half-sent ones, and unread answers: measure what they cost the gateway and its other clients.

`python -m bench.attack heads` takes about two minutes. The stack has its default settings. For half-sent requests, its
limit of open files is that of most shells.
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
"""Bytes that each endless request tries to send."""

CLIENTS = 8
"""Clients that send endless requests at once."""

MOST_TAKEN = 8 * 2**20
"""Bytes that one client may send: the gateway reads 64 KiB, and the rest fills the kernel's buffers."""

MOST_MEMORY = 64 * 2**20
"""Bytes that the stack may grow by."""

MOST_WAIT = 1.0
"""Seconds that `/healthz` may take meanwhile. Before there were limits, one long header took five."""

FILES = 1024
"""Open files that most shells allow a process."""

HELD = 990
"""Connections with a half-sent request."""

SLACK = 10.0
"""Seconds after the timeout in which a client has to be served that came when all connections were in use."""

READERS, ASKED = 100, 200
"""Clients that read no answers, and requests of each. Each client's answers have 14 MB. The gateway has to make those
that fit into the kernel's buffers, and `/healthz` is answered between them."""

BEHIND = 250 * 1024
"""Bytes of pipelined requests behind one that waits: ten thousand of the shortest requests on each connection."""

BODIES, BODY = 1200, 2**18
"""Clients that hold back the end of a body, and the bytes that they announce."""

MOST_BODIES = 192 * 2**20
"""Bytes that the stack may grow by meanwhile: twice its limit for bodies, and what waits between the two."""

WAITERS = 400
"""Clients whose POST waits, with a body of nearly BODY bytes. Parsed, it takes thirty times as much memory."""

OF_LISTS, MOST_RATIO = 60, 10
"""Clients that send a body of 87,000 lists, and how many times longer `/healthz` may take than with bodies of text.
With a full garbage collection for each it was 80 times."""

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
    """Prints rows, and records whether a goal was missed."""

    missed = False

    def row(self, name: str, said: str, *, is_good: bool) -> None:
        self.missed = self.missed or not is_good
        print(f"{name:34}{said:58}{'' if is_good else 'MISSED'}", flush=True)


def main() -> int:
    """Print the table. Return 1 if a goal was missed."""
    table = Table()
    with tempfile.TemporaryDirectory(prefix="tilewright-heads-") as name:
        folder = Path(name)
        # The kernel accepts connections, but nobody answers.
        with socket.create_server(("127.0.0.1", 0)) as silent:
            source = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with _stack(folder / "open", source) as stack:
                for kind, (start, piece) in WITHOUT_END.items():
                    _endless(stack, table, kind, start, piece)
                _not_taken(stack, table)
                _in_a_row(stack, table, f"{source}/never.jpg")
                _unfinished(stack, table)
                _waiting(stack, table, f"{source}/never.jpg")
                _of_lists(stack, table)
        pictures = folder / "pictures"
        pictures.mkdir()
        (pictures / "honest.jpg").symlink_to(cached_picture(1000))
        with served(pictures) as url:
            for kind, begun in HALF_SENT.items():
                with _stack(folder / kind.rpartition(" ")[2], url, files=FILES) as stack:
                    _held(stack, table, kind, begun, f"{url}/honest.jpg")
    print(
        f"goals: at most {MOST_TAKEN // 2**20} MiB sent per client, {MOST_MEMORY // 2**20} MiB of memory "
        f"({MOST_BODIES // 2**20} MiB for bodies), and "
        f"{MOST_WAIT:g} s for /healthz during endless requests; honest images ready, and accepted within {SLACK:g} s "
        "after the timeout"
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
        f"{most / 1024:5.0f} KiB sent, {grown / 2**20:4.0f} MiB of memory, {wait:5.2f} s",
        is_good=most <= MOST_TAKEN and grown <= MOST_MEMORY and wait <= MOST_WAIT,
    )


def _not_taken(stack: LaunchedStack, table: Table) -> None:
    with ExitStack() as lines:

        def attack() -> None:
            for _ in range(READERS):
                line = lines.enter_context(_connect(stack))
                line.setblocking(False)
                with suppress(OSError):  # send only what fits into the buffers
                    line.send(LARGE * ASKED)
            time.sleep(2 * MOST_WAIT)

        grown, wait = _meanwhile(stack, attack)
    table.row(
        f"{READERS} x {ASKED} answers not read",
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
    time.sleep(2 * MOST_WAIT)  # the gateway checks for disconnected clients meanwhile
    left = sum(one.status == psutil.CONN_CLOSE_WAIT for one in psutil.Process(stack.process.pid).net_connections())
    table.row(
        f"{READERS} x {BEHIND // 1024} KiB behind a wait",
        f"{grown / 2**20:4.0f} MiB of memory, {wait:5.2f} s, {left} connections still open",
        is_good=grown <= MOST_MEMORY and not left,
    )


def _unfinished(stack: LaunchedStack, table: Table) -> None:
    data = POST + b"Content-Length: %d\r\n\r\n" % BODY + b" " * (BODY - 10)
    with ExitStack() as lines:

        def attack() -> None:
            for _ in range(BODIES):
                line = lines.enter_context(_connect(stack))
                with suppress(OSError):  # it was refused already
                    line.sendall(data)

        grown, wait = _meanwhile(stack, attack)
        small = b'{"name": "small", "url": "http://192.0.2.1/a.jpg"}'
        with _connect(stack) as line:
            line.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(small) + small)
            status = line.recv(4096).split(b" ")[1].decode()
    table.row(
        f"{BODIES} x a body without its end",
        f"{grown / 2**20:4.0f} MiB of memory, {wait:5.2f} s, a small POST gets {status}",
        is_good=grown <= MOST_BODIES and status != "503",
    )


def _waiting(stack: LaunchedStack, table: Table, url: str) -> None:
    start = b'{"name": "a wait", "url": "%b", "x": [' % url.encode()
    new = start + b'{"":0},' * ((BODY - len(start) - 10) // 7) + b"0]}"
    data = POST + b"Prefer: wait=300\r\nContent-Length: %d\r\n\r\n" % len(new) + new
    with ExitStack() as lines:

        def attack() -> None:
            for _ in range(WAITERS):
                line = lines.enter_context(_connect(stack))
                with suppress(OSError):  # it was refused already
                    line.sendall(data)

        grown, wait = _meanwhile(stack, attack)
    table.row(
        f"{WAITERS} x a POST that waits",
        f"{grown / 2**20:4.0f} MiB of memory, {wait:5.2f} s",
        is_good=grown <= MOST_BODIES,
    )


def _of_lists(stack: LaunchedStack, table: Table) -> None:
    """Compare bodies of empty lists, which are refused, with bodies of one text of the same length."""
    waits = {}
    for kind, filled in (
        ("text", b'"' + b"a" * (BODY - 100) + b'"'),
        ("lists", b"[" + b"[]," * (BODY // 3 - 40) + b"0]"),
    ):
        body = b'{"name": "a", "url": "", "description": ' + filled + b"}"
        data = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body

        def attack(data: bytes = data) -> None:
            with ExitStack() as lines:
                opened = [lines.enter_context(_connect(stack)) for _ in range(OF_LISTS)]
                for line in opened:
                    line.sendall(data)
                for line in opened:
                    line.recv(4096)

        _, waits[kind] = _meanwhile(stack, attack)
    table.row(
        f"{OF_LISTS} x a body of lists",
        f"{waits['lists']:5.2f} s; bodies of text: {waits['text']:.2f} s",
        is_good=waits["lists"] <= max(MOST_WAIT, MOST_RATIO * waits["text"]),
    )


def _held(stack: LaunchedStack, table: Table, kind: str, begun: bytes, image: str) -> None:
    settings = GatewaySettings()
    most = SLACK + (settings.body_timeout if kind.endswith("body") else settings.head_timeout)
    client = Client(stack.url)
    with ExitStack() as lines:
        for _ in range(HELD):
            line = lines.enter_context(_connect(stack))
            with suppress(OSError):  # it was refused already
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
            raise TilewrightError("not ready yet")
        return state

    return _patiently(ask, seconds) or "not at all"


def _meanwhile(stack: LaunchedStack, attack: Callable[[], None]) -> tuple[int, float]:
    """Return how many bytes the stack grew by during an attack, and the longest time of `/healthz` in seconds."""
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
