"""Early writing of growing files: a hint that changes nothing but when bytes reach the disk."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from pipeline.storage import writeback
from tests.support.rigs.losing_volume import failing


def test_a_file_is_written_out_while_it_grows_also_where_it_comes_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the kernel's call, watched
    called = threading.Semaphore(0)
    kernels = writeback._sync_file_range
    assert kernels is not None
    answers: list[int] = []

    def watched(*arguments: object) -> None:
        answers.append(kernels(*arguments))
        called.release()

    monkeypatch.setattr(writeback, "_sync_file_range", watched)
    monkeypatch.setattr(writeback, "INTERVAL", 0.01)
    path = tmp_path / "tiles"
    # When a file is made while the block runs
    with writeback.written_back(path):
        path.write_bytes(b"x" * 100_000)
        assert called.acquire(timeout=30)
    # Then the kernel took the hint, and nobody is left who gives it
    assert set(answers) == {0}
    assert "write-back" not in [thread.name for thread in threading.enumerate()]
    assert path.read_bytes() == b"x" * 100_000


def test_a_file_is_settled_in_pieces_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = writeback._sync_file_range
    assert kernels is not None
    seen: list[tuple[int, int]] = []

    def watched(descriptor: int, offset: object, length: object, flags: int) -> None:
        assert kernels(descriptor, offset, length, flags) == 0
        seen.append((offset.value, length.value))  # type: ignore[attr-defined]  # ctypes.c_int64

    monkeypatch.setattr(writeback, "_sync_file_range", watched)
    monkeypatch.setattr(writeback, "PIECE", 1000)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 2500)
    with path.open("rb") as file:
        writeback.sync(file.fileno())
    assert seen == [(0, 1000), (1000, 1000), (2000, 1000)]


def test_a_system_without_the_call_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writeback, "_sync_file_range", None)
    with (tmp_path / "file").open("wb") as file:
        file.write(b"x")
        writeback.write_back(file.fileno())
        writeback.sync(file.fileno())
    assert (tmp_path / "file").read_bytes() == b"x"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_bytes_that_are_lost_are_told_though_fsync_says_that_all_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    # Given a kernel whose wait takes the file's write error with it
    monkeypatch.setattr(writeback, "_sync_file_range", failing(number))
    (tmp_path / "file").write_bytes(b"x")
    with (tmp_path / "file").open("rb") as file:
        os.fsync(file.fileno())
        # When the file is synced, then the error is told
        with pytest.raises(OSError, match=os.strerror(number)) as lost:
            writeback.sync(file.fileno())
        assert lost.value.errno == number


@pytest.mark.parametrize("number", writeback.NO_SUCH_CALL)
def test_where_the_call_is_refused_fsync_has_the_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(writeback, "_sync_file_range", failing(number))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    (tmp_path / "file").write_bytes(b"x")
    with (tmp_path / "file").open("rb") as file:
        writeback.sync(file.fileno())
        assert synced == [file.fileno()]
