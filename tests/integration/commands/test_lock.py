"""The exclusive lock on a data directory, between real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.file_lock import Holder, this_boot
from tilewright.embedded.lock import DirectoryInUse, DirectoryUnusable, exclusive

HOLD = (
    "import sys, pathlib, tilewright.embedded.lock\n"
    "with tilewright.embedded.lock.exclusive(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


@contextmanager
def held_by_another_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_holder_is_told_the_directory_and_the_first_ones_pid(tmp_path: Path) -> None:
    # Given a directory that another process holds
    with held_by_another_process(tmp_path / "data") as holder:
        # When it is asked for, then the refusal names both
        with pytest.raises(DirectoryInUse) as refused, exclusive(tmp_path / "data"):
            pass
    assert str(tmp_path / "data") in str(refused.value)
    assert f"process {holder.pid}." in str(refused.value)


def test_a_killed_holder_leaves_no_lock_behind(tmp_path: Path) -> None:
    # Given a holder that was killed
    with held_by_another_process(tmp_path) as holder:
        holder.kill()
        holder.wait()

        # When the directory is asked for, then it is free, and names its new holder
        with exclusive(tmp_path):
            assert (tmp_path / "tilewright.embedded.lock").read_text().split()[0] == str(os.getpid())


def test_the_lock_ends_with_its_block_and_tells_the_next_holder_of_the_last(tmp_path: Path) -> None:
    with exclusive(tmp_path) as last:
        assert last == Holder()
    with exclusive(tmp_path) as last:
        assert last == Holder(str(os.getpid()), this_boot())


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DirectoryUnusable, match="--data"), exclusive(tmp_path / "file" / "data"):
        pass
