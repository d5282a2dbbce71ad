"""Rows against the tables that they are read from: their fields are its columns, in order, of the same types."""

from __future__ import annotations

from dataclasses import fields
from inspect import get_annotations
from typing import Any, get_args

import pytest
from sqlalchemy import Table

from statussvc.db import rows, tables


@pytest.mark.parametrize(
    ("kind", "table", "columns"),
    [
        (rows.DatasetRow, tables.datasets, tables.DatasetColumns),
        (rows.RunRow, tables.runs, tables.RunColumns),
        (rows.PyramidRow, tables.pyramids, tables.PyramidColumns),
    ],
)
def test_fields_are_the_columns_in_order_and_of_their_types(kind: type[Any], table: Table, columns: type[Any]) -> None:
    # Named[T] is Column[T] to the type checker
    declared = {name: get_args(named)[0] for name, named in get_annotations(columns, eval_str=True).items()}
    hints = get_annotations(kind, eval_str=True)
    assert [field.name for field in fields(kind)] == table.c.keys()
    assert hints == declared
    for field in fields(kind):
        assert table.c[field.name].nullable == (type(None) in get_args(hints[field.name]))


def test_facts_become_columns_only_once_they_are_known() -> None:
    assert rows.Facts().columns() == {}
    preview = rows.Preview("pyramids/t/r/preview.jpg", 1024, 768)
    assert rows.Facts(preview=preview).columns() == {
        "preview_key": preview.key,
        "preview_width": 1024,
        "preview_height": 768,
    }
    source = rows.SourceInfo("tiff", 4000, 3000, 2)
    assert rows.Facts(source).columns() == {
        "source_format": "tiff",
        "source_width": 4000,
        "source_height": 3000,
        "source_pages": 2,
    }
    assert {*rows.Facts(source, preview).columns()} <= {*tables.datasets.c.keys()}
