"""What statussvc may be told."""

from __future__ import annotations

import pytest

from statussvc.settings import StatusSettings


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_rows_in_memory_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="SQLite needs a file"):
        StatusSettings(database_url=url)
