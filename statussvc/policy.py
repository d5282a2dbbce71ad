"""The limits and delays that decide what happens to a dataset when its runs fail or wait."""

from __future__ import annotations

import random
from dataclasses import dataclass

SLOW_RETRIES = 1
"""Retries after source_too_slow. Each holds a slot for a minute, and keeps what the one before it downloaded."""

LONGEST_WAIT = 7 * 86400.0
"""Seconds that a dataset waits in all as its source asks. After that, what the source asks for counts as a retry."""

MOST_REFUSALS = 20
"""Times that a host may refuse a dataset's connection for others' sake. After that, a refusal counts as a retry."""


PENDING = "source_pending"
"""Code of a source whose server has accepted to fetch it, as from tape. Such tries do not count as retries."""

PENDING_SECONDS = 2 * 86400.0
"""Seconds since the first begin for which such a source is waited for: the slowest cloud archives take that long."""

MOST_PENDING_DELAY = 86400.0
"""Longest Retry-After of such a source that is heeded, in seconds."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits as counts, times in seconds.

    Parameters
    ----------
    keep_sources: how long a source is kept after its dataset has ended; None: for ever.
    lost_after: how long a published wake-up may go unanswered before it is looked at.
    retry_after_cap: the longest Retry-After that is waited for.
    publish_lease: for how long a wake-up is one publisher's. Longer than a publish may block (10 s).
    source_fresh: how long after its download the file of a dataset that is ready is used without asking its server.
    keep_versions: how many versions of a dataset are kept, the present one included.
    version_grace: how long the others are kept after a refresh has replaced them.
    slot_rate, slot_seconds: see slots.who_gives_way.
    """

    crash_limit: int
    retry_limit: int
    retry_base: float
    retry_cap: float
    keep_sources: float | None = None
    lost_after: float = 60.0
    publish_lease: float = 15.0
    retry_after_cap: float = 86400.0
    source_fresh: float = 0.0
    keep_versions: int = 1
    version_grace: float = 3600.0
    slot_rate: float = 0.0
    slot_seconds: float = 5.0

    @property
    def longest_delay(self) -> float:
        """The longest delay that a row may have; a longer one comes from a wall clock that was set back."""
        return max(self.retry_cap, self.retry_after_cap, MOST_PENDING_DELAY)

    def asked_wait(self, retry_after: float, waited: float) -> float:
        """Seconds to wait as the source asked, without counting a retry; 0 where the usual delay will do.

        Parameters
        ----------
        retry_after: seconds that the source asked for.
        waited: seconds that the dataset has waited like this before.
        """
        seconds = min(retry_after, self.retry_after_cap)
        return seconds if seconds > self.retry_cap and waited + seconds <= LONGEST_WAIT else 0.0

    def retries_after(self, code: str) -> int:
        """How often a stage that failed with this code is retried."""
        return min(self.retry_limit, SLOW_RETRIES) if code == "source_too_slow" else self.retry_limit

    def back_off(self, retries: int, retry_after: float) -> float:
        """Seconds before a retry: exponential, jittered and capped.

        Parameters
        ----------
        retries: how many there were, this one included.
        retry_after: seconds that the source asked for; at least these, up to the cap.
        """
        return max(self._delay(retries), min(retry_after, self.retry_cap))

    def pending_delay(self, attempt: int, retry_after: float) -> float:
        """Seconds before another attempt at a source that its server still fetches; at least those it asked for."""
        return max(self._delay(attempt), min(retry_after, MOST_PENDING_DELAY))

    def _delay(self, tries: int) -> float:
        delay: float = min(self.retry_cap, self.retry_base * 2 ** min(tries - 1, 30))
        return delay * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, hides nothing
