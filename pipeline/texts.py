"""What the texts of a dataset may be: once for the gateway, which explains, for statussvc and for the workers."""

from __future__ import annotations

import re

MAX_NAME = 200
"""Characters, as all of these."""

MAX_DESCRIPTION = 10_000
"""A few pages. The catalogue sends descriptions whole, and its largest page has to fit one message
(pipeline.status.MAX_MESSAGE)."""

MAX_LABEL = 200
"""Of a category or a subject."""

MAX_KEY = 255
"""Of an Idempotency-Key."""


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""All that a terminal or a reader of lines may take for more than text, but for tab and line feed: the C0 and C1
controls, Unicode's line separators, and what turns the direction of writing."""


def visible(text: str) -> str:
    """Give a text that may be a stranger's as it may be shown on a terminal: controls are spelled, as \\u001b."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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
