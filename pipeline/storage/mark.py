"""The token at the root of a storage. It shows an empty mount point, or the storage of another database."""

from __future__ import annotations

import os
from pathlib import Path

NAME = "tilewright.id"

KINDS = ("sources", "pyramids")
"""The folders whose files belong to rows of the database."""

LONGEST = 64
"""Most bytes of a token."""


class StorageMark:
    """The file with the token. Every method raises OSError if the disk fails."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / NAME

    def read(self) -> str:
        """Return the token; empty if there is none."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        try:
            return os.read(descriptor, LONGEST).decode("ascii", "replace").strip()
        finally:
            os.close(descriptor)

    def write(self, token: str) -> None:
        """Write the token durably. The root is made if missing."""
        self._root.mkdir(parents=True, exist_ok=True)
        new = self._root / f"{NAME}.{os.getpid()}"
        with new.open("w") as file:
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        for folder in (self._root, self._root.parent):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def is_alone(self) -> bool:
        """Return whether the storage contains no sources and no pyramids."""
        return not any(any(folder.iterdir()) for kind in KINDS if (folder := self._root / kind).is_dir())
