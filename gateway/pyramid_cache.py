"""The pyramids that are being looked at: descriptor, index and open files, kept together and closed together."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Protocol

from pipeline.errors import ObjectMissing, StorageError
from pipeline.pyramid import INDEX, PARTS, Format, Geometry
from pipeline.storage import Storage, pyramid_key
from pipeline.tile_index import Entry, Index
from protos.tilewright.status.v1 import status_pb2 as pb

CAPACITY = 128
"""Pyramids kept open: at three descriptors each well below the usual limit of 1,024 a process."""

SWEEP_EVERY = 256
"""Lookups between two looks for pyramids that were deleted: while we hold their files, their space is not free."""

PIECE = 1 << 18
"""Bytes read at once of a file that is sent whole: a reader's memory, and a hand-over to a thread, each time."""

GetPyramid = Callable[[str], Awaitable[pb.Pyramid]]
"""Gives the build that counts for a tile_id; raises NotFound or StatusUnavailable."""


class Files(Protocol):
    """A build's tiles, however they are stored."""

    index: Index

    async def read(self, entry: Entry) -> bytes:
        """Read one tile. Raises ObjectMissing where the build is gone, StorageError where the storage fails."""

    async def read_file(self, name: str) -> bytes:
        """Read a whole small file of the build. Raises like `read`."""

    async def size(self, name: str) -> int:
        """Give a file's length in bytes. Raises like `read`."""

    def stream(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        """Read a part of a file, however large, piece by piece; goes on where the files are closed meanwhile."""

    def deleted(self) -> bool:
        """Tell whether the build is known to be gone."""

    def close(self) -> None:
        """Let go of it. Nothing may be read after."""


class OpenPyramid:
    """One build, ready to be read."""

    def __init__(self, pyramid: pb.Pyramid, files: Files) -> None:
        self.tile_id = pyramid.tile_id
        self.build = pyramid.build
        self.format = Format[pb.TileFormat.Name(pyramid.format).removeprefix("TILE_FORMAT_")]
        self.geometry = Geometry(pyramid.width, pyramid.height, pyramid.tile_size)
        self.files = files
        index = files.index
        if (index.tile_count, index.edge_count) != (self.geometry.tile_count, self.geometry.edge_count):
            raise StorageError(f"the index of {self.tile_id} is not that of its pyramid")


class PyramidCache:
    """An LRU of open pyramids, for one event loop.

    Parameters
    ----------
    get_pyramid: asked once for each pyramid that comes in.
    """

    def __init__(self, get_pyramid: GetPyramid, storage: Storage, capacity: int = CAPACITY) -> None:
        self._get_pyramid = get_pyramid
        self._storage = storage
        self._capacity = capacity
        self._open: OrderedDict[str, OpenPyramid] = OrderedDict()
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._lookups = 0

    async def get(self, tile_id: str) -> OpenPyramid:
        """Give the build that counts, opened. It may be closed by anything that is awaited after.

        Raises
        ------
        NotFound, StatusUnavailable: from `get_pyramid`.
        ObjectMissing: where the build's files are not there.
        """
        self._lookups += 1
        if self._lookups % SWEEP_EVERY == 0:
            self.drop_deleted()
        while (found := self._open.get(tile_id)) is None:
            # A viewer asks for dozens of tiles at once: the first one opens, the others wait for it, also if it leaves.
            opening = self._opening.get(tile_id)
            if opening is None:
                opening = asyncio.create_task(self._bring_in(tile_id))
                self._opening[tile_id] = opening
                opening.add_done_callback(lambda task: self._end_opening(tile_id, task))
            # What comes of it is looked up again: it may be closed before all who waited have had their turn.
            await asyncio.shield(opening)
        self._open.move_to_end(tile_id)
        return found

    def forget(self, pyramid: OpenPyramid) -> None:
        """Close a build that turned out to be gone."""
        if self._open.get(pyramid.tile_id) is pyramid:
            del self._open[pyramid.tile_id]
            pyramid.files.close()

    def drop_deleted(self) -> None:
        """Close all builds whose files were deleted, so that their space is freed."""
        for pyramid in [pyramid for pyramid in self._open.values() if pyramid.files.deleted()]:
            self.forget(pyramid)

    def close(self) -> None:
        """Close all of them."""
        while self._open:
            self._open.popitem()[1].files.close()

    async def _bring_in(self, tile_id: str) -> None:
        pyramid = await self._get_pyramid(tile_id)
        files = await open_files(self._storage, pyramid)
        try:
            opened = OpenPyramid(pyramid, files)
        except BaseException:
            files.close()
            raise
        self._open[tile_id] = opened
        if len(self._open) > self._capacity:
            self._open.popitem(last=False)[1].files.close()

    def _end_opening(self, tile_id: str, task: asyncio.Task[None]) -> None:
        del self._opening[tile_id]
        if not task.cancelled():
            task.exception()  # Seen, also where everyone who waited has left.


async def open_files(storage: Storage, pyramid: pb.Pyramid) -> Files:
    """Open a build's files; raises ObjectMissing, StorageError."""
    index = storage.local_path(pyramid_key(pyramid.tile_id, pyramid.build, INDEX))
    if index is not None:
        return LocalFiles(index.parent)
    key = pyramid_key(pyramid.tile_id, pyramid.build, INDEX)
    size = await asyncio.to_thread(storage.size, key)
    return RemoteFiles(storage, pyramid, Index(await asyncio.to_thread(storage.get_range, key, 0, size)))


class LocalFiles:
    """A build in a folder: one positioned read a tile, in the event loop itself.

    A warm read takes some microseconds, a hand-over to a thread ten times as long.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: list[int] = []
        try:
            self._parts.extend(os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC) for name in PARTS)
            with (folder / INDEX).open("rb") as file:
                self._map = mmap(file.fileno(), 0, access=ACCESS_READ)
            self.index = Index(self._map)
        except OSError as error:
            self._close_parts()
            raise _explain(error, folder) from error
        except BaseException:
            self._close_parts()
            raise

    async def read(self, entry: Entry) -> bytes:
        try:
            part = self._parts[entry.part]
            data = os.pread(part, entry.length, entry.offset)
            if len(data) != entry.length or os.fstat(part).st_nlink == 0:
                raise ObjectMissing(f"{self._folder.name} is gone")
            return data
        except OSError as error:
            raise _explain(error, self._folder) from error

    async def read_file(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise _explain(error, self._folder) from error

    async def size(self, name: str) -> int:
        try:
            return (self._folder / name).stat().st_size
        except OSError as error:
            raise _explain(error, self._folder) from error

    async def stream(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        try:
            # A descriptor of its own: the cache may close the others before the last piece is read.
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _explain(error, self._folder) from error
        try:
            for at, size in _pieces(offset, length):
                yield await asyncio.to_thread(os.pread, descriptor, size, at)
        finally:
            os.close(descriptor)

    def deleted(self) -> bool:
        return os.fstat(self._parts[0]).st_nlink == 0

    def close(self) -> None:
        self._close_parts()
        self._map.close()

    def _close_parts(self) -> None:
        while self._parts:
            os.close(self._parts.pop())


class RemoteFiles:
    """A build in a storage without paths: one ranged read a tile, in a thread; the index is held in memory."""

    def __init__(self, storage: Storage, pyramid: pb.Pyramid, index: Index) -> None:
        self._storage = storage
        self._tile_id = pyramid.tile_id
        self._build = pyramid.build
        self.index = index

    async def read(self, entry: Entry) -> bytes:
        key = pyramid_key(self._tile_id, self._build, PARTS[entry.part])
        data = await asyncio.to_thread(self._storage.get_range, key, entry.offset, entry.length)
        if len(data) != entry.length:
            raise ObjectMissing(f"{key} is cut short")
        return data

    async def read_file(self, name: str) -> bytes:
        key = pyramid_key(self._tile_id, self._build, name)
        return await asyncio.to_thread(lambda: self._storage.get_range(key, 0, self._storage.size(key)))

    async def size(self, name: str) -> int:
        return await asyncio.to_thread(self._storage.size, pyramid_key(self._tile_id, self._build, name))

    async def stream(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        key = pyramid_key(self._tile_id, self._build, name)
        for at, size in _pieces(offset, length):
            yield await asyncio.to_thread(self._storage.get_range, key, at, size)

    def deleted(self) -> bool:
        return False  # Nothing is held of it: the next read tells.

    def close(self) -> None:
        pass


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int]]:
    for at in range(offset, offset + length, PIECE):
        yield at, min(PIECE, offset + length - at)


def _explain(error: OSError, folder: Path) -> StorageError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ObjectMissing(f"{folder.name} is gone")
    return StorageError(f"{folder.name}: {error.strerror or error}")
