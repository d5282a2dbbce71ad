"""Texts that servers send instead of a file when a limit is reached."""

from __future__ import annotations

import pytest

from ingest.sniff import Sniffer
from pipeline.errors import StageError


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"Limit exceeded", True),
        (b"ERROR: download limit for your IP exceeded.\n", True),
        (b"Too many simultaneous connections from 192.0.2.1", True),
        (b"<!DOCTYPE html><html><title>Error</title><body>You have reached your daily limit.</body></html>", True),
        (b"<html><body>Quota has been exceeded</body></html>", True),
        (b"rate limit", True),
        (b"There is nothing here.", False),
        (b"<html><body>A page about the limits of maps</body></html>", False),
    ],
)
def test_a_text_about_a_limit_is_a_refusal_and_any_other_is_no_image(body: bytes, refused: bool) -> None:
    sniffer = Sniffer("example.org")
    with pytest.raises(StageError) as raised:  # noqa: PT012  a page is judged at once, other text at its end
        sniffer.take(0, body)
        sniffer.finish()
    assert (raised.value.code, raised.value.refused) == (("source_unavailable" if refused else "not_an_image"), refused)


def test_an_image_that_contains_such_a_text_is_an_image() -> None:
    sniffer = Sniffer("example.org")
    sniffer.take(0, b"\xff\xd8\xff\xe0 limit exceeded" + bytes(2000))
    sniffer.finish()
