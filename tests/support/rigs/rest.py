"""A real HTTP server that plays the gateway by script: canned answers of the REST contract, one after another."""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Answer:
    """One canned answer. A body of None is sent as no body; a string as it is, anything else as JSON."""

    code: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any


class ScriptedGateway:
    """Answers each `METHOD /path` with what `on` gave it, in order; the last answer stays."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self._listener = _Listener(("127.0.0.1", 0), _Handler)
        self._listener.gateway = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.server_port}"

    def on(self, request: str, *answers: Answer) -> None:
        self._answers[request].extend(answers)

    def answer(self, method: str, path: str) -> Answer:
        answers = self._answers[f"{method} {path}"]
        if not answers:
            return Answer(599, f"{method} {path} is not in the script")
        return answers.popleft() if len(answers) > 1 else answers[0]

    def run(self) -> None:
        self._listener.serve_forever(poll_interval=0.02)

    def stop(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()


class _Listener(ThreadingHTTPServer):
    gateway: ScriptedGateway


class _Handler(BaseHTTPRequestHandler):
    def handle_any(self) -> None:
        gateway = cast("_Listener", self.server).gateway
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        gateway.asked.append(Asked(self.command, self.path, dict(self.headers), body))
        answer = gateway.answer(self.command, self.path.partition("?")[0])
        content = b"" if answer.body is None else _encode(answer.body)
        self.send_response(answer.code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815  the names are http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
        pass


def _encode(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@contextmanager
def scripted_gateway() -> Iterator[ScriptedGateway]:
    """Runs one on a free port of the loopback."""
    gateway = ScriptedGateway()
    thread = threading.Thread(target=gateway.run, name="scripted-gateway")
    thread.start()
    try:
        yield gateway
    finally:
        gateway.stop()
        thread.join()
