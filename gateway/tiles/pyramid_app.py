"""How anything of a stored pyramid is answered: a plain ASGI app, without routing, dependency injection or threads.

What an address leads to is its subclasses' matter (gateway.tiles.tile_app, gateway.tiles.iiif). Here are methods,
errors, ETags, caching, CORS, and the second look at which build counts when one's files are gone.
"""

from __future__ import annotations

import hashlib
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import Receive, Scope, Send

from gateway.http import problems
from gateway.http.etags import has_already
from gateway.tiles.build_files import Damaged, Stale
from gateway.tiles.pyramid_cache import OpenPyramid, PyramidCache
from gateway.tiles.streams import Stream
from pipeline.errors import NotFound, ObjectMissing, StatusUnavailable, StorageError

METHODS = "GET, HEAD, OPTIONS"

IMMUTABLE = b"public, max-age=31536000, immutable"
"""Of all that a tile_id fixes: it stands for one source, its options and one pyramid version."""

SHORT = b"public, max-age=300"
"""Of what names TILEWRIGHT_PUBLIC_URL: that may change."""

UNKEPT = b"no-store"
"""Of what names the Host that it was asked by. A cache that does not tell hosts apart would give one's to another."""

PREFLIGHT_SECONDS = b"86400"
"""How long a browser may remember that everyone may read: the most that Firefox takes."""

CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag, Link, Retry-After, X-Request-ID"),
]

TILE_ID = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
"""One spelling a number: a picture must have one address, or caches hold it twice."""

logger = logging.getLogger(__name__)

