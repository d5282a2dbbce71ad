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
from gateway.tiles.pyramid_app import CORS, IMMUTABLE
from gateway.tiles.pyramid_cache import OpenPyramid, PyramidCache
from pipeline.pyramids import Entry

_NUMBER = rb"(0|[1-9][0-9]{0,8})"
_TARGET = re.compile(
    rb"/tiles/([0-9a-f]{64})(?:_files/%b/%b_%b|/%b/%b/%b)\.([a-z]+)" % ((_NUMBER,) * 6),
)

_HEAD = (
    b'HTTP/1.1 200 OK\r\netag: "%b-%b-%b-%b-%b"\r\ncache-control: '
    + IMMUTABLE
    + b"".join(b"\r\n%b: %b" % header for header in CORS)
    + b"\r\ncontent-type: %b\r\ncontent-length: %d\r\n"
)

_UNSUPPORTED = frozenset({b"if-none-match", b"x-request-id"})
"""Headers that change the response: such requests go to tile_app."""

REMEMBERED = 8192
"""Tiles whose position and headers are cached, about 6 MB: viewers of one image request the same tiles."""


REMEMBERED_HOSTS = 64
"""Accepted Host headers that are cached: a gateway has few names."""


class _Tile(NamedTuple):
    pyramid: OpenPyramid
    entry: Entry
    head: bytes


class QuickTiles:
    """Builds the responses of the fast path.

    Parameters
    ----------
    pyramids: the cache that tile_app uses.
    is_own_host: returns whether a Host header names this gateway.
    """

    def __init__(self, pyramids: PyramidCache, is_own_host: Callable[[bytes], bool] = lambda _: True) -> None:
        self._pyramids = pyramids
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
        if tile is None or self._pyramids.opened(tile.pyramid.tile_id) is not tile.pyramid:
            tile = self._find(target)
            if tile is None:
                return None
            if len(self._tiles) >= REMEMBERED:
                self._tiles.clear()
            self._tiles[target] = tile
        body = tile.pyramid.files.read_now(tile.entry)
        return None if body is None else (tile.head, body)

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
        tile_id, level, column, row, zoom, x, y, extension = found.groups()
        pyramid = self._pyramids.opened(tile_id.decode())
        if pyramid is None or extension.decode() != pyramid.format.value:
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
        return _Tile(pyramid, entry, _HEAD % (tile_id, kind, *place, pyramid.media_type, entry.length))
