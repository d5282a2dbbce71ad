"""Logging: readable by people or by machines, and without secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from pipeline import logs
from pipeline.settings import Settings


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Put the process's logging back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.QUIET}
    root.handlers = []  # else configure() closes pytest's own
    yield
    root.handlers = handlers
    root.setLevel(level)
    for name, one in levels.items():
        logging.getLogger(name).setLevel(one)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("amqp://user:pass@rabbitmq:5672/", "amqp://***@rabbitmq:5672/"),
        ("postgresql+psycopg://u:p%40ss@db/x", "postgresql+psycopg://***@db/x"),
        ("get https://token@example.org/a.tif now", "get https://***@example.org/a.tif now"),
        (
            "https://s3.example.org/a.tif?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=abcdef&part=2",
            "https://s3.example.org/a.tif?X-Amz-Credential=***&X-Amz-Signature=***&part=2",
        ),
        ("https://blob.example.net/a.tif?sv=1&sig=abc%3D", "https://blob.example.net/a.tif?sv=1&sig=***"),
        ("https://example.org/a@b/c.jpg?page=3", "https://example.org/a@b/c.jpg?page=3"),
        ("mail me@example.org", "mail me@example.org"),
    ],
)
def test_secrets_in_urls_are_masked(text: str, masked: str) -> None:
    assert logs.mask(text) == masked


def test_json_lines_carry_the_service_the_request_and_the_traceback() -> None:
    # Given a service that logs for machines
    stream = io.StringIO()
    logs.configure(Settings(log_json=True), "gateway", stream)
    # When something fails within a request
    token = logs.request_id.set("abc-1")
    try:
        int("amqp://user:secret@host")
    except ValueError:
        logging.getLogger("x.y").exception("two\nlines %s", "amqp://user:secret@host")
    finally:
        logs.request_id.reset(token)
    # Then it is one line that says all, without the secret
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record.pop("traceback").endswith("invalid literal for int() with base 10: 'amqp://***@host'")
    assert record == {
        "level": "ERROR",
        "service": "gateway",
        "logger": "x.y",
        "message": "two\nlines amqp://***@host",
        "request_id": "abc-1",
    }


def test_text_lines_are_for_people_and_masked_too() -> None:
    stream = io.StringIO()
    logs.configure(Settings(log_json=False, log_level="warning"), "ingest", stream)
    logging.getLogger("x").info("not shown")
    logging.getLogger("x").warning("to %s", "amqp://user:secret@host")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("Z WARNING ingest x: to amqp://***@host")


def test_a_chatty_library_is_quiet() -> None:
    stream = io.StringIO()
    logs.configure(Settings(), "gateway", stream)
    logging.getLogger("pika.adapters.blocking_connection").error("Connection workflow failed: …")
    assert stream.getvalue() == ""


def test_a_fault_that_repeats_is_logged_once_a_minute_with_the_number_left_out() -> None:
    now = [0.0]
    repeats = logs.Repeats(60.0, lambda: now[0])
    # Given a fault that has been logged, When it comes a hundred times more within the minute
    assert repeats.left_out("away") == 0
    assert {repeats.left_out("away") for _ in range(100)} == {None}
    # Then another fault is logged all the same, and this one again after the minute, with how many there were
    assert repeats.left_out("broken") == 0
    now[0] += 61.0
    assert repeats.left_out("away") == 100
