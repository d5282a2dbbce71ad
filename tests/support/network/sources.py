"""A real HTTP server for tests: a directory's files on 127.0.0.1, and misbehaviours by script.

    with serve(directory) as server:
        server.on("/busy.jpg", status(503, {"Retry-After": "7"}))
        fetch(server.url("/busy.jpg"))
        assert server.requests["/busy.jpg"] == 1

Files are served with Content-Length, a strong ETag, HEAD and single ranges (with If-Range). A scripted path comes
before a file of that name. A behaviour is any callable that takes the Exchange and answers it: see answers.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import ssl
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

WAIT_LIMIT = 30.0
"""Seconds a test waits for what has to happen: only a broken test takes that long."""


TLS_AUTHORITY = Path(__file__).parents[2] / "data" / "source-tls.pem"
"""A self-signed certificate for `source.test` and its key, good for nothing else."""


class Exchange(BaseHTTPRequestHandler):
    """One request and the means to answer it, rightly or wrongly."""

    protocol_version = "HTTP/1.1"
    raw_requestline: bytes  # set by http.server
    timeout = None

    @property
    def source_server(self) -> SourceServer:
        return cast("_Listener", self.server).source_server

    @property
    def plain_path(self) -> str:
        """The path without the query."""
        return unquote(urlsplit(self.path).path)

    def head(self, code: int, headers: Mapping[str, str]) -> None:
        """Sends a status line and headers, and nothing that was not asked for."""
        self.send_response_only(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def body(self, data: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(data)

    def hang_up(self) -> None:
        """Ends the connection after what was sent."""
        self.close_connection = True

    def wait(self, gate: threading.Event) -> None:
        """Waits until the test opens the gate; the server's end opens them all."""
        self.source_server.wait_at(gate)

    def do_GET(self) -> None:
        self.source_server.answer(self)

    do_HEAD = do_GET  # noqa: N815  the name is http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
        pass


Behaviour = Callable[[Exchange], None]


class SourceServer:
    """What a test holds of a running server.

    requests: how often each path was asked for.
    headers: the headers of each request for a path, in order.
    targets: what the request lines had between the method and the version, byte for byte, in order.
    server_names: the name each TLS client asked for (SNI).
    answer_all: the behaviour for every path that has no script and no file.
    """

    def __init__(self, directory: Path | None, host: str, tls: ssl.SSLContext | None) -> None:
        self.directory = directory
        self.requests: Counter[str] = Counter()
        self.headers: defaultdict[str, list[Message]] = defaultdict(list)
        self.targets: list[str] = []
        self.answer_all: Behaviour = _missing
        self.errors: list[BaseException] = []
        self.closing = threading.Event()
        self._script: dict[str, Behaviour] = {}
        self._gates: set[threading.Event] = set()
        self._news = threading.Condition()
        self.server_names: list[str | None] = []
        self._scheme = "https" if tls else "http"
        self._listener = _Listener((host, 0), Exchange)
        self._listener.tls = tls
        self._listener.source_server = self
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), name="source-server")

    @property
    def port(self) -> int:
        return self._listener.server_port

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def on(self, path: str, behaviour: Behaviour) -> str:
        """Scripts a path; gives its URL."""
        self._script[path] = behaviour
        return self.url(path)

    def wait_for(self, path: str, count: int = 1) -> None:
        """Waits until a path has been asked for so many times."""
        with self._news:
            assert self._news.wait_for(lambda: self.requests[path] >= count, WAIT_LIMIT), f"nobody asked for {path}"

    def answer(self, exchange: Exchange) -> None:
        path = exchange.plain_path
        with self._news:
            self.requests[path] += 1
            self.headers[path].append(exchange.headers)
            self.targets.append(exchange.raw_requestline.decode("latin-1").split(" ")[1])
            self._news.notify_all()
        behaviour = self._script.get(path) or self._file(path)
        behaviour(exchange)

    def wait_at(self, gate: threading.Event) -> None:
        with self._news:
            self._gates.add(gate)
        if self.closing.is_set():
            gate.set()
        gate.wait()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.closing.set()
        with self._news:
            for gate in self._gates:
                gate.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.cut_all()
        self._listener.server_close()

    def _file(self, path: str) -> Behaviour:
        if self.directory is not None:
            file = (self.directory / path.lstrip("/")).resolve()
            if file.is_file() and file.is_relative_to(self.directory.resolve()):
                return stored(file)
        return self.answer_all


@contextmanager
def serve(
    directory: Path | None = None, host: str = "127.0.0.1", *, tls: bool | ssl.SSLContext = False
) -> Iterator[SourceServer]:
    """Runs a server in a thread on a free port; fails the test where a handler failed for another reason than a
    client that left. With TLS it proves to be `source.test`, under the authority TLS_AUTHORITY; a context proves what
    it has."""
    server = SourceServer(directory, host, _tls_context() if tls is True else tls or None)
    server.start()
    try:
        yield server
    finally:
        server.stop()
    if server.errors:
        raise server.errors[0]


def stored(file: Path) -> Behaviour:
    """A file, with ranges."""

    def answer(exchange: Exchange) -> None:
        with file.open("rb") as source:
            state = os.fstat(source.fileno())
            etag = (
                '"' + hashlib.sha256(f"{state.st_ino}-{state.st_size}-{state.st_mtime_ns}".encode()).hexdigest() + '"'
            )
            headers = {"Accept-Ranges": "bytes", "ETag": etag, "Content-Type": "application/octet-stream"}
            span = asked_range(exchange.headers, state.st_size, etag)
            if span is None:
                first, length, code = 0, state.st_size, HTTPStatus.OK
            elif not span:
                exchange.head(416, {"Content-Range": f"bytes */{state.st_size}", "Content-Length": "0"})
                return
            else:
                first, length, code = span.start, len(span), HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{state.st_size}"
            exchange.head(code, headers | {"Content-Length": str(length)})
            if exchange.command != "HEAD" and length:
                exchange.connection.sendfile(source, first, length)

    return answer


def asked_range(headers: Message, size: int, etag: str) -> range | None:
    """The bytes of a single range: None where there is none (or If-Range fails), empty where it cannot be met."""
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", ""))
    if asked is None or asked[0] == "bytes=-" or headers.get("If-Range", etag) != etag:
        return None
    if not asked[1]:
        return range(max(0, size - int(asked[2])), size)
    last = min(int(asked[2]), size - 1) if asked[2] else size - 1
    return range(int(asked[1]), max(int(asked[1]), last + 1))


class _Listener(ThreadingHTTPServer):
    # Handlers are joined at the end, so that none outlives its test.
    daemon_threads = False
    source_server: SourceServer
    tls: ssl.SSLContext | None = None

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]  # typeshed's request may be a datagram
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]  # typeshed's request may be a datagram
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]  # typeshed's request may be a datagram
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        self.tls.sni_callback = lambda _connection, name, _context: self.source_server.server_names.append(name)
        with self.tls.wrap_socket(request, server_side=True) as encrypted:
            with self._lock:
                self._open.add(encrypted)
            try:
                super().finish_request(encrypted, client_address)
            finally:
                with self._lock:
                    self._open.discard(encrypted)

    def cut_all(self) -> None:
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, (ConnectionError, ssl.SSLError)):
            self.source_server.errors.append(error)


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS_AUTHORITY)
    return context


def _missing(exchange: Exchange) -> None:
    exchange.head(404, {"Content-Length": "0"})
