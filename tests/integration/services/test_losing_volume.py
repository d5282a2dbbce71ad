"""A real volume that takes bytes and loses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import StageError, StorageError
from pipeline.storage.directory import DirectoryStorage
from tests.support.rigs.losing_volume import losing_volume


def test_a_real_disk_that_loses_bytes_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with losing_volume(tmp_path, monkeypatch) as volume:
        storage = DirectoryStorage(volume.path)
        kept = storage.scratch("a") / "kept"
        kept.write_bytes(b"x" * 100_000)
        lost = storage.scratch("a") / "lost"
        lost.touch()
        storage.put_file(kept, "sources/a/1")
        # When the disk takes no more
        volume.lose()
        lost.write_bytes(b"y" * 3_000_000)
        # Then what is new is not published, and what was there stays
        with pytest.raises((StorageError, StageError)):
            storage.put_file(lost, "sources/a/2")
        assert list(storage.list_prefix("sources")) == ["sources/a/1"]
