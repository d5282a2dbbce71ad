"""Fast path for tiles, the most frequent request: it builds the whole response at once.

It handles a plain GET of a tile whose pyramid is open and whose bytes are in memory. All other requests go to
gateway.tiles.tile_app. A test checks that both return the same response.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import NamedTuple

from gateway.http import access_logger
from gateway.tiles.dataset_addresses import DATASET_ID, DatasetAddresses
from gateway.tiles.pyramid_app import CORS, CURRENT, IMMUTABLE, TILE_ID, Headers, canonical_headers
from gateway.tiles.pyramid_cache import OpenPyramid, PyramidCache
from pipeline.pyramids import Entry

_NUMBER = rb"(0|[1-9][0-9]{0,8})"
_TARGET = re.compile(
    rb"/tiles/(?:(%b)|(%b))(?:_files/%b/%b_%b|/%b/%b/%b)(?:\.([a-z]+))?"
    % (TILE_ID.pattern.encode(), DATASET_ID.pattern.encode(), *(_NUMBER,) * 6),
)

_HEAD = (
    b'HTTP/1.1 200 OK\r\netag: "%b-%b-%b-%b-%b"\r\ncache-control: %b%b\r\ncontent-type: %b\r\ncontent-length: %d\r\n'
)


def _lines(headers: Headers) -> bytes:
    return b"".join(b"\r\n%b: %b" % header for header in headers)


_UNSUPPORTED = frozenset({b"if-none-match", b"x-request-id"})
"""Headers that change the response: such requests go to tile_app."""

REMEMBERED = 8192
"""Tiles whose position and headers are cached, about 6 MB: viewers of one image request the same tiles."""


REMEMBERED_HOSTS = 64
"""Accepted Host headers that are cached: a gateway has few names."""


class _Tile(NamedTuple):
    dataset_id: str
    """Empty if the address has a tile_id."""
    pyramid: OpenPyramid
    entry: Entry
    head: bytes


class QuickTiles:
    """Builds the responses of the fast path.

    Parameters
    ----------
    pyramids, addresses, public_url: those of tile_app.
    is_own_host: returns whether a Host header names this gateway.
    """

    def __init__(
        self,
        pyramids: PyramidCache,
        addresses: DatasetAddresses,
        is_own_host: Callable[[bytes], bool] = lambda _: True,
        *,
        public_url: str = "",
    ) -> None:
        self._pyramids = pyramids
        self._addresses = addresses
        self._base = public_url.rstrip("/").encode()
        self._is_own_host = is_own_host
        self._tiles: dict[bytes, _Tile] = {}
        self._hosts: set[bytes] = set()

    def response(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes | bytearray] | None:
        """Return the status line with the headers (without the final empty line), and the body.

        Returns None if tile_app has to respond.

        Parameters
        ----------
        target: request target of a GET, as it was sent.
        headers: with names in lower case.
        """
        if access_logger.isEnabledFor(logging.DEBUG):
            return None
        for name, value in headers:
            if name in _UNSUPPORTED or (name == b"host" and not self._is_own(value)):
                return None
        tile = self._tiles.get(target)
        if tile is None or not self._is_current(tile):
            tile = self._find(target)
            if tile is None:
                return None
            if len(self._tiles) >= REMEMBERED:
                self._tiles.clear()
            self._tiles[target] = tile
        body = tile.pyramid.files.read_now(tile.entry)
        return None if body is None else (tile.head, body)

    def _is_current(self, tile: _Tile) -> bool:
        tile_id = tile.pyramid.tile_id
        if tile.dataset_id and self._addresses.current(tile.dataset_id) != tile_id:
            return False
        return self._pyramids.opened(tile_id) is tile.pyramid

    def _is_own(self, host: bytes) -> bool:
        if host in self._hosts:
            return True
        if not self._is_own_host(host):
            return False
        if len(self._hosts) >= REMEMBERED_HOSTS:
            self._hosts.clear()
        self._hosts.add(host)
        return True

    def _find(self, target: bytes) -> _Tile | None:
        found = _TARGET.fullmatch(target)
        if found is None:
            return None
        named, dataset_id, level, column, row, zoom, x, y, extension = found.groups()
        tile_id = named.decode() if named else self._addresses.current(dataset_id.decode())
        pyramid = tile_id and self._pyramids.opened(tile_id)
        if not pyramid:
            return None
        # Without an extension, only an XYZ tile of a dataset's address has one meaning.
        if extension.decode() != pyramid.format.value if extension else named or level is not None:
            return None
        try:
            if level is not None:
                kind, place = b"d", (level, column, row)
                position = pyramid.geometry.deep_zoom_position(int(level), int(column), int(row))
            else:
                kind, place = b"x", (zoom, x, y)
                position = pyramid.geometry.xyz_position(int(zoom), int(x), int(y))
            entry = pyramid.files.entry_now(position)
        except IndexError:
            return None
        if entry is None:
            return None
        caching, more = IMMUTABLE, _lines(CORS)
        if dataset_id:
            path = target if extension else b"%b.%b" % (target, pyramid.format.value.encode())
            canonical = self._base + path.replace(dataset_id, pyramid.tile_id.encode(), 1)
            caching, more = CURRENT, more + _lines(canonical_headers(canonical))
        head = _HEAD % (pyramid.tile_id.encode(), kind, *place, caching, more, pyramid.media_type, entry.length)
        return _Tile(dataset_id.decode() if dataset_id else "", pyramid, entry, head)
