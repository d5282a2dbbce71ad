"""What strangers wrote, shown on a terminal: it stays text, and one line of a log stays one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from pipeline import logs
from pipeline.settings import Settings
from pipeline.texts import amount, amount_of, field_value, is_unicode, sentence, visible
from tilewright.output import note, print_datasets, print_json, print_line

HOSTILE = "a\x1b[31mred\x07\x9b2J\r\x7f\u2028\u202eb"
"""A name that colours, rings, clears, overwrites, and turns the direction of writing."""

SHOWN = r"a\u001b[31mred\u0007\u009b2J\u000d\u007f\u2028\u202eb"


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_controls_are_spelled_and_all_else_is_left() -> None:
    assert visible(HOSTILE) == SHOWN
    plain = "Größe, 大きさ,\ta tab\nand a line"
    assert visible(plain) == plain


@pytest.mark.parametrize(("text", "expected"), [("Größe 🙂", True), ("half \ud83d", False)])
def test_half_a_character_is_told(text: str, expected: bool) -> None:
    assert is_unicode(text) is expected


def test_a_sentence_can_be_stored_and_sent_whatever_it_quotes() -> None:
    assert sentence("a\0b \ud83d Größe") == "a\\u0000b ? Größe"
    assert sentence("abcdef", 4) == "abc…"
    assert sentence("Größe 🙂\nand a line") == "Größe 🙂\nand a line"


def test_a_headers_value_has_no_controls() -> None:
    assert field_value("\0 Wed,\x1b 21\tOct\x9f") == "Wed,  21\tOct"


def test_what_commands_print_is_obeyed_by_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(HOSTILE)
    note(HOSTILE)
    print_datasets([{"dataset_id": "custom_0123abcd", "status": "ready", "name": HOSTILE.replace("\r", "")}])
    print_json({"name": HOSTILE})
    shown = capsys.readouterr()
    line, row, document = shown.out.splitlines()
    assert (line, shown.err) == (SHOWN, f"{SHOWN}\n")
    assert row.split("\t") == [
        "custom_0123abcd",
        "ready",
        "",
        "",
        r"a\u001b[31mred\u0007\u009b2J\u007f \u202eb",
    ]
    # JSON is JSON all the same, and says what was given
    assert json.loads(document) == {"name": HOSTILE}
    assert not any(character in document for character in HOSTILE if not character.isprintable())


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("log_json", [True, False])
def test_no_line_of_a_log_is_made_by_what_is_logged(log_json: bool) -> None:
    # Given a decoder's last words that look like a line of ours
    forged = "2026-11-25T00:00:00.000Z INFO    tiler tiler.parent: all is well"
    stream = io.StringIO()
    logs.configure(Settings(log_json=log_json), "tiler", stream)
    logging.getLogger("x").warning("the child said %s", f"{HOSTILE}\n{forged}")
    # Then no line begins as one of ours does, but the one that is, and nothing in it is obeyed
    text = stream.getvalue()
    assert [line for line in text.splitlines() if line.startswith("2026-11-25T00:00:00.000Z")] == []
    assert not set(HOSTILE) & {character for character in text if not character.isprintable() and character != "\n"}
    assert len(text.splitlines()) == (1 if log_json else 2)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "2 kB"),
        (12_400_000, "12.4 MB"),
        (150_000_000, "150 MB"),
        (1_000_000_000, "1.0 GB"),
    ],
)
def test_an_amount_is_written_as_people_do(count: int, text: str) -> None:
    assert amount(count) == text


def test_a_part_is_written_in_the_unit_of_the_whole() -> None:
    assert amount_of(400_000, 12_300_000) == "0.4 of 12.3 MB"
    assert amount_of(555, 2_300) == "1 of 2 kB"
    assert amount_of(0, 0) == "0 of 0 bytes"
