"""What the texts of a dataset may be: once for the gateway, which explains, for statussvc and for the workers."""

from __future__ import annotations

import re

MAX_NAME = 200
"""Characters, as all of these."""

MAX_DESCRIPTION = 10_000
"""A few pages. The catalogue sends descriptions whole, and its largest page has to fit one message
(pipeline.channels.MAX_MESSAGE)."""

MAX_LABEL = 200
"""Of a category or a subject."""

MAX_QUERY = 200
"""Of a text that is looked for."""

MAX_KEY = 255
"""Of an Idempotency-Key."""


MAX_SENTENCE = 2000
"""Of an error's message: a paragraph. It is sent with every status of its dataset."""

_NO_FIELD_VALUE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")
"""Of a header, whose bytes are read as Latin-1."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""All that a terminal or a reader of lines may take for more than text, but for tab and line feed: the C0 and C1
controls, Unicode's line separators, and what turns the direction of writing."""


def visible(text: str) -> str:
    """Give a text that may be a stranger's as it may be shown on a terminal: controls are spelled, as \\u001b."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def sentence(text: str, most: int = MAX_SENTENCE) -> str:
    """Give what went wrong as it may be stored, sent and shown, whatever of a stranger's is quoted in it.

    Controls are spelled, halves of characters become question marks, what is longer than `most` characters is cut.
    """
    shown = visible(text.encode(errors="replace").decode())
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def field_value(text: str) -> str:
    """Give a header's value with a space for each control: RFC 9110 §5.5 asks that of CR, LF and NUL at least."""
    return _NO_FIELD_VALUE.sub(" ", text).strip(" \t")


def amount(count: int) -> str:
    """Give a number of bytes as people write it: 1.5 GB, 12 MB, 3 kB."""
    for size, unit, digits in ((10**9, "GB", 1), (10**6, "MB", 0), (10**3, "kB", 0)):
        if count >= size:
            return f"{count / size:,.{digits}f} {unit}"
    return f"{count:,} bytes"


def is_unicode(text: str) -> bool:
    """Tell whether UTF-8 can carry a text: JSON may spell halves of characters (surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
