"""Notices when SQLite's file is deleted or replaced: what is committed to it then is lost when this process ends."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import StatusUnavailable
from pipeline.texts import amount


class DatabaseFile:
    """The database file that this process has open.

    Parameters
    ----------
    reserve: bytes to keep free on its volume, so that what was accepted can be completed.
    """

    def __init__(self, path: Path, reserve: int) -> None:
        self._path = path.absolute()
        self._wal = path.with_name(f"{path.name}-wal")
        self._reserve = reserve
        self._lock = path.with_name(f"{path.name}.lock")
        self._identity: tuple[int, int] | None = None
        self._lock_identity: tuple[int, int] | None = None
        self._has_wal = False

    def remember(self) -> None:
        """Remember the file and its lock. Call while a connection is open. Raises StatusUnavailable."""
        self._identity = self._look()
        if self._lock.exists():
            self._lock_identity = _identity(self._lock)

    def check(self) -> None:
        """Raises StatusUnavailable where the file or its lock was deleted or replaced."""
        if self._identity is not None and self._look() != self._identity:
            raise self._gone()
        if self._lock_identity is not None and _identity(self._lock) != self._lock_identity:
            raise StatusUnavailable(
                f"The lock file {self._lock} was deleted or replaced, so another service may use the database too. "
                "Stop all services that use it, and start one."
            )

    def check_written(self) -> None:
        """As `check`, after a commit: SQLite's log must exist too. Raises StatusUnavailable."""
        self.check()
        exists = self._wal.exists()
        if self._has_wal and not exists:
            raise self._gone()
        self._has_wal = self._has_wal or exists

    def require_room(self) -> None:
        """Raises StatusUnavailable where the volume is too full to accept anything new."""
        try:
            volume = os.statvfs(self._path.parent)
        except OSError:
            raise self._gone() from None
        free = volume.f_bavail * volume.f_frsize
        if free < self._reserve:
            raise StatusUnavailable(
                f"The volume of the database {self._path} has {amount(free)} free. {amount(self._reserve)} are kept to "
                "complete what was accepted (TILEWRIGHT_DATABASE_RESERVE_BYTES). Free space or enlarge the volume."
            )

    def _look(self) -> tuple[int, int]:
        found = _identity(self._path)
        if found is None:
            raise self._gone()
        return found

    def _gone(self) -> StatusUnavailable:
        return StatusUnavailable(
            f"The database {self._path} is no longer the file that this service opened: it was deleted or replaced, or "
            "its volume is gone. Stop the service, restore the file, and start the service again."
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
