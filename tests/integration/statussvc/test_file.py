"""SQLite's file and its lock, held by what they are and not by their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.rigs.status_rig import Status, running


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "rows.sqlite3"


@pytest.fixture
def status(database: Path) -> Iterator[Status]:
    with running(f"sqlite:///{database}") as rig:
        yield rig


def test_nothing_is_accepted_by_a_database_that_was_deleted_or_replaced(status: Status, database: Path) -> None:
    # Given a database that is taken away, and another in its place
    away = database.with_name("away")
    dataset_id = status.create()
    database.rename(away)
    with pytest.raises(grpc.RpcError, match=str(database)):
        status.create()
    database.write_bytes(away.read_bytes())
    # When something is to be written or read, then it is refused
    for call in (status.create, lambda: status.get(dataset_id)):
        with pytest.raises(grpc.RpcError, match="deleted or replaced"):
            call()
    # And when the first is back, then it goes on
    away.replace(database)
    assert status.state(dataset_id) == "QUEUED"
    status.create()


def test_a_commit_whose_log_was_deleted_is_not_acknowledged(status: Status, database: Path) -> None:
    status.create()
    database.with_name(f"{database.name}-wal").unlink()
    with pytest.raises(grpc.RpcError, match="deleted or replaced"):
        status.create()


def test_of_two_services_after_the_lock_was_deleted_only_the_second_has_the_database(
    status: Status, database: Path
) -> None:
    # Given a service whose lock file was deleted, so that a second one could start
    dataset_id = status.create()
    database.with_name(f"{database.name}.lock").unlink()
    with running(f"sqlite:///{database}") as second:
        # When both are asked, then the first refuses, and says what to do
        for call in (status.create, lambda: status.get(dataset_id)):
            with pytest.raises(grpc.RpcError, match="Stop all services"):
                call()
        assert second.state(dataset_id) == "QUEUED"
