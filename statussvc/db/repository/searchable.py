"""The texts that searches look in, kept up to date in the transactions that change the datasets.

They are folded by Unicode's rules (`str.casefold`), so that case does not matter in any script, on either database and
in any locale. An index holds their trigrams: on SQLite FTS5, which triggers update; on PostgreSQL an array with a GIN
index, which needs no extension and no right to create one.
"""

from __future__ import annotations

from sqlalchemy import Connection, update

from statussvc.db.tables import dataset_texts

LENGTH = 3
"""Characters in a trigram."""


def fold(text: str) -> str:
    """A text as it is stored and searched for: the same for texts that differ only in case."""
    return text.casefold()


def grams(folded: str) -> list[str]:
    """The trigrams of a folded text, each once, in order; none for a shorter text."""
    return list(dict.fromkeys(folded[start : start + LENGTH] for start in range(len(folded) - LENGTH + 1)))


def number(gram: str) -> int:
    """A trigram as PostgreSQL's index has it: 21 bits for each character, so that no two are the same."""
    first, second, third = map(ord, gram)
    return first << 42 | second << 21 | third


def put(connection: Connection, seq: int, name: str, description: str) -> None:
    """Make a new dataset searchable."""
    connection.execute(dataset_texts.insert().values(seq=seq, **_folded(connection, name, description)))


def change(connection: Connection, seq: int, name: str, description: str) -> None:
    """Make a dataset searchable by its new texts."""
    texts = _folded(connection, name, description)
    connection.execute(update(dataset_texts).where(dataset_texts.c.seq == seq).values(**texts))


def drop(connection: Connection, seq: int) -> None:
    """Keep a dataset from being found."""
    connection.execute(dataset_texts.delete().where(dataset_texts.c.seq == seq))


def _folded(connection: Connection, name: str, description: str) -> dict[str, object]:
    texts = {"name": fold(name), "description": fold(description)}
    if connection.dialect.name == "sqlite":
        return {**texts}
    return {**texts, "grams": sorted({number(gram) for text in texts.values() for gram in grams(text)})}
