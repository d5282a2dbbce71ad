"""Validators, which identify one version of a file on a server (RFC 9110 §8.8). Pure functions, without I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

HeaderValues = Callable[[str], Sequence[str]]
"""Returns all values of a header; the name's case does not matter."""

SAME_CLOCK = timedelta(seconds=1)
"""Last-Modified is a strong validator if it is at least this much older than Date (RFC 9110 §8.8.2.2)."""

OTHER_CLOCK = timedelta(seconds=60)
"""The same for a response without a Date, which is compared with this machine's clock."""

MOST_VALIDATOR = 1024
"""Maximum characters. A validator is stored and sent with each range request, and servers accept about 8 KiB of
headers."""

_STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a file.

    Parameters
    ----------
    etag: the strong ETag, with its quotes; "" if there is none. A weak one does not identify every byte.
    last_modified: the date as the server sent it; "" if there is none, or if another change within the same second
        could have the same date.
    """

    etag: str = ""
    last_modified: str = ""

    def __bool__(self) -> bool:
        return bool(self.etag or self.last_modified)

    @property
    def if_range(self) -> dict[str, str]:
        """Headers to request a range of this version, and the whole file if it has changed (RFC 9110 §13.1.5)."""
        return {"If-Range": self.etag or self.last_modified} if self else {}

    @property
    def unless(self) -> dict[str, str]:
        """Headers to request the file only if it has changed (RFC 9110 §13.1.2 and §13.1.3)."""
        conditions = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in conditions.items() if value}

    def is_same(self, other: Version) -> bool:
        """Return whether another response has this version. One of the two may lack Last-Modified if both have an ETag.

        A server may leave it out of a 206, and it counts only once it is settled.
        """
        return self.etag == other.etag if self.etag else bool(self) and self.last_modified == other.last_modified

    def shows_in(self, headers: HeaderValues) -> bool:
        """Return whether a 206 belongs to this version.

        A 206 has to have the same ETag as a 200 (RFC 9110 §15.3.7), but may leave out Last-Modified.
        """
        if self.etag:
            return _first(headers, "ETag") == self.etag
        return _first(headers, "Last-Modified") in ("", self.last_modified)


def version(headers: HeaderValues, now: datetime | None = None) -> Version:
    """Return the version that a response's headers name; empty if they have no strong validator."""
    etag, modified = _first(headers, "ETag"), _first(headers, "Last-Modified")
    changed, answered = _date(modified), _date(_first(headers, "Date"))
    latest = answered - SAME_CLOCK if answered is not None else (now or datetime.now(UTC)) - OTHER_CLOCK
    is_settled = changed is not None and changed <= latest
    is_strong = len(etag) <= MOST_VALIDATOR and _STRONG.fullmatch(etag)
    return Version(etag if is_strong else "", modified if is_settled and len(modified) <= MOST_VALIDATOR else "")


def _first(headers: HeaderValues, name: str) -> str:
    values = headers(name)
    return values[0].strip() if values else ""


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
