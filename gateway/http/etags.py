"""If-None-Match (RFC 9110, 13.1.2)."""

from __future__ import annotations

from collections.abc import Iterable


def is_not_modified(headers: Iterable[tuple[bytes, bytes]], etag: bytes) -> bool:
    """Return whether If-None-Match is `*` or contains an ETag, by weak comparison (RFC 9110, 8.8.3.2).

    Parameters
    ----------
    headers: of the request, names in lower case, as ASGI passes them.
    etag: with its quotes.
    """
    opaque = etag.removeprefix(b"W/")
    given = (value for name, value in headers if name == b"if-none-match")
    tags = (tag.strip() for value in given for tag in value.split(b","))
    return any(tag == b"*" or tag.removeprefix(b"W/") == opaque for tag in tags)
