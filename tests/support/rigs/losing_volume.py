"""A volume that takes bytes and loses them: its disk is full, which shows only when they are written out."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pipeline.storage import writeback

DISK = 6_000_000
"""Bytes of memory behind the volume, of which its own tables take a part."""


class LosingVolume:
    """A folder whose files are written well, until `lose` is called; then what is written is lost, as the next
    sync tells once.

    Where this machine lets nobody mount a volume, the C library's call tells it instead.
    """

    def __init__(self, path: Path, disk: Path | None, patch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._disk = disk
        self._patch = patch

    def lose(self) -> None:
        """From now on nothing new reaches the disk."""
        if self._disk is None:
            self._patch.setattr(writeback, "_sync_file_range", failing(errno.EIO))
            return
        # What is there has its place on the disk. What comes has none.
        os.sync()
        (self._disk / "filler").write_bytes(bytes(shutil.disk_usage(self._disk).free))


def failing(number: int) -> object:
    """sync_file_range as it fails, with this errno."""

    def call(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    return call


@contextmanager
def losing_volume(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[LosingVolume]:
    """A file system in a file with holes, on a disk that is too small for it; a folder where that cannot be had."""
    with ExitStack() as mounts:
        disk, path = folder / "disk", folder / "volume"
        disk.mkdir()
        path.mkdir()
        image = disk / "image"
        made = os.geteuid() == 0 and _run("mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk))
        if made:
            mounts.callback(_run, "umount", "--lazy", str(disk))
            with image.open("wb") as file:
                file.truncate(10 * DISK)
            made = _run("mkfs.ext4", "-q", "-O", "^has_journal", str(image)) and _run(
                "mount", "-o", "loop", str(image), str(path)
            )
        if made:
            mounts.callback(_run, "umount", "--lazy", str(path))
        yield LosingVolume(path, disk if made else None, patch)


def _run(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
