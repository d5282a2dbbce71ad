"""The texts of datasets as they are searched: kept beside the rows, in the same transactions.

They are folded by Unicode's rules (`str.casefold`), so that case counts for nothing in any script, on both databases
and in any locale. Beside them lies an index of their trigrams: FTS5 on SQLite, whose triggers keep it; on PostgreSQL an
array under a GIN index, which needs no extension and no right to create one.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, update

from statussvc.db.tables import dataset_texts

LENGTH = 3
"""Characters of a gram."""


def fold(text: str) -> str:
    """Give a text as it is stored and looked for: the same for texts that differ by case alone."""
    return text.casefold()


def grams(folded: str) -> list[str]:
    """Give the trigrams of a folded text, each once, in their order; none of a text that is shorter."""
    return list(dict.fromkeys(folded[start : start + LENGTH] for start in range(len(folded) - LENGTH + 1)))


def number(gram: str) -> int:
    """Give a gram as PostgreSQL's index has it: 21 bits a character, so that no two are alike."""
    first, second, third = map(ord, gram)
    return first << 42 | second << 21 | third


def put(connection: Connection, seq: int, name: str, description: str) -> None:
    """Lets a new dataset be found."""
    connection.execute(dataset_texts.insert().values(seq=seq, **_folded(connection, name, description)))


def change(connection: Connection, seq: int, name: str, description: str) -> None:
    """Lets a dataset be found by what it says now."""
    texts = _folded(connection, name, description)
    connection.execute(update(dataset_texts).where(dataset_texts.c.seq == seq).values(**texts))


def drop(connection: Connection, seq: int) -> None:
    """Lets a dataset be found no more."""
    connection.execute(dataset_texts.delete().where(dataset_texts.c.seq == seq))


def _folded(connection: Connection, name: str, description: str) -> dict[str, Any]:
    texts: dict[str, Any] = {"name": fold(name), "description": fold(description)}
    if connection.dialect.name != "sqlite":
        texts["grams"] = sorted({number(gram) for text in texts.values() for gram in grams(text)})
    return texts
