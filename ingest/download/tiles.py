"""Download the tiles of a IIIF image into one file, a few at once: docs/decisions/0030.

The tiles are written in their order, whatever the order in which they arrive. So the file's first bytes are all that a
later run needs to go on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from heapq import heappop, heappush
from pathlib import Path

from ingest.download.partial_file import ROOM_INTERVAL, Progress, Room, storage_errors
from ingest.download.remote_file import RemoteFile
from ingest.download.resume import EarlierDownload
from ingest.http import Cancellation, Connection, too_large
from ingest.links import Tiling
from ingest.settings import IngestSettings
from ingest.sniff import Sniffer
from pipeline.errors import StageError, TilewrightError
from pipeline.formats.signatures import image_kind
from pipeline.formats.tile_sets import HEAD_BYTES, KINDS, MOST_TILE_BYTES, entry, whole_tiles
from pipeline.texts import amount

TRIES = 3
"""Requests for a tile whose connection breaks."""

TILE_SECONDS = 60.0
"""Seconds that a tile may take: one of 200 kB at the lowest rate that is accepted."""

WINDOW = 4
"""Tiles for each connection that may be ahead of the first one that has not arrived."""

LOOK = 0.5
"""Seconds between two checks whether the download was cancelled, while it waits for other connections."""

logger = logging.getLogger(__name__)

BREAKS = ("source_incomplete", "source_timeout")
"""Codes of failures that another request may overcome."""


class TileDownload:
    """One download of tiles.

    Attributes
    ----------
    end: bytes of the file that are written.
    host: the server of the first tile that arrived.

    Parameters
    ----------
    path: the file to write.
    first: a connection, which has its place at the host.
    additional: makes a connection that gets a place only if there is room.
    earlier: what earlier runs have downloaded of the same tiles, if anything.
    """

    def __init__(
        self,
        tiling: Tiling,
        path: Path,
        settings: IngestSettings,
        *,
        first: Connection,
        additional: Callable[[], Connection],
        cancellation: Cancellation,
        earlier: EarlierDownload,
        progress: Progress,
        kept: Callable[[int], None],
        room: Room,
        waiting: Callable[[], None],
    ) -> None:
        self.host = ""
        self.end = 0
        self._tiling, self._path, self._settings = tiling, path, settings
        self._first, self._additional = first, additional
        self._cancellation = cancellation
        self._earlier = earlier
        self._progress, self._kept, self._room, self._waiting = progress, kept, room, waiting
        self._changed = threading.Condition()
        self._next = self._written = 0
        self._again: list[int] = []
        self._arrived: dict[int, bytes] = {}
        self._room_due = 0
        self._sha256 = hashlib.sha256()
        self._has_ended = False
        room(ROOM_INTERVAL)
        with storage_errors(path):
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def run(self) -> str:
        """Download the tiles that are missing. Returns the file's SHA-256 in hex.

        Raises
        ------
        StageError: with the code of the tile that could not be downloaded.
        StorageError: the file cannot be written.
        Exception: the reason of a cancellation.
        """
        with storage_errors(self._path):
            self._adopt()
        count = min(self._settings.source_connections, self._tiling.tiles.total - self._written)
        beside = [self._additional() for _ in range(count - 1)]
        threads = [
            threading.Thread(target=self._help, args=(one,), name=f"ingest-tiles-{number}", daemon=True)
            for number, one in enumerate(beside, 1)
        ]
        for thread in threads:
            thread.start()
        try:
            while (number := self._take(is_first=True)) is not None:
                self._put(number, self._fetch(self._first, number))
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()
            for connection in beside:
                connection.cancellation.cancel(StageError("source_incomplete", "The download has ended."))
            for thread in threads:
                thread.join()
        return self._sha256.hexdigest()

    def _adopt(self) -> None:
        """Copy what an earlier run has downloaded, up to its last whole tile."""
        for _ in self._earlier.copy(self.descriptor):
            self._cancellation.check()
        self._earlier.discard()
        with open(self.descriptor, "rb", closefd=False) as file:
            file.seek(0)
            size = os.fstat(self.descriptor).st_size
            if size >= HEAD_BYTES and file.read(HEAD_BYTES) == self._tiling.tiles.head():
                self._written, self.end = whole_tiles(file, self._tiling.tiles)
                file.seek(0)
                while (left := self.end - file.tell()) > 0:
                    self._sha256.update(file.read(min(left, ROOM_INTERVAL)))
        os.ftruncate(self.descriptor, self.end)
        self._next = self._written
        if not self.end:
            self._write(self._tiling.tiles.head())
        self._kept(self.end)
        self._progress(self.end, None)

    def _help(self, connection: Connection) -> None:
        """Fetch tiles over an additional connection until there are none, or it fails. The others then go on alone."""
        try:
            while (number := self._take()) is not None:
                try:
                    data = self._fetch(connection, number)
                except Exception as error:  # noqa: BLE001  the first connection meets the same error, and raises it
                    logger.info("an additional connection for tiles ends: %s", error)
                    with self._changed:
                        heappush(self._again, number)
                        self._changed.notify_all()
                    return
                self._put(number, data)
                if connection.is_wanted:
                    return  # another download waits for its first connection
        except TilewrightError as error:
            self._cancellation.cancel(error)
        finally:
            connection.close()

    def _take(self, *, is_first: bool = False) -> int | None:
        """Return the number of a tile to fetch, once one is due; None if there is nothing left to do."""
        most = WINDOW * self._settings.source_connections
        with self._changed:
            while True:
                self._cancellation.check()
                if self._has_ended or self._written == self._tiling.tiles.total:
                    return None
                if self._again:
                    return heappop(self._again)
                if self._next < min(self._tiling.tiles.total, self._written + most):
                    self._next += 1
                    return self._next - 1
                if is_first:
                    self._waiting()
                self._changed.wait(LOOK)

    def _put(self, number: int, data: bytes) -> None:
        with self._changed:
            self._arrived[number] = data
            while (ready := self._arrived.pop(self._written, None)) is not None:
                with storage_errors(self._path):
                    self._write(entry(ready))
                self._written += 1
            self._progress(self.end, None)
            self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        if self.end + len(data) > self._settings.max_source_bytes:
            raise too_large(self.host, self._settings.max_source_bytes)
        if self.end >= self._room_due:
            self._room_due = self.end + ROOM_INTERVAL
            self._room(ROOM_INTERVAL)
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self.descriptor, rest, self.end)
            self.end, rest = self.end + done, rest[done:]
        self._sha256.update(data)

    def _fetch(self, connection: Connection, number: int) -> bytes:
        """Return the bytes of a tile."""
        place = self._tiling.tiles.place(number)
        for tries_left in reversed(range(TRIES)):
            try:
                return self._fetch_once(connection, number)
            except StageError as error:
                if error.code not in BREAKS or not tries_left:
                    raise error.copy(f"The tile at {place.x:,}, {place.y:,}: {error.message}") from error
                connection.drop()
        raise AssertionError

    def _fetch_once(self, connection: Connection, number: int) -> bytes:
        file = RemoteFile(self._tiling.url(number), self._settings)
        slow = StageError("source_timeout", f"The tile did not arrive within {TILE_SECONDS:g} seconds. Retry later.")
        data = bytearray()
        with connection.cancellation.limit(TILE_SECONDS, slow):
            stream = file.whole(connection)
            self.host = self.host or file.host
            while block := stream.read():
                data += block
                if len(data) > MOST_TILE_BYTES:
                    most = amount(MOST_TILE_BYTES)
                    raise StageError("source_too_large", f"{file.host} sent a tile of more than {most}.")
        sniffer = Sniffer(file.host)
        sniffer.take(0, bytes(data))
        sniffer.finish()
        if image_kind(bytes(data[:64])) not in KINDS:
            raise StageError("not_an_image", f"{file.host} sent something else than a JPEG, PNG or WebP for a tile.")
        return bytes(data)
