"""JSON fields that are left out if they do not apply."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic.config import JsonDict


def without_default(schema: JsonDict) -> None:
    del schema["default"]


def url_without_default(schema: JsonDict) -> None:
    del schema["default"]
    schema["format"] = "uri"


def absent(description: str) -> Any:
    """Return a field that is left out of the JSON if it does not apply, instead of being null."""
    return Field(default=None, description=description, json_schema_extra=without_default)
