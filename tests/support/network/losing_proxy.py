"""A proxy that hands requests on, and loses the first answers to POSTs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import requests


class Loss(Enum):
    """How an answer is lost: the connection is cut, nothing comes, or a proxy says that it got none."""

    CUT = "cut"
    SILENT = "silent"
    BAD_GATEWAY = "bad gateway"


class LosingProxy:
    """Attributes: posts, the Idempotency-Key of each POST that came; lost, the statuses of answers that were lost."""

    def __init__(self, target: str, loss: Loss, count: int) -> None:
        self.posts: list[str | None] = []
        self.lost: list[int] = []
        self.left = count
        self.target, self.loss = target, loss
        self.closing = threading.Event()
        self.listener = _Listener(("127.0.0.1", 0), _Handler)
        self.listener.proxy = self
        self.url = f"http://127.0.0.1:{self.listener.server_port}"


class _Listener(ThreadingHTTPServer):
    proxy: LosingProxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def hand_on(self) -> None:
        proxy = cast("_Listener", self.server).proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(self.command, proxy.target + self.path, data=body, headers=headers, timeout=60)
        code, content = answer.status_code, answer.content
        if self.command == "POST":
            proxy.posts.append(self.headers.get("Idempotency-Key"))
            if proxy.left:
                proxy.left -= 1
                proxy.lost.append(code)
                if proxy.loss is not Loss.BAD_GATEWAY:
                    self.close_connection = True
                    if proxy.loss is Loss.SILENT:
                        proxy.closing.wait()
                    return
                code, content = 502, b""
        self.send_response_only(code)
        for name in ("Content-Type", "ETag", "Retry-After", "Idempotent-Replayed"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        if code != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = hand_on  # noqa: N815  the names are http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
        pass


@contextmanager
def losing_proxy(target: str, loss: Loss, count: int = 1) -> Iterator[LosingProxy]:
    """Runs one before the server at `target`; it loses the answers to the first `count` POSTs."""
    proxy = LosingProxy(target, loss, count)
    thread = threading.Thread(target=proxy.listener.serve_forever, args=(0.02,), name="losing-proxy")
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        proxy.listener.shutdown()
        thread.join()
        proxy.listener.server_close()
