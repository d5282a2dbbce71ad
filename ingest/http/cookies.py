"""Cookies within one chain of redirects, for servers that set one and redirect to a URL that wants it.

They are stricter than a browser's: each goes back only to the host and port that set it, never over plain HTTP if it
came over TLS, and all are forgotten with the chain. Does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pipeline.sources import check_url
from pipeline.urls import DEFAULT_PORTS

MOST = 20
"""Maximum cookies of a chain. A sign-in sets about five."""

MOST_BYTES = 8192
"""Maximum characters of all cookies of a chain: what servers accept in a header."""

# RFC 6265 §4.1.1, but with the blanks and quotes that servers use all the same.
_PAIR = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=([\x20\x21\x23-\x3a\x3c-\x7e\"]*)")


@dataclass(frozen=True, slots=True)
class _Cookie:
    value: str
    is_secure: bool


Place = tuple[str, int | None, str, str]
"""Host, port if it is not the scheme's own, path, and name."""


class ChainCookies:
    """The cookies of one chain of redirects."""

    def __init__(self) -> None:
        self._cookies: dict[Place, _Cookie] = {}

    def header(self, url: str) -> dict[str, str]:
        """Return the Cookie header for a request; empty if there is none to send."""
        host, port, is_secure, path = _parts(url)
        found = [
            (at, name, cookie.value)
            for (its_host, its_port, at, name), cookie in self._cookies.items()
            if (its_host, its_port) == (host, port) and (is_secure or not cookie.is_secure) and _matches(path, at)
        ]
        # Longer paths first (RFC 6265 §5.4).
        found.sort(key=lambda one: -len(one[0]))
        return {"Cookie": "; ".join(f"{name}={value}" for _, name, value in found)} if found else {}

    def take(self, url: str, values: Sequence[str], now: datetime | None = None) -> None:
        """Take the Set-Cookie headers of a response to a request for `url`. What exceeds the limits is ignored."""
        host, port, is_secure, path = _parts(url)
        for value in values:
            first, *rest = value.split(";")
            pair = _PAIR.fullmatch(first.strip())
            if pair is None:
                continue
            attributes = {
                name.strip().lower(): given.strip() for name, _, given in (part.partition("=") for part in rest)
            }
            domain = attributes.get("domain", "").lstrip(".").lower()
            if domain and domain != host and not host.endswith(f".{domain}"):
                continue
            at = attributes.get("path", "")
            place = (host, port, at if at.startswith("/") else path.rpartition("/")[0] or "/", pair[1])
            self._cookies.pop(place, None)
            if not _is_over(attributes, now or datetime.now(UTC)):
                self._add(place, _Cookie(pair[2].strip(), is_secure or "secure" in attributes))

    def _add(self, place: Place, cookie: _Cookie) -> None:
        size = sum(len(name) + len(its.value) + 3 for (*_, name), its in self._cookies.items())
        if len(self._cookies) < MOST and size + len(place[3]) + len(cookie.value) <= MOST_BYTES:
            self._cookies[place] = cookie


def _parts(url: str) -> tuple[str, int | None, bool, str]:
    target = check_url(url)
    # A server that redirects from http to https is the same one if both have their usual ports.
    port = None if target.port == DEFAULT_PORTS[target.scheme] else target.port
    return target.host, port, target.scheme == "https", target.path


def _matches(path: str, at: str) -> bool:
    """RFC 6265 §5.1.4."""
    return path == at or (path.startswith(at) and (at.endswith("/") or path[len(at)] == "/"))


def _is_over(attributes: dict[str, str], now: datetime) -> bool:
    seconds = attributes.get("max-age", "")
    if re.fullmatch(r"-?[0-9]{1,18}", seconds):
        return int(seconds) <= 0
    try:
        expires = parsedate_to_datetime(attributes.get("expires", ""))
    except (ValueError, OverflowError):
        return False
    return (expires if expires.tzinfo is not None else expires.replace(tzinfo=UTC)) <= now
