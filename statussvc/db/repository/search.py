"""Find datasets by a text in their name or description."""

from __future__ import annotations

from sqlalchemy import BigInteger, Connection, Select, cast, column, func, or_, select, table
from sqlalchemy.dialects.postgresql import ARRAY

from statussvc.db.repository.catalogue import IS_DATASET, Page
from statussvc.db.repository.searchable import fold, grams, number
from statussvc.db.tables import SQLITE_GRAMS, dataset_texts, datasets

MOST_GRAMS = 16
"""Trigrams that pick candidates: more of them cost more, and narrow the result little."""

_sqlite_grams = table(SQLITE_GRAMS, column("rowid"), column(SQLITE_GRAMS))


def find(connection: Connection, text: str, wanted: Page) -> list[int]:
    """The `seq` of up to `size + 1` datasets that contain the text, newest first. May take very long.

    An index picks candidates, and each is compared with the text. A text too short for the index is compared with all.
    """
    folded = fold(text)
    picked = grams(folded)
    picked = picked[:: -(-len(picked) // MOST_GRAMS) or 1]
    if connection.dialect.name == "sqlite":
        query, place = _sqlite(picked, wanted.before), func.instr
    else:
        query, place = _postgres(picked, wanted.before), func.strpos
    query = query.where(
        datasets.c.deleted_at.is_(None),
        IS_DATASET,
        or_(*(place(field, folded) > 0 for field in (dataset_texts.c.name, dataset_texts.c.description))),
    )
    if wanted.states:
        query = query.where(datasets.c.state.in_(wanted.states))
    query = query.where(*wanted.conditions())
    return list(connection.scalars(query.limit(wanted.size + 1)))


def _sqlite(picked: list[str], before: int | None) -> Select[int]:
    seq = _sqlite_grams.c.rowid if picked else datasets.c.seq
    query = select(seq).order_by(seq.desc())
    if before is not None:
        query = query.where(seq < before)
    joined = datasets.join(dataset_texts, dataset_texts.c.seq == datasets.c.seq)
    if not picked:
        return query.select_from(joined)
    # FTS5 returns rows newest first by itself, so even a text of many datasets costs no more than one page.
    condition = " AND ".join('"{}"'.format(gram.replace('"', '""')) for gram in picked)
    return query.select_from(_sqlite_grams.join(joined, datasets.c.seq == seq)).where(
        _sqlite_grams.c[SQLITE_GRAMS].op("MATCH")(condition)
    )


def _postgres(picked: list[str], before: int | None) -> Select[int]:
    query = (
        select(datasets.c.seq)
        .join_from(datasets, dataset_texts, dataset_texts.c.seq == datasets.c.seq)
        .order_by(datasets.c.seq.desc())
    )
    if before is not None:
        query = query.where(datasets.c.seq < before)
    if picked:
        numbers = cast([number(gram) for gram in picked], ARRAY(BigInteger))
        query = query.where(dataset_texts.c.grams.op("@>")(numbers))
    return query
