"""Parse the request header `Prefer` (RFC 7240)."""

from __future__ import annotations

from collections.abc import Iterable


def preferred_wait(headers: Iterable[str], longest: float) -> float | None:
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
