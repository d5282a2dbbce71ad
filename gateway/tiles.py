"""What lies below /tiles/: a plain ASGI app without routing, dependency injection or threads for local reads.

    /tiles/<tile_id>.dzi                              Deep Zoom descriptor
    /tiles/<tile_id>_files/<level>/<x>_<y>.<ext>      Deep Zoom tile
    /tiles/<tile_id>/<z>/<x>/<y>.<ext>                XYZ tile
    /tiles/<tile_id>/tilejson.json                    TileJSON 3.0
    /tiles/<tile_id>/thumbnail.jpg                    at most 512 pixels

All but the TileJSON never change: a tile_id stands for one source, its options and one pyramid version.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from gateway import problems
from gateway.pyramid_cache import GetPyramid, OpenPyramid, PyramidCache
from pipeline.errors import NotFound, ObjectMissing, StatusUnavailable, StorageError
from pipeline.pyramid import THUMBNAIL
from pipeline.storage import Storage

PREFIX = "/tiles/"
METHODS = "GET, HEAD, OPTIONS"

IMMUTABLE = b"public, max-age=31536000, immutable"
SHORT = b"public, max-age=300"
"""Of the TileJSON, which names the address it was asked at: that may change with a proxy's set-up."""

PREFLIGHT_SECONDS = b"86400"
"""How long a browser may remember that everyone may read: the most that Firefox takes."""

MERCATOR_NORTH = math.degrees(math.atan(math.sinh(math.pi)))
"""Degrees of latitude at the upper edge of XYZ's square world, 85.05…"""

_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag, Retry-After, X-Request-ID"),
]

_TILE_ID = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
"""One spelling a number: a tile must have one address, or caches hold it twice."""

_SUFFIXES = {1: ".dzi", 3: "_files"}
"""What stands behind the tile_id, by the number of parts of the path."""

Body = Callable[[], Awaitable[bytes]]


class Found:
    """What a path leads to.

    Parameters
    ----------
    etag: without quotes.
    size: bytes of the body, where they are known without reading it.
    """

    __slots__ = ("body", "cache_control", "etag", "media_type", "size")

    def __init__(self, etag: str, media_type: str, body: Body, size: int | None = None) -> None:
        self.etag = f'"{etag}"'.encode()
        self.media_type = media_type.encode()
        self.body = body
        self.size = size
        self.cache_control = IMMUTABLE


class Tiles:
    """The ASGI app.

    Parameters
    ----------
    get_pyramid: gives the build that counts for a tile_id; raises NotFound or StatusUnavailable.
    public_url: base of the addresses in a TileJSON; empty: taken from the request's Host.
    """

    def __init__(self, get_pyramid: GetPyramid, storage: Storage, *, public_url: str = "") -> None:
        self.pyramids = PyramidCache(get_pyramid, storage)
        self._public_url = public_url.rstrip("/")

    def close(self) -> None:
        """Close all open pyramids."""
        self.pyramids.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            await _answer_preflight(send)
            return
        if method not in {"GET", "HEAD"}:
            allow = {"Allow": METHODS}
            detail = f"Tiles are only read: use one of {METHODS}."
            response = problems.respond(scope, 405, "method_not_allowed", detail, allow)
        else:
            try:
                await self._serve(scope, send)
                return
            except (NotFound, StatusUnavailable, StorageError) as error:
                response = problems.answer(error, scope)
        response.raw_headers.extend(_CORS)
        await response(scope, receive, send)

    async def _serve(self, scope: Scope, send: Send) -> None:
        path = scope["path"]
        parts = path.removeprefix(PREFIX).split("/")
        suffix = _SUFFIXES.get(len(parts), "")
        tile_id = parts[0].removesuffix(suffix)
        if not (parts[0].endswith(suffix) and _TILE_ID.fullmatch(tile_id)):
            raise _nothing(path)
        try:
            await self._serve_once(tile_id, parts, scope, send)
        except ObjectMissing:
            # The build was swept after another took its place: ask once more which one counts.
            try:
                await self._serve_once(tile_id, parts, scope, send)
            except ObjectMissing as error:
                raise _nothing(path) from error

    async def _serve_once(self, tile_id: str, parts: list[str], scope: Scope, send: Send) -> None:
        pyramid = await self.pyramids.get(tile_id)
        try:
            found = self._find(pyramid, parts, scope)
            if _matches(scope, found.etag):
                await _send(send, 304, found, b"", None)
            elif scope["method"] == "HEAD" and found.size is not None:
                await _send(send, 200, found, b"", found.size)
            else:
                body = await found.body()
                await _send(send, 200, found, b"" if scope["method"] == "HEAD" else body, len(body))
        except ObjectMissing:
            self.pyramids.forget(pyramid)
            raise

    def _find(self, pyramid: OpenPyramid, parts: list[str], scope: Scope) -> Found:
        try:
            match parts:
                case [_]:
                    return _fixed(pyramid, "dzi", "application/xml", _descriptor(pyramid))
                case [_, "thumbnail.jpg"]:
                    read = pyramid.files.read_file
                    return Found(f"{pyramid.tile_id}-thumbnail", "image/jpeg", lambda: read(THUMBNAIL))
                case [_, "tilejson.json"]:
                    base = self._public_url or _base_of(scope)
                    found = _fixed(pyramid, "tilejson", "application/json", _tilejson(pyramid, base))
                    found.cache_control = SHORT
                    return found
                case [_, level, file]:
                    x, y = _stem(file, pyramid).split("_")
                    address = _number(level), _number(x), _number(y)
                    return _tile(pyramid, "d", address, pyramid.geometry.deep_zoom_position(*address))
                case [_, zoom, x, file]:
                    address = _number(zoom), _number(x), _number(_stem(file, pyramid))
                    return _tile(pyramid, "x", address, pyramid.geometry.xyz_position(*address))
        except (IndexError, ValueError):
            pass
        raise _nothing(scope["path"])