_HOST = re.compile(r"(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""A name or an address, with a port or without (RFC 9110, 7.2)."""

Body = Callable[[], Awaitable[bytes]]
Headers = Sequence[tuple[bytes, bytes]]


class Found:
    """What a path leads to.

    Parameters
    ----------
    etag: without quotes.
    size: bytes of the body, where they are known without reading it.
    cache_control: IMMUTABLE, SHORT or UNKEPT.
    headers: what is to be sent besides, also with a 304.
    status: of the answer to a GET that is not met by a 304.
    """

    __slots__ = ("body", "cache_control", "etag", "headers", "media_type", "size", "status")

    def __init__(
        self,
        etag: str,
        media_type: str,
        body: Body,
        size: int | None = None,
        *,
        cache_control: bytes = IMMUTABLE,
        headers: Headers = (),
        status: int = 200,
    ) -> None:
        self.etag = f'"{etag}"'.encode()
        self.media_type = media_type.encode()
        self.body = body
        self.size = size
        self.cache_control = cache_control
        self.headers = headers
        self.status = status


class Malformed(Exception):
    """Raised when a path's syntax is not that of its specification; says which part of it, for a person."""


class PyramidApp(ABC):
    """The ASGI app.

    Parameters
    ----------
    pyramids: shared by all apps that answer from pyramids.
    public_url: base of absolute addresses; empty: taken from the request's Host.

    Attributes
    ----------
    address_cache: the Cache-Control of what has an absolute address in it.
    """

    noun: str
    """What there is none of at a wrong address."""

    def __init__(self, pyramids: PyramidCache, *, public_url: str = "") -> None:
        self.pyramids = pyramids
        self._public_url = public_url.rstrip("/")
        self.address_cache = SHORT if public_url else UNKEPT

    @abstractmethod
    def split(self, path: str) -> tuple[str, list[str]]:
        """Take a path apart: the tile_id, of TILE_ID's form or not, and what else is in it."""

    @abstractmethod
    def find(self, pyramid: OpenPyramid, parts: list[str], scope: Scope) -> Found | Stream | None:
        """Give what a path leads to; None where there is nothing. Raises Malformed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            await _answer_preflight(send)
            return
        if method not in {"GET", "HEAD"}:
            allow = {"Allow": METHODS}
            detail = f"Pyramids are only read: use one of {METHODS}."
            response = problems.respond(scope, 405, "method_not_allowed", detail, allow)
        else:
            try:
                await self._serve(scope, receive, send)
                return
            except Malformed as error:
                response = problems.respond(scope, 400, "invalid_request", str(error))
            except (NotFound, StatusUnavailable, StorageError) as error:
                response = problems.answer(error, scope)
        response.raw_headers.extend(CORS)
        await response(scope, receive, send)

    def base(self, scope: Scope) -> str:
        """Give the URL that addresses begin with, without a final slash."""
        return self._public_url or _base_of(scope)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        tile_id, parts = self.split(scope["path"])
        if not TILE_ID.fullmatch(tile_id):
            raise self._nothing(scope["path"])
        try:
            await self._serve_once(tile_id, parts, scope, receive, send)
        except (ObjectMissing, Stale):
            # The build was swept after another took its place, or its file system's server was started anew: ask once
            # more which one counts, and open it.
            try:
                await self._serve_once(tile_id, parts, scope, receive, send)
            except Damaged as error:
                # No wrong address, and not to be kept by a cache as one.
                logger.warning("%s is damaged: %s. See `tilewright verify`", tile_id, error)
                raise StorageError(str(error)) from error
            except ObjectMissing as error:
                # All of the storage may be away, which is no wrong address.
                await self.pyramids.check_storage()
                self.pyramids.missed(tile_id)
                raise self._nothing(scope["path"]) from error

    async def _serve_once(self, tile_id: str, parts: list[str], scope: Scope, receive: Receive, send: Send) -> None:
        pyramid = await self.pyramids.get(tile_id)
        try:
            match self.find(pyramid, parts, scope):
                case None:
                    raise self._nothing(scope["path"])
                case Stream() as stream:
                    await stream.answer(scope, receive, send, CORS)
                case Found() as found:
                    await _answer(found, scope, send)
        except (ObjectMissing, Stale):
            self.pyramids.forget(pyramid)
            raise

    def _nothing(self, path: str) -> NotFound:
        return NotFound(f"there is no {self.noun} at {path[:200]}")


def number(text: str) -> int:
    """Read a number in its one spelling, at most nine digits. Raises ValueError."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("no number")
    return int(text)


def fixed(
    pyramid: OpenPyramid,
    name: str,
    media_type: str,
    text: str,
    cache_control: bytes = IMMUTABLE,
    headers: Headers = (),
) -> Found:
    """Give a short text that was made just now; its ETag is made of its name and its content."""
    data = text.encode()

    async def body() -> bytes:
        return data

    digest = hashlib.sha256(data).hexdigest()[:16]
    etag = f"{pyramid.tile_id}-{name}-{digest}"
    return Found(etag, media_type, body, len(data), cache_control=cache_control, headers=headers)


def _base_of(scope: Scope) -> str:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if not _HOST.fullmatch(host):
        # HTTP/1.0 needs no Host, and what is none must not get into an answer that caches keep; the address that was
        # connected to is the next best name.
        address, port = scope.get("server") or ("localhost", None)
        host = f"{address}:{port}" if port else address
    return f"{scope.get('scheme', 'http')}://{host}"


async def _answer(found: Found, scope: Scope, send: Send) -> None:
    if found.status == 200 and has_already(scope, found.etag):
        await _send(send, 304, found, b"", None)
    elif scope["method"] == "HEAD" and found.size is not None:
        await _send(send, found.status, found, b"", found.size)
    else:
        body = await found.body()
        await _send(send, found.status, found, b"" if scope["method"] == "HEAD" else body, len(body))


async def _send(send: Send, status: int, found: Found, body: bytes, length: int | None) -> None:
    headers = [(b"etag", found.etag), (b"cache-control", found.cache_control), *found.headers, *CORS]
    if length is not None:
        headers += [(b"content-type", found.media_type), (b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _answer_preflight(send: Send) -> None:
    headers = [
        *CORS,
        (b"allow", METHODS.encode()),
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", b"If-None-Match, X-Request-ID"),
        (b"access-control-max-age", PREFLIGHT_SECONDS),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
