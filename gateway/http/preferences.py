"""What clients ask for in headers: `Prefer` (RFC 7240) and `If-None-Match` (RFC 9110). Pure."""

from __future__ import annotations

from collections.abc import Iterable


def wait(headers: Iterable[str], longest: float) -> float | None:
    """Give the seconds of `Prefer: wait=N`, at most `longest`; None where it is not asked for.

    As RFC 7240 has it, the first `wait` counts, and what cannot be understood is ignored.
    """
    for header in headers:
        for preference in header.split(","):
            name, _, value = preference.split(";")[0].partition("=")
            value = value.strip().strip('"')
            if name.strip().lower() == "wait" and value.isascii() and value.isdigit():
                # Longer numbers are beyond any limit, and slow to read.
                return min(float(value[:10]), longest)
    return None


def matches(headers: Iterable[str], etag: str) -> bool:
    """Whether an If-None-Match names the entity tag, by weak comparison (RFC 9110 §8.8.3.2)."""
    opaque = etag.removeprefix("W/")
    tags = (tag.strip() for header in headers for tag in header.split(","))
    return any(tag == "*" or tag.removeprefix("W/") == opaque for tag in tags)
