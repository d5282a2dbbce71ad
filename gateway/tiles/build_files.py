"""The open files of one build, in a folder or in a storage without paths."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from copy import copy
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from gateway.storage import StorageThreads
from pipeline.errors import ObjectMissing, StorageError
from pipeline.pyramids import INDEX, PARTS, Buffer, Entry, Index
from pipeline.storage import Storage, pyramid_key
from protos.tilewright.status.v1 import status_pb2 as pb

PIECE = 1 << 18
"""Bytes per read when a file is streamed. Each read takes this much memory, and a switch to a thread."""

LONGEST_TILE = 16 << 20
"""Maximum length of a tile in bytes. A tile of 512 x 512 pixels has at most an eighth of it; a damaged index may name
gigabytes."""

NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
"""Flag with which Linux reads from the page cache only, or fails with EAGAIN. 0 on systems without it."""


T = TypeVar("T")


class Files(Protocol):
    """A build's tiles, independent of where they are stored.

    The async methods raise ObjectMissing if the build is gone, Damaged if a file has changed, Stale if the build has to
    be opened again, StorageBusy if the storage does not answer in time, and StorageError if it fails.
    """

    tile_count: int
    edge_count: int

    def entry_now(self, position: int) -> Entry | None:
        """Return where a tile lies, or None if finding out would block."""

    def read_now(self, entry: Entry) -> bytes | bytearray | None:
        """Return one tile, or None if reading it would block or fails. `read` then waits, or raises the error.

        A deleted build can still be read while it is open.
        """

    async def read(self, position: int) -> bytes:
        """Read one tile."""

    async def read_file(self, name: str) -> bytes:
        """Read a whole small file of the build."""

    async def size(self, name: str) -> int:
        """Return a file's length in bytes."""

    def stream(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        """Yield a part of a file in pieces. Goes on after `close`."""

    async def deleted(self) -> bool:
        """Return whether the build is known to be deleted, or has to be opened again."""

    def close(self) -> None:
        """Close the files. Reads that are in flight finish; no new ones may begin."""


async def open_files(storage: Storage, pyramid: pb.Pyramid, threads: StorageThreads) -> Files:
    """Open a build's files. Raises the same errors as Files."""
    key = pyramid_key(pyramid.tile_id, pyramid.build, INDEX)
    path = storage.local_path(key)
    if path is not None:
        return await threads.run(LocalFiles, path.parent, threads, discard=LocalFiles.close)
    try:
        return RemoteFiles(storage, pyramid, Index(await threads.run(_whole, storage, key)), threads)
    except ValueError as error:
        raise Damaged(f"{pyramid.build}: {error}") from error


class Damaged(ObjectMissing):
    """Raised when a file of a build exists but is not as it was written."""


class Stale(StorageError):
    """Raised when open files are no longer valid, as after a restart of their file server."""


class FileIndex(Index):
    """A tiles.idx in an open file. The caller closes the file.

    Each entry is read on demand. The file is not mapped into memory, because a truncated file or a disk error would
    then end this process with SIGBUS.

    Parameters
    ----------
    flags: for preadv.

    Raises
    ------
    ValueError: the file is not a valid index, as Index checks it.
    OSError: the file cannot be read.
    """

    def __init__(self, descriptor: int, flags: int = 0) -> None:
        self._descriptor = descriptor
        self._flags = flags
        self._begin(os.fstat(descriptor).st_size)

    def at_once(self) -> FileIndex:
        """Return a copy that reads only from the page cache, and raises OSError for everything else."""
        index = copy(self)
        index._flags = NOWAIT
        return index

    def _read(self, offset: int, length: int) -> Buffer:
        data: Buffer
        if not self._flags:
            data = os.pread(self._descriptor, length, offset)
            is_whole = len(data) == length
        else:
            data = bytearray(length)
            is_whole = os.preadv(self._descriptor, [data], offset, self._flags) == length
        if not is_whole:
            raise Damaged("the index is truncated")
        return data


class Descriptors:
    """Open files with a reference count: the last user's `release` closes them. Thread-safe."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._lock = threading.Lock()
        self._users = 1
        self.numbers: list[int] = []
        try:
            for path in paths:
                self.numbers.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            self.release()
            raise

    def use(self) -> None:
        """Add a user. Raises Stale if the files were already closed."""
        with self._lock:
            if not self._users:
                raise Stale("the build was closed")
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            numbers, self.numbers = (self.numbers, []) if not self._users else ([], self.numbers)
        for number in numbers:
            os.close(number)


class LocalFiles:
    """A build in a folder. A tile takes one positioned read, in the event loop if its bytes are in the page cache.

    Such a read takes some microseconds, and switching to a thread ten times as long. A read from a disk or a network
    file system may take any time, so it runs in a thread. A file system without RWF_NOWAIT is always read in a thread.

    The constructor opens the files, which may block: do not call it in the event loop.
    """

    def __init__(self, folder: Path, threads: StorageThreads) -> None:
        self._folder = folder
        self._threads = threads
        self._can_tell = bool(NOWAIT)
        try:
            self._files = Descriptors(folder / name for name in (*PARTS, INDEX))
        except OSError as error:
            raise _explain(error, folder) from error
        try:
            self._index = FileIndex(self._files.numbers[len(PARTS)])
        except OSError as error:
            self.close()
            raise _explain(error, folder) from error
        except ValueError as error:
            self.close()
            raise Damaged(f"{folder.name}: {error}") from error
        except StorageError:
            self.close()
            raise
        self._index_now = self._index.at_once()
        self.tile_count, self.edge_count = self._index.tile_count, self._index.edge_count

    def entry_now(self, position: int) -> Entry | None:
        if not self._can_tell:
            return None
        try:
            return self._index_now.entry(position)
        except OSError as error:
            self._note(error)
        except Damaged:
            pass  # Perhaps only a part of the entry was in memory.
        return None

    def read_now(self, entry: Entry) -> bytearray | None:
        if not self._can_tell or not _is_sane(entry):
            return None
        data = bytearray(entry.length)
        try:
            if os.preadv(self._files.numbers[entry.part], [data], entry.offset, NOWAIT) == entry.length:
                return data
        except OSError as error:
            self._note(error)
        return None

    def _note(self, error: OSError) -> None:
        if error.errno == errno.EOPNOTSUPP:
            self._can_tell = False

    async def read(self, position: int) -> bytes:
        entry = self.entry_now(position)
        if entry is not None and (data := self.read_now(entry)) is not None:
            # A file system that supports RWF_NOWAIT is local, so its fstat does not block.
            with suppress(OSError):
                if not _unlinked(self._part(entry)):
                    return bytes(data)
        return await self._wait(self._read, position)

    def _read(self, position: int) -> bytes:
        try:
            entry = self._index.entry(position)
            _require_sane(entry)
            data = os.pread(self._part(entry), entry.length, entry.offset)
            if _unlinked(self._part(entry)):
                raise ObjectMissing(f"{self._folder.name} is gone")
        except OSError as error:
            raise _explain(error, self._folder) from error
        if len(data) != entry.length:
            raise Damaged(f"{self._folder.name} is truncated")
        return data

    async def read_file(self, name: str) -> bytes:
        return await self._threads.run(self._explained, (self._folder / name).read_bytes)

    async def size(self, name: str) -> int:
        return await self._threads.run(self._explained, lambda: (self._folder / name).stat().st_size)

    async def stream(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        # Opens the file again, because the cache may close the others before the last piece is read.
        files = await self._threads.run(
            self._explained, lambda: Descriptors([self._folder / name]), discard=Descriptors.release
        )
        try:
            for at, size in _pieces(offset, length):
                files.use()
                read = partial(os.pread, files.numbers[0], size, at)
                yield await self._threads.run(self._explained, read, finished=files.release)
        finally:
            files.release()

    async def deleted(self) -> bool:
        return await self._wait(self._deleted)

    def _deleted(self) -> bool:
        try:
            return any(_unlinked(number) for number in self._files.numbers)
        except OSError:
            return True

    def close(self) -> None:
        self._files.release()

    def _part(self, entry: Entry) -> int:
        return self._files.numbers[entry.part]

    async def _wait(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function that reads, in a thread. The files stay open until it returns."""
        self._files.use()
        return await self._threads.run(function, *arguments, finished=self._files.release)

    def _explained(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except OSError as error:
            raise _explain(error, self._folder) from error


class RemoteFiles:
    """A build in a storage without paths. A tile takes one range read, in a thread. The index is kept in memory."""

    def __init__(self, storage: Storage, pyramid: pb.Pyramid, index: Index, threads: StorageThreads) -> None:
        self._storage = storage
        self._threads = threads
        self._tile_id = pyramid.tile_id
        self._build = pyramid.build
        self._index = index
        self.tile_count, self.edge_count = index.tile_count, index.edge_count

    def entry_now(self, position: int) -> Entry | None:
        return self._index.entry(position)

    def read_now(self, entry: Entry) -> None:  # noqa: ARG002  every read from a bucket may block
        return None

    async def read(self, position: int) -> bytes:
        entry = self._index.entry(position)
        _require_sane(entry)
        key = pyramid_key(self._tile_id, self._build, PARTS[entry.part])
        data = await self._threads.run(self._storage.get_range, key, entry.offset, entry.length)
        if len(data) != entry.length:
            raise Damaged(f"{key} is truncated")
        return data

    async def read_file(self, name: str) -> bytes:
        return await self._threads.run(_whole, self._storage, pyramid_key(self._tile_id, self._build, name))

    async def size(self, name: str) -> int:
        return await self._threads.run(self._storage.size, pyramid_key(self._tile_id, self._build, name))

    async def stream(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        key = pyramid_key(self._tile_id, self._build, name)
        for at, size in _pieces(offset, length):
            yield await self._threads.run(self._storage.get_range, key, at, size)

    async def deleted(self) -> bool:
        return False  # No file is open: the next read raises if the build is gone.

    def close(self) -> None:
        pass


def _whole(storage: Storage, key: str) -> bytes:
    return storage.get_range(key, 0, storage.size(key))


def _unlinked(descriptor: int) -> bool:
    return os.fstat(descriptor).st_nlink == 0


def _is_sane(entry: Entry) -> bool:
    return entry.part < len(PARTS) and entry.length <= LONGEST_TILE


def _require_sane(entry: Entry) -> None:
    if not _is_sane(entry):
        raise Damaged(f"the index has an implausible entry: {entry}")


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int]]:
    for at in range(offset, offset + length, PIECE):
        yield at, min(PIECE, offset + length - at)


def _explain(error: OSError, folder: Path) -> StorageError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ObjectMissing(f"{folder.name} is gone")
    if error.errno == errno.ESTALE:
        return Stale(f"{folder.name}: {error.strerror}")
    return StorageError(f"{folder.name}: {error.strerror or error}")
