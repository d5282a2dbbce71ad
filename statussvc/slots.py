"""Which download gives its slot to those who wait: the slowest, once it has had its turn. Pure.

With nobody waiting a slow source may take its time. While others wait, the rate that keeps a slot rises: it begins at
what a source has to send anyway, and doubles every second, up to `rate`. One run at a time is asked to give way.
"""

from __future__ import annotations

from collections.abc import Iterable

from statussvc.leases import Lease

FIRST_RATE = 4096.0
"""Bytes a second asked for at first: TILEWRIGHT_SOURCE_MIN_RATE's default."""

LONGEST_TURN_KEPT = 60.0
"""Seconds of a turn, at most, whose work a later run goes on with: a turn is a new request, and a copy on the disk."""

LONGEST_TURN = 600.0
"""Seconds of a turn, at most, whose work is lost with it: turns double, so that what can be fetched in one is."""

PATIENCE = 5.0
"""Seconds that a run which was asked has to go: longer, and the next one is asked."""


def turn(lease: Lease, shortest: float) -> float:
    """Seconds for which a run has its slot, however slow it is."""
    longest = LONGEST_TURN_KEPT if lease.resumable else LONGEST_TURN
    return min(shortest * 2.0 ** min(lease.attempt - 1, 16), max(shortest, longest))


def has_had_longest(lease: Lease, shortest: float) -> bool:
    """Whether a run that gives way had all the time that there is, and nothing of it is kept."""
    return lease.gives_way_since is not None and not lease.resumable and turn(lease, shortest) >= LONGEST_TURN


def wanted_rate(waited: float, rate: float, after: float) -> float:
    """Bytes a second that keep a slot while others have waited for so many seconds; 0 where any do."""
    if waited < after:
        return 0.0
    return float(min(rate, FIRST_RATE * 2.0 ** min(waited - after, 64.0)))


def who_gives_way(leases: Iterable[Lease], now: float, waited: float, rate: float, after: float) -> Lease | None:
    """The run to be asked, if one is.

    Parameters
    ----------
    now: of the clock that the leases began by.
    waited: seconds that the oldest wake-up has waited for a slot.
    rate: bytes a second that keep a slot however long others wait; 0: nobody gives way.
    after: seconds of waiting, and of a first turn, that are everybody's.
    """
    slowest: tuple[float, float, Lease] | None = None
    wanted = wanted_rate(waited, rate, after)
    for lease in leases:
        if lease.gives_way_since is not None:
            if now - lease.gives_way_since < PATIENCE:
                return None
            continue
        arriving = lease.received.per_second
        progress = lease.progress
        is_complete = progress.HasField("bytes_total") and progress.bytes_downloaded >= progress.bytes_total
        if arriving is None or is_complete or arriving >= wanted or now - lease.began < turn(lease, after):
            continue
        if slowest is None or (arriving, lease.began) < slowest[:2]:
            slowest = arriving, lease.began, lease
    return slowest[2] if slowest else None
