"""Databases of both kinds, where a test that asks for one runs on both, and pyramids that several tests read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from statussvc.db.tables import metadata
from tests.support.rigs.tile_rig import Kiln


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'rows.sqlite3'}"


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Of a database with its tables."""
    if request.param == "postgres":
        made = create_engine(request.getfixturevalue("postgres_url"))
    else:
        made = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def sqlite() -> Iterator[Engine]:
    """As `engine`, for a test that asks for one kind."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    """As `sqlite`; a commit does not wait for the disk."""
    engine = create_engine(postgres_url, connect_args={"options": "-c synchronous_commit=off"})
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def kiln(tmp_path_factory: pytest.TempPathFactory) -> Kiln:
    return Kiln(tmp_path_factory.mktemp("kiln"))
