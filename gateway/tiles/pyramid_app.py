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

from gateway.http import base_of, disconnected, error_response, interruptible, is_not_modified, problem_response
from gateway.tiles.build_files import Damaged, Stale
from gateway.tiles.dataset_addresses import DATASET_ID, DatasetAddresses
from gateway.tiles.pyramid_cache import OpenPyramid, PyramidCache
from gateway.tiles.streams import Stream
from pipeline.errors import NotFound, ObjectMissing, RegionsBusy, StatusUnavailable, StorageError
from protos.tilewright.status.v1 import status_pb2 as pb

METHODS = "GET, HEAD, OPTIONS"

IMMUTABLE = b"public, max-age=31536000, immutable"
"""For content that a tile_id determines: the id stands for one source, its options and one pyramid version."""

SHORT = b"public, max-age=300"
"""For content that contains TILEWRIGHT_PUBLIC_URL, which may change."""

CURRENT = b"public, max-age=60, stale-while-revalidate=600"
"""For what a dataset's permanent address shows now, which a new pyramid replaces."""

UNKEPT = b"no-store"
"""For content that contains the request's Host: a cache that ignores the Host would return it for another one."""

PREFLIGHT_SECONDS = b"86400"
"""How long a browser may cache the response to a preflight request: the longest time that Firefox accepts."""

CORS = [
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"Accept-Ranges, Content-Location, Content-Range, ETag, Link, Retry-After, X-Request-ID",
    ),
    # Pages that isolate themselves (Cross-Origin-Embedder-Policy) may show tiles, and pages may time them.
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"timing-allow-origin", b"*"),
]
"""Sent with every response, for pages of any origin."""

_FIELD_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
"""A list of header names: RFC 9110, 5.6.1 and 5.6.2."""

MOST_FIELD_NAMES = 1000
"""Bytes of such a list in a preflight request; pages send a few names."""

TILE_ID = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
"""Each number has only one spelling, so that each tile has only one URL and caches keep it once."""

