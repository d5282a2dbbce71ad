"""By what a server tells one state of a file from another: its validators (RFC 9110 §8.8). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

HeaderValues = Callable[[str], Sequence[str]]
"""All values of a header, by its name in any case."""

SAME_CLOCK = timedelta(seconds=1)
"""RFC 9110 §8.8.2.2: a date is strong that lies so long before the answer's own, both told by the server's clock."""

OTHER_CLOCK = timedelta(seconds=60)
"""The same, where the answer has no date and our clock has to do."""

MOST_VALIDATOR = 1024
"""Characters: it is stored, and sent back with each request for a part, of which servers accept some 8 KiB in all."""

_STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a file.

    Parameters
    ----------
    etag: the strong entity tag, with its quotes; "" where there is none. A weak one does not tell every byte.
    last_modified: the date as the server wrote it; "" where there is none, or where a second change within the same
        second would bear the same.
    """

    etag: str = ""
    last_modified: str = ""

    def __bool__(self) -> bool:
        return bool(self.etag or self.last_modified)

    @property
    def if_range(self) -> dict[str, str]:
        """Asks for a part of this state only, and for all of any other (RFC 9110 §13.1.5)."""
        return {"If-Range": self.etag or self.last_modified} if self else {}

    @property
    def unless(self) -> dict[str, str]:
        """Asks for the file only where it is in another state (RFC 9110 §13.1.2 and §13.1.3)."""
        conditions = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in conditions.items() if value}

    def shows_in(self, headers: HeaderValues) -> bool:
        """Whether a part comes of this state.

        A 206 has to bear the ETag that a 200 would (RFC 9110 §15.3.7), and may leave out Last-Modified.
        """
        if self.etag:
            return _first(headers, "ETag") == self.etag
        return _first(headers, "Last-Modified") in ("", self.last_modified)


def version(headers: HeaderValues, now: datetime | None = None) -> Version:
    """The state that an answer shows; an empty one where nothing in it can be relied on."""
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
