"""How long the texts of a dataset may be, in characters: once for the gateway, which explains, and for statussvc."""

from __future__ import annotations

MAX_NAME = 200

MAX_DESCRIPTION = 10_000
"""A few pages. The catalogue sends descriptions whole, and its largest page has to fit one message
(pipeline.status.MAX_MESSAGE)."""

MAX_LABEL = 200
"""Of a category or a subject."""

MAX_KEY = 255
"""Of an Idempotency-Key."""