def _tile(pyramid: OpenPyramid, kind: str, address: tuple[int, int, int], position: int) -> Found:
    entry = pyramid.files.index.entry(position)
    etag = "{}-{}-{}-{}-{}".format(pyramid.tile_id, kind, *address)
    return Found(etag, pyramid.format.media_type, lambda: pyramid.files.read(entry), entry.length)


def _fixed(pyramid: OpenPyramid, name: str, media_type: str, text: str) -> Found:
    data = text.encode()

    async def body() -> bytes:
        return data

    digest = hashlib.sha256(data).hexdigest()[:16]
    return Found(f"{pyramid.tile_id}-{name}-{digest}", media_type, body, len(data))


def _descriptor(pyramid: OpenPyramid) -> str:
    geometry = pyramid.geometry
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="{pyramid.format}" Overlap="0"'
        f' TileSize="{geometry.tile_size}"><Size Width="{geometry.width}" Height="{geometry.height}"/></Image>\n'
    )


def _tilejson(pyramid: OpenPyramid, base: str) -> str:
    """Give TileJSON 3.0.0; its bounds are the picture's part of the square world: viewers ask for nothing outside."""
    geometry = pyramid.geometry
    world = geometry.tile_size << geometry.max_zoom
    east = 360 * geometry.width / world - 180
    south = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * geometry.height / world))))
    document = {
        "tilejson": "3.0.0",
        "tiles": [f"{base}{PREFIX}{pyramid.tile_id}/{{z}}/{{x}}/{{y}}.{pyramid.format}"],
        "scheme": "xyz",
        "minzoom": 0,
        "maxzoom": geometry.max_zoom,
        "bounds": [-180, south, east, MERCATOR_NORTH],
        "center": [(east - 180) / 2, (south + MERCATOR_NORTH) / 2, 0],
        "tile_size": geometry.tile_size,
        "width": geometry.width,
        "height": geometry.height,
        "format": pyramid.format.value,
    }
    return json.dumps(document)


def _base_of(scope: Scope) -> str:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if not host:
        # HTTP/1.0 needs no Host; the address that was connected to is the next best name.
        address, port = scope.get("server") or ("localhost", None)
        host = f"{address}:{port}" if port else address
    return f"{scope.get('scheme', 'http')}://{host}"


def _stem(file: str, pyramid: OpenPyramid) -> str:
    stem, _, extension = file.partition(".")
    if extension != pyramid.format.value:
        raise ValueError("another format")
    return stem


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("no number")
    return int(text)


def _nothing(path: str) -> NotFound:
    return NotFound(f"there is no tile at {path[:200]}")


def _matches(scope: Scope, etag: bytes) -> bool:
    """Tell whether If-None-Match names this ETag (RFC 9110 13.1.2: weak comparison)."""
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            given = [tag.strip().removeprefix(b"W/") for tag in value.split(b",")]
            if etag in given or given == [b"*"]:
                return True
    return False


async def _send(send: Send, status: int, found: Found, body: bytes, length: int | None) -> None:
    headers = [(b"etag", found.etag), (b"cache-control", found.cache_control), *_CORS]
    if length is not None:
        headers += [(b"content-type", found.media_type), (b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _answer_preflight(send: Send) -> None:
    headers = [
        *_CORS,
        (b"allow", METHODS.encode()),
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", b"If-None-Match, X-Request-ID"),
        (b"access-control-max-age", PREFLIGHT_SECONDS),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
