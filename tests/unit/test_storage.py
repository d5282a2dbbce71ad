"""Storage in a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ObjectMissing, StageError, StorageError
from pipeline.storage.directory import DirectoryStorage, pyramid_key, require_room, source_key


@pytest.fixture
def storage(tmp_path: Path) -> DirectoryStorage:
    return DirectoryStorage(tmp_path / "storage")


def put(storage: DirectoryStorage, key: str, content: bytes, run_id: str = "run") -> None:
    path = storage.scratch(run_id) / "file"
    path.write_bytes(content)
    storage.put_file(path, key)


def test_a_published_file_is_read_by_ranges_and_gone_from_scratch(storage: DirectoryStorage) -> None:
    key = source_key("custom_00000001", 1)
    put(storage, key, b"0123456789")
    assert key == "sources/custom_00000001/1"
    assert storage.size(key) == 10
    assert storage.get_range(key, 3, 4) == b"3456"
    assert storage.get_range(key, 8, 100) == b"89"
    assert list(storage.list_prefix("scratch")) == ["scratch/run/"]
    path = storage.local_path(key)
    assert path is not None
    assert path.read_bytes() == b"0123456789"


def test_what_is_absent_is_missing_and_its_deletion_no_error(storage: DirectoryStorage) -> None:
    for read in (lambda: storage.size("sources/x/1"), lambda: storage.get_range("sources/x/1", 0, 1)):
        with pytest.raises(ObjectMissing, match="sources/x/1"):
            read()
    storage.delete_prefix("sources/x/1")
    storage.drop_scratch("nobody")
    assert list(storage.list_prefix("sources")) == []


def test_a_deleted_prefix_takes_its_empty_folders_along_but_not_its_neighbours(storage: DirectoryStorage) -> None:
    put(storage, pyramid_key("t", "a", "pyramid.szi"), b"a")
    put(storage, pyramid_key("t", "a", "tiles.idx"), b"a")
    put(storage, pyramid_key("t", "b", "pyramid.szi"), b"b")
    storage.delete_prefix(pyramid_key("t", "a"))
    assert list(storage.list_prefix("pyramids")) == ["pyramids/t/b/pyramid.szi"]
    storage.delete_prefix(pyramid_key("t", "b"))
    assert not (storage.root / "pyramids" / "t").exists()
    assert (storage.root / "pyramids").exists()


@pytest.mark.parametrize("key", ["../x", "sources/../../x", "", "a//b", "sources/./x"])
def test_a_key_cannot_leave_the_root(storage: DirectoryStorage, key: str) -> None:
    with pytest.raises(ValueError, match="not a storage key"):
        storage.size(key)


def test_room_is_refused_with_the_figures(storage: DirectoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "free_bytes", lambda: 3_000_000_000)
    # Given three gigabytes of which one stays free, when two are asked for, then they are there
    require_room(storage, 2_000_000_000, 1_000_000_000)
    # And one byte more is not
    with pytest.raises(StageError) as caught:
        require_room(storage, 2_000_000_001, 1_000_000_000)
    assert (caught.value.code, caught.value.message) == (
        "out_of_disk",
        "The storage has 3.0 GB free, of which 1.0 GB must stay free (TILEWRIGHT_DISK_RESERVE_BYTES), and 2.0 GB are "
        "needed. Free space or enlarge the volume, then retry.",
    )


def test_a_full_volume_is_told_apart_from_other_faults(
    storage: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(code: int) -> None:
        def mkdir(*_: object, **__: object) -> None:
            raise OSError(code, "refused")

        monkeypatch.setattr(Path, "mkdir", mkdir)

    refuse(28)  # ENOSPC
    with pytest.raises(StageError) as caught:
        storage.scratch("run")
    assert caught.value.code == "out_of_disk"
    refuse(5)  # EIO
    with pytest.raises(StorageError):
        storage.scratch("run")
