"""Files of regions that were made, on disk. The least recently used are removed when all take more than allowed.

A file is named by a hash of what it shows, and lies in a folder named by its pyramid's tile_id. It begins with a CRC-32
of the rest, since a crash of the machine may leave it cut off. Most methods block: call them in a thread.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from pipeline.file_lock import Held, holding_folder

CRC_BYTES = 4

ENTRY_BYTES = 4096
"""Least bytes that a file counts: what it takes on most file systems. So the number of files is limited, too."""

MOST_FOLDERS = 100
"""Gateways on one machine that may share a folder, each with a cache of its own in it."""

PART = ".part"

logger = logging.getLogger(__name__)


class RegionCache:
    """An LRU cache of files. Thread-safe.

    Parameters
    ----------
    folder: made when it is needed. Several gateways may have the same.
    capacity: most bytes; 0 for no cache.
    reserve: bytes of the volume to keep free. While there are fewer, nothing is stored.
    """

    def __init__(self, folder: Path, capacity: int, reserve: int) -> None:
        self._parent = folder
        self._capacity = capacity
        self._reserve = reserve
        self._lock = threading.Lock()
        self._locked = ExitStack()
        self._folder: Path | None = None
        self._is_usable = capacity > 0
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self.bytes = 0

    def may_have(self, tile_id: str, name: str) -> bool:
        """Return whether `get` may find something. Does not block."""
        return self._is_usable and (self._folder is None or _key(tile_id, name) in self._sizes)

    def get(self, tile_id: str, name: str) -> bytes | None:
        """Return what was stored; None if nothing was, or if it is damaged."""
        if not self._opened():
            return None
        key = _key(tile_id, name)
        with self._lock:
            if key not in self._sizes:
                return None
            self._sizes.move_to_end(key)
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)  # the order after a restart
        except OSError:
            self._forget(key)
            return None
        if len(data) <= CRC_BYTES or zlib.crc32(data[CRC_BYTES:]).to_bytes(CRC_BYTES) != data[:CRC_BYTES]:
            self._remove(key)
            return None
        return data[CRC_BYTES:]

    def put(self, tile_id: str, name: str, data: bytes) -> None:
        """Store, and remove what is too much. A full or broken disk is logged, and no error."""
        if not self._opened() or len(data) > self._capacity // 4:
            return
        key = _key(tile_id, name)
        path = self._path(key)
        part = path.with_name(f"{path.name}{PART}{threading.get_ident()}")
        try:
            if shutil.disk_usage(self._parent).free - len(data) < self._reserve:
                self._make_room(len(data))
                return
            path.parent.mkdir(exist_ok=True)
            part.write_bytes(zlib.crc32(data).to_bytes(CRC_BYTES) + data)
            part.replace(path)
        except OSError as error:
            logger.warning("a region cannot be stored in %s: %s", self._parent, error.strerror or error)
            with suppress(OSError):
                part.unlink()
            return
        with self._lock:
            self.bytes += _counted(len(data)) - self._sizes.pop(key, 0)
            self._sizes[key] = _counted(len(data))
        self._make_room(0)

    def keep_only(self, exists: Callable[[str], bool]) -> int:
        """Remove what shows a pyramid that does not exist. Return how many files were removed."""
        if not self._opened():
            return 0
        with self._lock:
            keys = list(self._sizes)
        gone = {tile_id for tile_id in {key.partition("/")[0] for key in keys} if not exists(tile_id)}
        doomed = [key for key in keys if key.partition("/")[0] in gone]
        for key in doomed:
            self._remove(key)
        for tile_id in gone:
            self._drop_folder(tile_id)
        return len(doomed)

    def close(self) -> None:
        """Unlock the folder. The files stay."""
        with self._lock:
            self._is_usable = False
            self._locked.close()

    def _opened(self) -> bool:
        """Find and read the folder on first use. Return whether there is one."""
        with self._lock:
            if self._folder is None and self._is_usable:
                try:
                    self._open()
                except OSError as error:
                    logger.warning("regions are not stored: %s: %s", self._parent, error.strerror or error)
                self._is_usable = self._folder is not None
            return self._is_usable

    def _open(self) -> None:
        for number in range(MOST_FOLDERS):
            folder = self._parent / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(Held):
                self._locked.enter_context(holding_folder(folder))
                break
        else:
            return
        found = []
        for tile_folder in folder.iterdir():
            for path in tile_folder.iterdir():
                if PART in path.name:
                    path.unlink(missing_ok=True)
                else:
                    facts = path.stat()
                    found.append((facts.st_mtime_ns, f"{tile_folder.name}/{path.name}", _counted(facts.st_size)))
        self._sizes = OrderedDict((key, size) for _, key, size in sorted(found))
        self.bytes = sum(self._sizes.values())
        self._folder = folder

    def _make_room(self, wanted: int) -> None:
        """Remove the least recently used until the rest and `wanted` more bytes are within the capacity.

        If the volume is full, that is what is kept free, so `wanted` more is removed each time.
        """
        target = self._capacity if not wanted else max(0, self.bytes - _counted(wanted))
        while True:
            with self._lock:
                if self.bytes <= target or not self._sizes:
                    return
                key = next(iter(self._sizes))
            self._remove(key)

    def _remove(self, key: str) -> None:
        self._forget(key)
        with suppress(OSError):
            self._path(key).unlink()
        self._drop_folder(key.partition("/")[0])

    def _forget(self, key: str) -> None:
        with self._lock:
            self.bytes -= self._sizes.pop(key, 0)

    def _drop_folder(self, tile_id: str) -> None:
        with suppress(OSError):
            self._path(tile_id).rmdir()  # unless it has other files

    def _path(self, key: str) -> Path:
        assert self._folder is not None  # noqa: S101  it was opened
        return self._folder / key


def _key(tile_id: str, name: str) -> str:
    return f"{tile_id}/{hashlib.sha256(name.encode()).hexdigest()[:40]}"


def _counted(size: int) -> int:
    return -(-size // ENTRY_BYTES) * ENTRY_BYTES
