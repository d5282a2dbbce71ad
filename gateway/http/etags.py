"""If-None-Match (RFC 9110, 13.1.2)."""

from __future__ import annotations

from starlette.types import Scope


def has_already(scope: Scope, etag: bytes) -> bool:
    """Return whether If-None-Match contains this ETag, by weak comparison, or is `*`.

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
