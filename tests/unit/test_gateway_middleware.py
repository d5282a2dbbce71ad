"""The gateway's ASGI middleware, called as a server calls it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.access_log import AccessLog
from gateway.http.body_limit import MAX_BODY, BodyLimit
from gateway.http.error_responses import ErrorResponses
from gateway.http.request_id import RequestId
from pipeline.errors import NotFound
from pipeline.logs import request_id


async def finish(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run an app to its end."""
    await app(scope, receive, send)


def call(
    app: ASGIApp, headers: Iterable[tuple[bytes, bytes]] = (), body: Iterable[bytes] = (b"",), method: str = "POST"
) -> list[Message]:
    """Make one request; give what was sent."""
    chunks = list(body)
    requests: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return requests.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": method, "path": "/x", "headers": list(headers), "query_string": b""}
    asyncio.run(finish(app, scope, receive, send))
    return sent


def header(sent: list[Message], name: bytes) -> bytes:
    """A header of the response."""
    return dict(sent[0]["headers"])[name]  # type: ignore[no-any-return]  # a message is a dict of anything


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers with the request's id."""
    await PlainTextResponse(request_id.get())(scope, receive, send)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that reads its body, and answers with its length."""
    length, more = 0, True
    while more:
        message = await receive()
        length += len(message["body"])
        more = message["more_body"]
    await PlainTextResponse(str(length))(scope, receive, send)


@pytest.mark.parametrize("given", [b"abc", b"550e8400-e29b-41d4-a716-446655440000", b"a" * 128, b"Zm9v+/=="])
def test_a_sane_request_id_is_taken_and_returned(given: bytes) -> None:
    sent = call(RequestId(hello), [(b"x-request-id", given)])
    assert header(sent, b"x-request-id") == given
    assert sent[1]["body"] == given


@pytest.mark.parametrize("given", [b"", b"a" * 129, b"a b", b"a\tb", b"\xff", b'"', b"<script>"])
def test_any_other_is_replaced(given: bytes) -> None:
    sent = call(RequestId(hello), [(b"x-request-id", given)])
    assert header(sent, b"x-request-id") != given
    assert sent[1]["body"] == header(sent, b"x-request-id")


def test_ids_that_are_made_differ_and_end_with_their_request() -> None:
    app = RequestId(hello)
    made = {header(call(app), b"x-request-id") for _ in range(100)}
    assert len(made) == 100
    assert request_id.get() == ""


def test_a_body_within_the_limit_passes() -> None:
    sent = call(BodyLimit(echo), body=[b"x" * (MAX_BODY - 1), b"x"])
    assert sent[1]["body"] == str(MAX_BODY).encode()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([(b"content-length", str(MAX_BODY + 1).encode())], [b""]),
        ([], [b"x" * MAX_BODY, b"x"]),
    ],
    ids=["announced", "chunked"],
)
def test_a_larger_body_is_refused(headers: list[tuple[bytes, bytes]], body: list[bytes]) -> None:
    sent = call(ErrorResponses(BodyLimit(echo)), headers, body)
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["code"] == "invalid_request"


def test_what_is_raised_before_an_answer_is_answered() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise NotFound("no tile")

    sent = call(ErrorResponses(fail))
    assert sent[0]["status"] == 404
    assert header(sent, b"content-type") == b"application/problem+json"


def test_what_is_raised_within_an_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def break_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise OSError("disk")

    sent = call(ErrorResponses(break_off))
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert "'/x' broke off" in caplog.text


@pytest.mark.parametrize(
    ("method", "status", "level"),
    [("POST", 202, logging.INFO), ("GET", 200, logging.DEBUG), ("POST", 503, logging.WARNING)],
)
def test_a_request_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture, method: str, status: int, level: int
) -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(status_code=status)(scope, receive, send)

    with caplog.at_level(logging.DEBUG, "gateway.http.access_log"):
        call(AccessLog(answer), method=method)
    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage().startswith(f"{method} '/x' {status} ")


def test_reads_are_not_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "gateway.http.access_log"):
        call(AccessLog(hello), method="GET")
    assert not caplog.records


def test_other_protocols_pass_untouched() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    async def nothing() -> Message:
        return {}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope: Scope = {"type": "lifespan"}
    for middleware in (RequestId, AccessLog, ErrorResponses, BodyLimit):
        asyncio.run(finish(middleware(app), scope, nothing, send))
    assert seen == [(scope, nothing, send)] * 4
