"""What the texts of a dataset may be: once for the gateway, which explains, for statussvc and for the workers."""

from __future__ import annotations

MAX_NAME = 200
"""Characters, as all of these."""

MAX_DESCRIPTION = 10_000
"""A few pages. The catalogue sends descriptions whole, and its largest page has to fit one message
(pipeline.status.MAX_MESSAGE)."""

MAX_LABEL = 200
"""Of a category or a subject."""

MAX_KEY = 255
"""Of an Idempotency-Key."""


def is_unicode(text: str) -> bool:
    """Tell whether UTF-8 can carry a text: JSON may spell halves of characters (surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
