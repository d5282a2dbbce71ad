"""Storage of sources and pyramids: a small interface, and its implementation in a directory.

Keys are relative paths with forward slashes:

    sources/<dataset_id>/<attempt>
    pyramids/<tile_id>/<build>/<name>
    scratch/<run_id>/…                files of a run that are not published yet
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from pipeline.errors import ObjectMissing, StageError, StorageError, StorageLost
from pipeline.storage.mark import StorageMark
from pipeline.storage.writeback import sync
from pipeline.texts import amount


def source_key(dataset_id: str, attempt: int) -> str:
    """Return the key of the download of one attempt."""
    return f"sources/{dataset_id}/{attempt}"


def pyramid_key(tile_id: str, build: str, name: str = "") -> str:
    """Return the key of one file of a build. Without a name, return the build's prefix, which ends in a slash."""
    return f"pyramids/{tile_id}/{build}/{name}"


def pyramid_folder(tile_id: str) -> str:
    """Return the prefix of all builds of a pyramid."""
    return f"pyramids/{tile_id}"


class Storage(Protocol):
    """The interface of storage.

    Every method raises StorageError if the storage fails, ObjectMissing if there is no such key, and StorageLost if it
    is not the right storage.

    Attributes
    ----------
    token: the token that identifies the right storage, checked before anything is written or listed. Empty: no check.
    """

    token: str

    def check(self) -> None:
        """Raise StorageLost if this is not the right storage."""

    def put_file(self, path: Path, key: str) -> None:
        """Publish a finished file of a run's scratch folder under a key. The file is durable on return."""

    def link(self, key: str, to: str) -> None:
        """Store an object under a second key. Either may be deleted without the other. Durable on return."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read up to `length` bytes from `offset`."""

    def size(self, key: str) -> int:
        """Return the object's length in bytes."""

    def local_path(self, key: str) -> Path | None:
        """Return the object's path if the storage is a directory, else None."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove an object, or all objects below a prefix. A missing one is no error."""

    def list_prefix(self, prefix: str) -> Iterator[str]:
        """Yield the keys of all objects below a prefix, in any order. An empty folder is its key with a slash."""

    def free_bytes(self) -> int | None:
        """Return the free bytes of the volume with the scratch folders; None if unknown."""

    def scratch(self, run_id: str) -> Path:
        """Make the scratch folder of a run, and return it."""

    def drop_scratch(self, run_id: str) -> None:
        """Remove the scratch folder of a run. A missing one is no error."""


def require_room(storage: Storage, needed: int, reserve: int) -> None:
    """Raise StageError("out_of_disk") if `needed` more bytes would leave less than `reserve` bytes free."""
    free = storage.free_bytes()
    if free is not None and free - reserve < needed:
        wanted = f"{amount(needed)} are needed" if needed else "more is needed"
        raise StageError(
            "out_of_disk",
            f"The storage has {amount(free)} free, of which {amount(reserve)} must stay free "
            f"(TILEWRIGHT_DISK_RESERVE_BYTES), and {wanted}. Free space or enlarge the volume, then retry.",
        )


class DirectoryStorage:
    """Storage in one directory. Scratch folders lie below the same root, so a file is published by a rename.

    Parameters
    ----------
    root: a directory shared by all services. It is made if missing.

    Attributes
    ----------
    token: as Storage.token; the file `tilewright.id` at the root contains it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.mark = StorageMark(self.root)
        self.token = ""

    def check(self) -> None:
        """Raise StorageLost if this is not the right directory."""
        if not self.token:
            return
        try:
            found = self.mark.read()
        except OSError as error:
            raise _explain(error, "the storage's root") from error
        if found != self.token:
            what = "belongs to another database" if found else "is gone, or its volume is not mounted"
            raise StorageLost(
                f"The storage {self.root} {what}. Put the right one back: until then nothing is accepted or deleted."
            )

    def put_file(self, path: Path, key: str) -> None:
        self.check()
        try:
            _sync(path)
            self._enter(key, path.replace)
        except OSError as error:
            raise _explain(error, key) from error

    def link(self, key: str, to: str) -> None:
        self.check()
        try:
            self._path(to).unlink(missing_ok=True)
            self._enter(to, lambda target: target.hardlink_to(self._path(key)))
        except OSError as error:
            raise _explain(error, key) from error

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        try:
            with self._path(key).open("rb") as file:
                return os.pread(file.fileno(), length, offset)
        except OSError as error:
            raise self._unread(error, key) from error

    def size(self, key: str) -> int:
        try:
            return self._path(key).stat().st_size
        except OSError as error:
            raise self._unread(error, key) from error

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def delete_prefix(self, prefix: str) -> None:
        self.check()
        path = self._path(prefix)
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            self._drop_empty(path.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _explain(error, prefix) from error

    def list_prefix(self, prefix: str) -> Iterator[str]:
        self.check()
        for folder, folders, names in os.walk(self._path(prefix)):
            key = Path(folder).relative_to(self.root).as_posix()
            yield from (f"{key}/{name}" for name in names)
            if not folders and not names:
                yield f"{key}/"

    def free_bytes(self) -> int | None:
        self.check()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            return shutil.disk_usage(self.root).free
        except OSError as error:
            raise _explain(error, "the storage's root") from error

    def scratch(self, run_id: str) -> Path:
        self.check()
        path = self._path(f"scratch/{run_id}")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _explain(error, f"scratch/{run_id}") from error
        return path

    def drop_scratch(self, run_id: str) -> None:
        self.delete_prefix(f"scratch/{run_id}")

    def _unread(self, error: OSError, key: str) -> Exception:
        if isinstance(error, FileNotFoundError):
            self.check()  # If the whole storage is missing, do not report a missing object.
        return _explain(error, key)

    def _path(self, key: str) -> Path:
        parts = key.strip("/").split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"not a storage key: {key!r}")
        return self.root.joinpath(*parts)

    def _enter(self, key: str, put: Callable[[Path], object]) -> None:
        """Make the entry of a key, durably."""
        target = self._path(key)
        made = self._make_folders(target.parent)
        put(target)
        # The entries of the file and of new folders have to reach the disk, too.
        for folder in (target.parent, *(folder.parent for folder in made)):
            _sync(folder)

    def _make_folders(self, folder: Path) -> list[Path]:
        """Make a folder and its parents. Return the new ones, the deepest first."""
        made = [one for one in (folder, *folder.parents) if one.is_relative_to(self.root) and not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        return made

    def _drop_empty(self, folder: Path) -> None:
        # Keep the root, and `sources`, `pyramids` and `scratch` below it.
        while self.root not in (folder, folder.parent):
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def _explain(error: OSError, key: str) -> Exception:
    if isinstance(error, FileNotFoundError):
        return ObjectMissing(f"nothing is stored at {key}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StageError("out_of_disk", "The storage is full. Free space or enlarge the volume, then retry.")
    return StorageError(f"{key}: {error.strerror or error}")
