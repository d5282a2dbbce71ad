"""Base of the apps that serve stored pyramids: a plain ASGI app, without routing, dependency injection or threads.

Subclasses (gateway.tiles.tile_app, gateway.tiles.iiif) decide what a path leads to. This module handles methods,
errors, ETags, caching and CORS. If the files of a build are gone, it asks again for the current build.
"""

from __future__ import annotations

import hashlib
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import Receive, Scope, Send

from gateway.http import error_response, is_not_modified, problem_response
from gateway.tiles.build_files import Damaged, Stale
from gateway.tiles.pyramid_cache import OpenPyramid, PyramidCache
from gateway.tiles.streams import Stream
from pipeline.errors import NotFound, ObjectMissing, StatusUnavailable, StorageError

METHODS = "GET, HEAD, OPTIONS"

IMMUTABLE = b"public, max-age=31536000, immutable"
"""For content that a tile_id determines: the id stands for one source, its options and one pyramid version."""

SHORT = b"public, max-age=300"
"""For content that contains TILEWRIGHT_PUBLIC_URL, which may change."""

UNKEPT = b"no-store"
"""For content that contains the request's Host: a cache that ignores the Host would return it for another one."""

PREFLIGHT_SECONDS = b"86400"
"""How long a browser may cache the response to a preflight request: the longest time that Firefox accepts."""

CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag, Link, Retry-After, X-Request-ID"),
]

TILE_ID = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
"""Each number has only one spelling, so that each tile has only one URL and caches keep it once."""

logger = logging.getLogger(__name__)

_HOST = re.compile(r"(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""A host name or an address, with an optional port (RFC 9110, 7.2)."""

Body = Callable[[], Awaitable[bytes]]
Headers = Sequence[tuple[bytes, bytes]]


class Found:
    """What a path leads to.

    Parameters
    ----------
    etag: without quotes.
    body: reads the body.
    size: length of the body in bytes, if it is known without reading the body.
    cache_control: IMMUTABLE, SHORT or UNKEPT.
    headers: additional headers, also sent with a 304.
    status: status of the response to a GET, unless that is 304.
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
    """Raised when a path breaks the syntax of its specification. The message tells a person which part is wrong."""


class PyramidApp(ABC):
    """The ASGI app.

    Parameters
    ----------
    pyramids: shared by all apps that serve pyramids.
    public_url: base of absolute URLs; empty to use the request's Host.

    Attributes
    ----------
    address_cache: the Cache-Control of responses that contain an absolute URL.
    """

    noun: str
    """What the app serves, for the error message of an unknown path."""

    def __init__(self, pyramids: PyramidCache, *, public_url: str = "") -> None:
        self.pyramids = pyramids
        self._public_url = public_url.rstrip("/")
        self.address_cache = SHORT if public_url else UNKEPT

    @abstractmethod
    def split(self, path: str) -> tuple[str, list[str]]:
        """Split a path into the tile_id, which may be malformed, and the other parts."""

    @abstractmethod
    def find(self, pyramid: OpenPyramid, parts: list[str], scope: Scope) -> Found | Stream | None:
        """Return what a path leads to; None if there is nothing. Raises Malformed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            await _respond_to_preflight(send)
            return
        if method not in {"GET", "HEAD"}:
            allow = {"Allow": METHODS}
            detail = f"Pyramids are read-only. Use one of {METHODS}."
            response = problem_response(scope, 405, "method_not_allowed", detail, allow)
        else:
            try:
                await self._serve(scope, receive, send)
                return
            except Malformed as error:
                response = problem_response(scope, 400, "invalid_request", str(error))
            except (NotFound, StatusUnavailable, StorageError) as error:
                response = error_response(error, scope)
        response.raw_headers.extend(CORS)
        await response(scope, receive, send)

    def base(self, scope: Scope) -> str:
        """Return the base of absolute URLs, without a trailing slash."""
        return self._public_url or _base_of(scope)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        tile_id, parts = self.split(scope["path"])
        if not TILE_ID.fullmatch(tile_id):
            raise self._nothing(scope["path"])
        try:
            await self._serve_once(tile_id, parts, scope, receive, send)
        except (ObjectMissing, Stale):
            # Another build replaced this one and the janitor removed it, or the file server was restarted. Ask once
            # more for the current build, and open it.
            try:
                await self._serve_once(tile_id, parts, scope, receive, send)
            except Damaged as error:
                # Not a 404, which a cache might keep: the path is right.
                logger.warning("%s is damaged: %s. Run `tilewright verify`", tile_id, error)
                raise StorageError(str(error)) from error
            except ObjectMissing as error:
                # If the whole storage is missing, this raises an error that is not a 404.
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
                    await stream.respond(scope, receive, send, CORS)
                case Found() as found:
                    await _respond(found, scope, send)
        except (ObjectMissing, Stale):
            self.pyramids.forget(pyramid)
            raise

    def _nothing(self, path: str) -> NotFound:
        return NotFound(f"there is no {self.noun} at {path[:200]}")


def number(text: str) -> int:
    """Parse a number of at most nine digits without leading zeros. Raises ValueError."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return int(text)


def fixed(
    pyramid: OpenPyramid,
    name: str,
    media_type: str,
    text: str,
    cache_control: bytes = IMMUTABLE,
    headers: Headers = (),
) -> Found:
    """Return a response with a short text. Its ETag is made from its name and its content."""
    data = text.encode()

    async def body() -> bytes:
        return data

    digest = hashlib.sha256(data).hexdigest()[:16]
    etag = f"{pyramid.tile_id}-{name}-{digest}"
    return Found(etag, media_type, body, len(data), cache_control=cache_control, headers=headers)


def _base_of(scope: Scope) -> str:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if not _HOST.fullmatch(host):
        # HTTP/1.0 needs no Host, and a malformed one must not get into a response that caches keep. Use the address
        # that the client connected to instead.
        address, port = scope.get("server") or ("localhost", None)
        host = f"{address}:{port}" if port else address
    return f"{scope.get('scheme', 'http')}://{host}"


async def _respond(found: Found, scope: Scope, send: Send) -> None:
    if found.status == 200 and is_not_modified(scope["headers"], found.etag):
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


async def _respond_to_preflight(send: Send) -> None:
    headers = [
        *CORS,
        (b"allow", METHODS.encode()),
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", b"If-None-Match, X-Request-ID"),
        (b"access-control-max-age", PREFLIGHT_SECONDS),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
