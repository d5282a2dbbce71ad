"""SQLite's file under its path: what is committed to one that was deleted or replaced is lost with this process."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import StatusUnavailable
from pipeline.texts import amount


class DatabaseFile:
    """The file that this process has open.

    Parameters
    ----------
    reserve: bytes that stay free on its volume for what was accepted already.
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
        """Notes which file lies there, and which lock. Call while a connection is open. Raises StatusUnavailable."""
        self._identity = self._look()
        if self._lock.exists():
            self._lock_identity = _identity(self._lock)

    def check(self) -> None:
        """Raises StatusUnavailable where another file lies under the path, or none."""
        if self._identity is not None and self._look() != self._identity:
            raise self._gone()
        if self._lock_identity is not None and _identity(self._lock) != self._lock_identity:
            raise StatusUnavailable(
                f"The lock {self._lock} was deleted or replaced: another service may have the database by now. "
                "Stop all services on it, and start one."
            )

    def check_written(self) -> None:
        """As `check`, after a commit: its log has to be there, too. Raises StatusUnavailable."""
        self.check()
        exists = self._wal.exists()
        if self._has_wal and not exists:
            raise self._gone()
        self._has_wal = self._has_wal or exists

    def require_room(self) -> None:
        """Raises StatusUnavailable where the volume is too full for anything new."""
        try:
            volume = os.statvfs(self._path.parent)
        except OSError:
            raise self._gone() from None
        free = volume.f_bavail * volume.f_frsize
        if free < self._reserve:
            raise StatusUnavailable(
                f"The volume of the database {self._path} has {amount(free)} free, and {amount(self._reserve)} stay "
                "free for what was accepted already (TILEWRIGHT_DATABASE_RESERVE_BYTES). Free space or enlarge it."
            )

    def _look(self) -> tuple[int, int]:
        found = _identity(self._path)
        if found is None:
            raise self._gone()
        return found

    def _gone(self) -> StatusUnavailable:
        return StatusUnavailable(
            f"The database {self._path} is not the file any more that this service has opened: it was deleted, "
            "replaced, or its volume is gone. Stop the service, put the file back, and start it again."
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
