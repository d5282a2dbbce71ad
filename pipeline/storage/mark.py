"""The token at a storage's root: it tells the right files from an empty mount point and from another database's."""

from __future__ import annotations

import os
from pathlib import Path

NAME = "tilewright.id"

KINDS = ("sources", "pyramids")
"""The folders whose files the database's rows speak of."""

LONGEST = 64
"""Bytes of a token that are read."""


class StorageMark:
    """The file. Every method raises OSError where the disk fails."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / NAME

    def read(self) -> str:
        """Gives the token; empty where there is none."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        try:
            return os.read(descriptor, LONGEST).decode("ascii", "replace").strip()
        finally:
            os.close(descriptor)

    def write(self, token: str) -> None:
        """Puts the token there, durably, and makes the root where it is missing."""
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
        """Whether nothing lies beside it that rows could speak of."""
        return not any(any(folder.iterdir()) for kind in KINDS if (folder := self._root / kind).is_dir())
