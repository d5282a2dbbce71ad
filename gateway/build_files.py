"""The files of one build, open to be read: in a folder, or in a storage without paths."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

from pipeline.errors import ObjectMissing, StorageError
from pipeline.pyramid import INDEX, PARTS
from pipeline.storage import Storage, pyramid_key
from pipeline.tile_index import Entry, Index
from protos.tilewright.status.v1 import status_pb2 as pb

PIECE = 1 << 18
"""Bytes read at once of a file that is sent whole: a reader's memory, and a hand-over to a thread, each time."""

LONGEST_TILE = 16 << 20
"""Bytes of a tile that are read at once at most: tiles of 512 pixels square have an eighth of it, and a damaged index
may name gigabytes."""

NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
"""Linux gives what is in memory, or else EAGAIN; elsewhere a read takes as long as it takes."""


class Files(Protocol):
    """A build's tiles, however they are stored."""

    index: Index

    def read_now(self, entry: Entry) -> bytes | bytearray | None:
        """Read one tile if that takes no waiting; None where it would, or where `read` is to say what is wrong.

        A build that is gone is read from as long as it is open.
        """

    async def read(self, entry: Entry) -> bytes:
        """Read one tile. Raises ObjectMissing where the build is gone, Damaged, or StorageError where storage fails."""

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


async def open_files(storage: Storage, pyramid: pb.Pyramid) -> Files:
    """Open a build's files; raises ObjectMissing, StorageError."""
    index = storage.local_path(pyramid_key(pyramid.tile_id, pyramid.build, INDEX))
    if index is not None:
        return LocalFiles(index.parent)
    key = pyramid_key(pyramid.tile_id, pyramid.build, INDEX)
    size = await asyncio.to_thread(storage.size, key)
    data = await asyncio.to_thread(storage.get_range, key, 0, size)
    try:
        return RemoteFiles(storage, pyramid, Index(data))
    except ValueError as error:
        raise Damaged(f"{pyramid.build}: {error}") from error


class Damaged(ObjectMissing):
    """Raised when a file of a build is there and not what it was: the storage has lost something."""


class FileIndex(Index):
    """A tiles.idx in an open file, which stays the caller's.

    Each entry is read when it is asked for. Mapped into memory, a file that is cut short or that the disk cannot read
    would end this process by a signal (SIGBUS).

    Raises
    ------
    ValueError: as Index.
    OSError: where the disk cannot read it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._begin(os.fstat(descriptor).st_size)

    def entry(self, position: int) -> Entry:
        try:
            return super().entry(position)
        except OSError as error:
            raise StorageError(f"the index cannot be read: {error.strerror or error}") from error

    def _read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._descriptor, length, offset)
        if len(data) != length:
            raise Damaged("the index is cut short")
        return data


class LocalFiles:
    """A build in a folder: one positioned read a tile, in the event loop itself as long as the bytes are in memory.

    Such a read takes some microseconds, a hand-over to a thread ten times as long; a disk takes as long as it likes.
    """

    index: Index

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._flags = NOWAIT
        self._parts: list[int] = []
        try:
            self._parts.extend(os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC) for name in (*PARTS, INDEX))
            self.index = FileIndex(self._parts[len(PARTS)])
        except OSError as error:
            self.close()
            raise _explain(error, folder) from error
        except ValueError as error:
            self.close()
            raise Damaged(f"{folder.name}: {error}") from error

    def read_now(self, entry: Entry) -> bytearray | None:
        if not _is_sane(entry):
            return None
        part = self._parts[entry.part]
        data = bytearray(entry.length)
        try:
            if os.preadv(part, [data], entry.offset, self._flags) == entry.length:
                return data
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._flags = 0  # This file system cannot tell: it is read as it comes.
        return None

    async def read(self, entry: Entry) -> bytes:
        if (data := self.read_now(entry)) is not None and not self.deleted(entry.part):
            return bytes(data)
        _require_sane(entry)
        # The disk has to be waited for, which is no business of the other requests. The descriptor is a copy, since the
        # cache may close ours meanwhile, and its number may then stand for another file.
        try:
            part = os.dup(self._parts[entry.part])
        except OSError as error:
            raise _explain(error, self._folder) from error
        try:
            return await asyncio.to_thread(self._read, part, entry)
        finally:
            os.close(part)

    def _read(self, part: int, entry: Entry) -> bytes:
        try:
            data = os.pread(part, entry.length, entry.offset)
            if os.fstat(part).st_nlink == 0:
                raise ObjectMissing(f"{self._folder.name} is gone")
            if len(data) != entry.length:
                raise Damaged(f"{self._folder.name} is cut short")
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

    def deleted(self, part: int = 0) -> bool:
        return os.fstat(self._parts[part]).st_nlink == 0

    def close(self) -> None:
        while self._parts:
            os.close(self._parts.pop())


class RemoteFiles:
    """A build in a storage without paths: one ranged read a tile, in a thread; the index is held in memory."""

    def __init__(self, storage: Storage, pyramid: pb.Pyramid, index: Index) -> None:
        self._storage = storage
        self._tile_id = pyramid.tile_id
        self._build = pyramid.build
        self.index = index

    def read_now(self, entry: Entry) -> None:  # noqa: ARG002  nothing of a bucket is at hand
        return None

    async def read(self, entry: Entry) -> bytes:
        _require_sane(entry)
        key = pyramid_key(self._tile_id, self._build, PARTS[entry.part])
        data = await asyncio.to_thread(self._storage.get_range, key, entry.offset, entry.length)
        if len(data) != entry.length:
            raise Damaged(f"{key} is cut short")
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


def _is_sane(entry: Entry) -> bool:
    return entry.part < len(PARTS) and entry.length <= LONGEST_TILE


def _require_sane(entry: Entry) -> None:
    if not _is_sane(entry):
        raise Damaged(f"the index leads astray: {entry}")


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int]]:
    for at in range(offset, offset + length, PIECE):
        yield at, min(PIECE, offset + length - at)


def _explain(error: OSError, folder: Path) -> StorageError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ObjectMissing(f"{folder.name} is gone")
    return StorageError(f"{folder.name}: {error.strerror or error}")
