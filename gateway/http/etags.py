"""Whether a client has an answer already (RFC 9110, 13.1.2)."""

from __future__ import annotations

from starlette.types import Scope


def has_already(scope: Scope, etag: bytes) -> bool:
    """Tell whether If-None-Match names this ETag, by weak comparison, or any.

    Parameters
    ----------
    etag: with its quotes.
    """
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            given = [tag.strip().removeprefix(b"W/") for tag in value.split(b",")]
            if etag in given or given == [b"*"]:
                return True
    return False
