"""The reference pages are what the code says today."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import CODES
from tilewright.commands.reference import PAGES, SERVICES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_make_docs_would_write(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


def test_every_code_says_what_it_means_and_what_to_do() -> None:
    for name, code in CODES.items():
        assert code.meaning.endswith("."), name
        assert code.advice.endswith("."), name


def test_every_setting_says_what_it_is() -> None:
    for settings in SERVICES.values():
        for name, field in settings.model_fields.items():
            assert field.description, name
