"""Stream a large file as a response, whole or as one range (RFC 9110, section 14)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from starlette.types import Receive, Scope, Send

from gateway.http import disconnected, is_not_modified, problem_response

_RANGE = re.compile(rb"bytes=(\d{0,18})-(\d{0,18})")
"""A single range. A request for several ranges gets the whole file, as RFC 9110 allows; clients rarely send one."""


class Unsatisfiable(Exception):
    """Raised when a range begins after the file's end."""


class Stream:
    """A file to stream as a response.

    Parameters
    ----------
    etag: without quotes.
    size: returns the file's length in bytes.
    read: yields bytes in pieces; takes an offset and a length.
    headers: additional headers.
    """

    def __init__(
        self,
        etag: str,
        media_type: str,
        size: Callable[[], Awaitable[int]],
        read: Callable[[int, int], AsyncIterator[bytes]],
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.etag = f'"{etag}"'.encode()
        self._media_type = media_type.encode()
        self._size = size
        self._read = read
        self._headers = headers

    async def respond(
        self, scope: Scope, receive: Receive, send: Send, more: Sequence[tuple[bytes, bytes]], cache_control: bytes
    ) -> None:
        """Send the file, the requested range, or a 304, with `more` additional headers.

        The Cache-Control has to be short, because another build may replace the file. Its ETag then changes.
        Raises ObjectMissing only before anything was sent.
        """
        size = await self._size()
        headers = [
            (b"etag", self.etag),
            (b"cache-control", cache_control),
            (b"accept-ranges", b"bytes"),
            *self._headers,
            *more,
        ]
        if is_not_modified(scope["headers"], self.etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            part = self._part(scope, size)
        except Unsatisfiable:
            given = {"Content-Range": f"bytes */{size}"}
            detail = f"The range begins after the file's end. The file has {size} bytes."
            response = problem_response(scope, 416, "invalid_request", detail, given)
            response.raw_headers.extend(more)
            await response(scope, receive, send)
            return
        offset, length = part or (0, size)
        if part is not None:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (offset, offset + length - 1, size)))
        headers += [(b"content-type", self._media_type), (b"content-length", b"%d" % length)]
        pieces = self._read(offset, 0 if scope["method"] == "HEAD" else length)
        first = await anext(pieces, b"")
        await send({"type": "http.response.start", "status": 200 if part is None else 206, "headers": headers})
        gone = asyncio.create_task(disconnected(receive))
        try:
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for piece in pieces:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()

    def _part(self, scope: Scope, size: int) -> tuple[int, int] | None:
        """Return offset and length of the requested range, or None for the whole file. Raises Unsatisfiable."""
        headers = dict(scope["headers"])
        found = _RANGE.fullmatch(headers.get(b"range", b""))
        if scope["method"] != "GET" or found is None or headers.get(b"if-range", self.etag) != self.etag:
            return None
        first, last = found.groups()
        if not first:
            if not last:
                return None
            offset, end = max(0, size - int(last)), size
        else:
            offset = int(first)
            end = min(size, int(last) + 1) if last else size
            if last and int(last) < offset:
                return None
        if offset >= size or offset >= end:
            raise Unsatisfiable
        return offset, end - offset
