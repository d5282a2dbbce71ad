"""The migrations: one follows the other, and the newest has the greatest number."""

from __future__ import annotations

import re

from statussvc.db.database import MIGRATIONS


def test_the_only_migration_that_none_follows_has_the_greatest_number() -> None:
    # Given the number of each migration, and the one that it follows
    found = {}
    for path in (MIGRATIONS / "versions").glob("[0-9]*.py"):
        text = path.read_text(encoding="utf-8")
        revision, follows = (
            re.findall(rf'^{name} = "?(\w+)"?$', text, re.MULTILINE) for name in ("revision", "down_revision")
        )
        assert [path.name.partition("_")[0]] == revision
        found[revision[0]] = follows[0]
    # Then a start finds the newest by its number: it runs no migration, and loads no Alembic, where that one was made
    assert set(found) - set(found.values()) == {max(found)}
