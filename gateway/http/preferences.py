"""Parse the request headers `Prefer` (RFC 7240) and `If-None-Match` (RFC 9110). Pure functions, without I/O."""

from __future__ import annotations

from collections.abc import Iterable


def wait(headers: Iterable[str], longest: float) -> float | None:
    """Return the seconds of `Prefer: wait=N`, at most `longest`; None if the header has no `wait`.

    As RFC 7240 requires, the first `wait` counts, and anything that cannot be parsed is ignored.
    """
    for header in headers:
        for preference in header.split(","):
            name, _, value = preference.split(";")[0].partition("=")
            value = value.strip().strip('"')
            if name.strip().lower() == "wait" and value.isascii() and value.isdigit():
                # Cut off, because longer numbers are above any limit and slow to parse.
                return min(float(value[:10]), longest)
    return None


def matches(headers: Iterable[str], etag: str) -> bool:
    """Return whether If-None-Match contains the ETag, by weak comparison (RFC 9110 §8.8.3.2)."""
    opaque = etag.removeprefix("W/")
    tags = (tag.strip() for header in headers for tag in header.split(","))
    return any(tag == "*" or tag.removeprefix("W/") == opaque for tag in tags)
