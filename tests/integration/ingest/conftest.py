"""A server of sources, on a free port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.network.sources import SourceServer, serve


@pytest.fixture
def server() -> Iterator[SourceServer]:
    with serve() as running:
        yield running
