"""What a server of tests/support/network/sources.py can be told to answer: right, wrong, slow, cut, endless."""

from __future__ import annotations

import gzip
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from email.message import Message
from urllib.parse import urlsplit

from tests.support.network.sources import Behaviour, Exchange, asked_range


def ranges(data: bytes, etag: str = '"v1"', headers: Mapping[str, str] | None = None) -> Behaviour:
    """Bytes in memory, with ranges and the given validator."""
    return sending(data, lambda exchange, body: exchange.body(body), etag, headers)


def sending(
    data: bytes, send: Callable[[Exchange, bytes], None], etag: str = '"v1"', headers: Mapping[str, str] | None = None
) -> Behaviour:
    """As `ranges`, but `send` sends each body, or what it likes of it. No ETag where that is ""."""

    def answer(exchange: Exchange) -> None:
        span = asked_range(exchange.headers, len(data), etag)
        given = {"Accept-Ranges": "bytes"} | ({"ETag": etag} if etag else {}) | dict(headers or {})
        if etag and exchange.headers.get("If-None-Match") == etag:
            exchange.head(304, given)
            return
        if span is None:
            exchange.head(200, {"Content-Length": str(len(data))} | given)
            send(exchange, data)
            return
        where = f"bytes {span.start}-{span.stop - 1}/{len(data)}" if span else f"bytes */{len(data)}"
        exchange.head(206 if span else 416, {"Content-Range": where, "Content-Length": str(len(span))} | given)
        send(exchange, data[span.start : span.stop])

    return answer


def limited(data: bytes, rate: int, etag: str = '"v1"', pause: float = 0.02) -> Behaviour:
    """As `ranges`, at so many bytes a second for each connection."""

    def send(exchange: Exchange, body: bytes) -> None:
        step = int(rate * pause)
        for first in range(0, len(body), step):
            exchange.body(body[first : first + step])
            if exchange.source_server.closing.wait(pause):
                exchange.hang_up()
                return

    return sending(data, send, etag)


def breaking(data: bytes, after: int, etag: str = '"v1"', headers: Mapping[str, str] | None = None) -> Behaviour:
    """As `ranges`, but hangs up after so many bytes of each answer."""

    def send(exchange: Exchange, body: bytes) -> None:
        exchange.body(body[:after])
        if len(body) > after:
            exchange.hang_up()

    return sending(data, send, etag, headers)


def gated_part(data: bytes, between: Callable[[], None], after: int = 1_000_000) -> Behaviour:
    """As `ranges`, but does something after so many bytes of an answer."""

    def send(exchange: Exchange, body: bytes) -> None:
        exchange.body(body[:after])
        between()
        exchange.body(body[after:])

    return sending(data, send)


def asked(headers: Message) -> tuple[int, int | None] | None:
    """The first and the last byte that a request asked for; None where it asked for all."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("Range", ""))
    return None if match is None else (int(match[1]), int(match[2]) if match[2] else None)


def whole(data: bytes, headers: Mapping[str, str] | None = None) -> Behaviour:
    """A right and complete answer 200, whatever range was asked for."""
    return status(200, headers, data)


def status(code: int, headers: Mapping[str, str] | None = None, data: bytes = b"") -> Behaviour:
    """Any status with any headers and body, correctly framed."""

    def answer(exchange: Exchange) -> None:
        exchange.head(code, {"Content-Length": str(len(data)), **(headers or {})})
        exchange.body(data)

    return answer


def redirect(location: str, code: int = 302) -> Behaviour:
    """One redirect to any URL."""
    return status(code, {"Location": location})


def endless_redirects() -> Behaviour:
    """Each answer redirects to the same path with the next number."""

    def answer(exchange: Exchange) -> None:
        number = int(urlsplit(exchange.path).query or 0)
        exchange.head(302, {"Location": f"{exchange.plain_path}?{number + 1}", "Content-Length": "0"})

    return answer


def redirecting_endlessly(location: str) -> Behaviour:
    """A redirect whose own body has no end."""

    def answer(exchange: Exchange) -> None:
        exchange.head(302, {"Location": location, "Connection": "close"})
        while not exchange.source_server.closing.is_set():
            exchange.wfile.write(bytes(65536))
        exchange.hang_up()

    return answer


def page(html: str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body></body></html>") -> Behaviour:
    """A web page where an image should be."""
    return status(200, {"Content-Type": "text/html; charset=utf-8"}, html.encode())


def cut(data: bytes, after: int) -> Behaviour:
    """Declares all of the body and hangs up after some of it."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(len(data))})
        exchange.body(data[:after])
        exchange.hang_up()

    return answer


