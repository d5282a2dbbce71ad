"""Read an answer that may name a file elsewhere: see ingest.links. Everything else is left unread."""

from __future__ import annotations

import time

from ingest.download.remote_file import RemoteFile
from ingest.download.stream import Stream
from ingest.links import (
    MOST_HTML,
    MOST_JSON,
    Answer,
    Document,
    Link,
    from_json,
    from_page,
    is_iiif,
    looks_like,
    page_advice,
)
from ingest.sniff import SNIFF_LENGTH, is_web_page
from pipeline.errors import StageError
from pipeline.texts import amount

MOST_LINKS = 4
"""Maximum answers in a row that name a file elsewhere: a manifest and its info.json are two."""

DOCUMENT_TIME = 30.0
"""Seconds for such an answer to arrive: 2 MiB at 70 kB/s."""

PAGE_TIME = 5.0
"""Seconds for the part of a page that may name an image. The message is the same without it."""

HEAD = 64 << 10
"""Bytes in which a IIIF document names its context."""


def next_link(stream: Stream, remote_file: RemoteFile) -> Link | None:
    """Return where a response says that the file is; None if it is the file, or says nothing of one.

    What is read of the response stays in the stream. If it is a page, `remote_file.page_advice` says what to do.

    Raises StageError("not_an_image") if the response should name one image, and names none or several.
    """
    if stream.next != 0:
        return None
    answer = remote_file.link.answer if remote_file.link is not None else Answer.FILE
    try:
        kind = looks_like(_head(stream))
        if kind is Document.PAGE and is_web_page(_read(stream, SNIFF_LENGTH, PAGE_TIME)):
            body = _read(stream, MOST_HTML, PAGE_TIME)
            if (link := from_page(remote_file.found_at, body)) is not None:
                return link
            rule = remote_file.link.rule if remote_file.link is not None else ""
            remote_file.page_advice = page_advice(remote_file.found_at, body, rule)
        elif kind is Document.JSON:
            return _named(stream, answer, remote_file.found_at, remote_file.most_tiles)
    except StageError as error:
        if error.code == "not_an_image":
            raise
        # The response broke off. Whoever reads on meets the same error.
    return None


def _named(stream: Stream, answer: Answer, url: str, most_tiles: int) -> Link | None:
    if answer is Answer.FILE and not is_iiif(_read(stream, HEAD, DOCUMENT_TIME)):
        return None
    body = _read(stream, MOST_JSON + 1, DOCUMENT_TIME)
    if len(body) > MOST_JSON:
        raise StageError(
            "not_an_image",
            f"{stream.host} sent a description of an image that is larger than {amount(MOST_JSON)}. "
            "Use the URL of the image itself.",
        )
    return from_json(answer, url, body, most_tiles)


def _head(stream: Stream) -> bytes:
    """Return the first bytes that have arrived; more of them if they are blank."""
    stream.peek(1)
    head = stream.peek(max(1, stream.ahead))
    return head if head.strip() else _read(stream, SNIFF_LENGTH, PAGE_TIME)


def _read(stream: Stream, most: int, seconds: float) -> bytes:
    """Return the response's first bytes, without consuming them; fewer at its end, or if time is up."""
    due = time.monotonic() + seconds
    while stream.ahead < most and time.monotonic() < due:
        ahead = stream.ahead
        stream.peek(ahead + 1)
        if stream.ahead == ahead:
            break
    return stream.peek(min(most, stream.ahead))