logger = logging.getLogger(__name__)

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
    suffix: what the path lacks to be the canonical one; None if no immutable address has this content.
    is_slow: whether `body` has to be cancelled if the client leaves.
    """

    __slots__ = ("body", "cache_control", "etag", "headers", "is_slow", "media_type", "size", "status", "suffix")

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
        suffix: str | None = "",
        is_slow: bool = False,
    ) -> None:
        self.etag = f'"{etag}"'.encode()
        self.media_type = media_type.encode()
        self.body = body
        self.size = size
        self.cache_control = cache_control
        self.headers = headers
        self.status = status
        self.suffix = suffix
        self.is_slow = is_slow


class Malformed(Exception):
    """Raised when a path breaks the syntax of its specification. The message tells a person which part is wrong."""


class PyramidApp(ABC):
    """The ASGI app.

    Parameters
    ----------
    pyramids: shared by all apps that serve pyramids.
    addresses: shared too; None if no address begins with a dataset's id.
    public_url: base of absolute URLs; empty to use the request's Host.

    Attributes
    ----------
    address_cache: the Cache-Control of responses that contain an absolute URL.
    """

    noun: str
    """What the app serves, for the error message of an unknown path."""

    def __init__(
        self, pyramids: PyramidCache, addresses: DatasetAddresses | None = None, *, public_url: str = ""
    ) -> None:
        self.pyramids = pyramids
        self._addresses = addresses
        self._public_url = public_url.rstrip("/")
        self.address_cache = SHORT if public_url else UNKEPT

    @abstractmethod
    def split(self, path: str) -> tuple[str, list[str]]:
        """Split a path into the id, which may be malformed, and the other parts."""

    @abstractmethod
    async def find(self, pyramid: OpenPyramid, name: str, parts: list[str], scope: Scope) -> Found | Stream | None:
        """Return what a path leads to; None if there is nothing. Raises Malformed.

        Parameters
        ----------
        name: the id in the path: the pyramid's tile_id, or that of a dataset that shows it.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            await _respond_to_preflight(scope, send)
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
            except (NotFound, RegionsBusy, StatusUnavailable, StorageError) as error:
                response = error_response(error, scope)
        response.raw_headers.extend(CORS)
        await response(scope, receive, send)

    def base(self, scope: Scope) -> str:
        """Return the base of absolute URLs, without a trailing slash."""
        return self._public_url or base_of(scope)

    def said_of(self, pyramid: OpenPyramid, name: str) -> pb.Pyramid:
        """Return what is known of a pyramid. At a dataset's address, what its client says of the image counts.

        Parameters
        ----------
        name: as `find`.
        """
        shown = self._addresses.pyramid(name) if self._addresses is not None and name != pyramid.tile_id else None
        return shown if shown is not None and shown.tile_id == pyramid.tile_id else pyramid.row

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        name, parts = self.split(scope["path"])
        if not (TILE_ID.fullmatch(name) or (self._addresses is not None and DATASET_ID.fullmatch(name))):
            raise self._nothing(scope["path"])
        try:
            await self._serve_once(name, parts, scope, receive, send)
        except (ObjectMissing, Stale):
            # Another build replaced this one and the janitor removed it, or the file server was restarted. Ask once
            # more for the current build, and open it.
            try:
                await self._serve_once(name, parts, scope, receive, send)
            except Damaged as error:
                # Not a 404, which a cache might keep: the path is right.
                logger.warning("%s is damaged: %s. Run `tilewright verify`", name, error)
                raise StorageError(str(error)) from error
            except ObjectMissing as error:
                # If the whole storage is missing, this raises an error that is not a 404.
                await self.pyramids.check_storage()
                self.pyramids.missed(await self._tile_id(name))
                raise self._nothing(scope["path"]) from error

    async def _serve_once(self, name: str, parts: list[str], scope: Scope, receive: Receive, send: Send) -> None:
        pyramid = await self._open(name)
        try:
            found = await self.find(pyramid, name, parts, scope)
            if found is None:
                raise self._nothing(scope["path"])
            is_current = name != pyramid.tile_id
            suffix = "" if isinstance(found, Stream) else found.suffix
            more = [*CORS]
            if is_current and suffix is not None:
                more += self._canonical(scope["path"], name, pyramid, suffix)
            if isinstance(found, Stream):
                await found.respond(scope, receive, send, more, CURRENT if is_current else SHORT)
            else:
                if is_current and found.cache_control != UNKEPT:
                    found.cache_control = CURRENT
                await _respond(found, scope, receive, send, more)
        except (ObjectMissing, Stale):
            self.pyramids.forget(pyramid)
            if self._addresses is not None:
                self._addresses.forget(name)
            raise

    async def _open(self, name: str) -> OpenPyramid:
        try:
            return await self.pyramids.get(await self._tile_id(name))
        except NotFound:
            if self._addresses is None or self._addresses.current(name) is None:
                raise
            # The dataset shows another pyramid by now, or none.
            self._addresses.forget(name)
            return await self.pyramids.get(await self._tile_id(name))

    async def _tile_id(self, name: str) -> str:
        return name if self._addresses is None or TILE_ID.fullmatch(name) else await self._addresses.get(name)

    def _canonical(self, path: str, name: str, pyramid: OpenPyramid, suffix: str) -> Headers:
        """Return the headers of a dataset's address that name the immutable one: RFC 9110 8.7, RFC 6596."""
        target = f"{self._public_url}{path.replace(name, pyramid.tile_id, 1)}{suffix}".encode()
        return canonical_headers(target)

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
    suffix: str | None = "",
) -> Found:
    """Return a response with a short text. Its ETag is made from its name and its content."""
    data = text.encode()

    async def body() -> bytes:
        return data

    digest = hashlib.sha256(data).hexdigest()[:16]
    etag = f"{pyramid.tile_id}-{name}-{digest}"
    return Found(etag, media_type, body, len(data), cache_control=cache_control, headers=headers, suffix=suffix)


def canonical_headers(target: bytes) -> Headers:
    """Return the headers that name a response's immutable address."""
    return (b"content-location", target), (b"link", b'<%b>; rel="canonical"' % target)


async def _respond(found: Found, scope: Scope, receive: Receive, send: Send, more: Headers) -> None:
    if found.status == 200 and is_not_modified(scope["headers"], found.etag):
        await _send(send, 304, found, b"", None, more)
    elif scope["method"] == "HEAD" and found.size is not None:
        await _send(send, found.status, found, b"", found.size, more)
    else:
        reading = found.body()
        body = await (interruptible(reading, disconnected(receive)) if found.is_slow else reading)
        if body is None:
            return
        await _send(send, found.status, found, b"" if scope["method"] == "HEAD" else body, len(body), more)


async def _send(send: Send, status: int, found: Found, body: bytes, length: int | None, more: Headers) -> None:
    headers = [(b"etag", found.etag), (b"cache-control", found.cache_control), *found.headers, *more]
    if length is not None:
        headers += [(b"content-type", found.media_type), (b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _respond_to_preflight(scope: Scope, send: Send) -> None:
    # Whatever a page would send is allowed: it changes nothing in a GET.
    asked = next((value for name, value in scope["headers"] if name == b"access-control-request-headers"), b"")
    is_sane = len(asked) <= MOST_FIELD_NAMES and _FIELD_NAMES.fullmatch(asked)
    headers = [
        *CORS,
        (b"allow", METHODS.encode()),
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", asked if is_sane else b"If-None-Match, Range, X-Request-ID"),
        (b"vary", b"Access-Control-Request-Headers"),
        (b"access-control-max-age", PREFLIGHT_SECONDS),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