def lying_length(data: bytes, declared: str) -> Behaviour:
    """Sends all of the body under any Content-Length, then hangs up."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": declared})
        exchange.body(data)
        exchange.hang_up()

    return answer


def gated(data: bytes, first: int, gate: threading.Event) -> Behaviour:
    """Sends headers and the first bytes; the rest when the test opens the gate."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(len(data))})
        exchange.body(data[:first])
        exchange.wait(gate)
        exchange.body(data[first:])

    return answer


def silent(gate: threading.Event) -> Behaviour:
    """Answers nothing at all until the gate opens, then hangs up."""

    def answer(exchange: Exchange) -> None:
        exchange.wait(gate)
        exchange.hang_up()

    return answer


def dripping(start: bytes, drop: bytes, pause: float = 0.05) -> Behaviour:
    """Sends raw bytes, then a drop every `pause` seconds for ever: slow headers or a slow body."""

    def answer(exchange: Exchange) -> None:
        exchange.wfile.write(start)
        while not exchange.source_server.closing.wait(pause):
            exchange.wfile.write(drop)
        exchange.hang_up()

    return answer


def endless(headers: Mapping[str, str] | None = None, block: bytes = b"\xff\xd8\xff\xe0" + bytes(65532)) -> Behaviour:
    """A body without length and without end."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, {"Connection": "close", **(headers or {})})
        while not exchange.source_server.closing.is_set():
            exchange.wfile.write(block)
        exchange.hang_up()

    return answer


def unknown_length(data: bytes) -> Behaviour:
    """A body that ends with the connection."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, {"Connection": "close"})
        exchange.body(data)
        exchange.hang_up()

    return answer


def chunked(data: bytes, chunk: int = 4096, *, complete: bool = True) -> Behaviour:
    """A chunked body; an incomplete one lacks its last chunk."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        for start in range(0, len(data), chunk):
            piece = data[start : start + chunk]
            exchange.body(b"%x\r\n%b\r\n" % (len(piece), piece))
        if complete:
            exchange.body(b"0\r\n\r\n")
        else:
            exchange.hang_up()

    return answer


def gzipped(data: bytes, coding: str = "gzip") -> Behaviour:
    """A body under a content coding that was not asked for."""
    return status(200, {"Content-Encoding": coding}, gzip.compress(data))


def partial_unasked(data: bytes, content_range: str) -> Behaviour:
    """A 206 with any Content-Range, whatever was asked for."""
    return status(206, {"Content-Range": content_range}, data)


def raw(answer_bytes: bytes) -> Behaviour:
    """Any bytes in place of an HTTP answer, then hangs up."""

    def answer(exchange: Exchange) -> None:
        exchange.wfile.write(answer_bytes)
        exchange.hang_up()

    return answer


def reset(start: bytes) -> Behaviour:
    """Any bytes, then a TCP reset."""

    def answer(exchange: Exchange) -> None:
        exchange.wfile.write(start)
        exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        exchange.connection.close()
        exchange.hang_up()

    return answer


def sequence(*behaviours: Behaviour) -> Behaviour:
    """One behaviour a request; the last one stays."""
    left: list[Behaviour] = list(behaviours)
    lock = threading.Lock()

    def answer(exchange: Exchange) -> None:
        with lock:
            behaviour = left.pop(0) if len(left) > 1 else left[0]
        behaviour(exchange)

    return answer
