"""A client of the test's own statussvc, which each file starts with its own settings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.status import StatusClient
from tests.support.rigs.status_rig import Status


@pytest.fixture
def client(status: Status) -> Iterator[StatusClient]:
    client = StatusClient(status.address)
    yield client
    client.close()
