"""JSON fields that are left out if they do not apply, and values with a limited number of entries."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator, Field
from pydantic.config import JsonDict


def without_default(schema: JsonDict) -> None:
    del schema["default"]


def url_without_default(schema: JsonDict) -> None:
    del schema["default"]
    schema["format"] = "uri"


def absent(description: str) -> Any:
    """Return a field that is left out of the JSON if it does not apply, instead of being null."""
    return Field(default=None, description=description, json_schema_extra=without_default)


def few(most: int = 50) -> BeforeValidator:
    """Return a validator that refuses a list or an object with too many entries, before any entry is checked.

    Pydantic checks every entry first: 26,000 wrong ones in a body of 256 KiB took the event loop 0.2 seconds.
    """

    def check(value: Any) -> Any:
        if isinstance(value, list | dict) and len(value) > most:
            raise ValueError(f"This may have at most {most} entries, and has {len(value):,}.")
        return value

    return BeforeValidator(check)
