"""Which download gives its slot, or its place at a host, to others that wait: the slowest, after its turn. Pure.

While nobody waits, a slow source may take its time. While others wait, the rate needed to keep a slot rises: it starts
at the lowest rate allowed at all, and doubles each second up to a limit. One run at a time is asked to give way.
"""

from __future__ import annotations

from collections.abc import Iterable

from statussvc.leases import Lease

FIRST_RATE = 4096.0
"""Bytes a second needed at first: the default of TILEWRIGHT_SOURCE_MIN_RATE."""

LONGEST_TURN_KEPT = 60.0
"""Longest turn in seconds of a download that can be resumed. Each turn costs a new request and a copy on the disk."""

LONGEST_TURN = 600.0
"""Longest turn in seconds of a download that cannot be resumed. Turns double, so that most finish in one of them."""

PATIENCE = 5.0
"""Seconds that a run has to give way once asked. After them another one is asked."""


def turn(lease: Lease, shortest: float, *, for_place: bool = False) -> float:
    """Seconds for which a run keeps its slot, however slow it is.

    Parameters
    ----------
    for_place: whether others wait for its host. That allows few requests, so each turn is the longest.
    """
    longest = LONGEST_TURN_KEPT if lease.resumable else LONGEST_TURN
    if for_place:
        return max(shortest, longest)
    return min(shortest * 2.0 ** min(lease.attempt - 1, 16), max(shortest, longest))


def has_had_longest(lease: Lease, shortest: float) -> bool:
    """Whether a run that gives way has had the longest turn there is, and cannot be resumed."""
    had = turn(lease, shortest, for_place=lease.gives_place)
    return lease.gives_way_since is not None and not lease.resumable and had >= LONGEST_TURN


def wanted_rate(waited: float, rate: float, after: float) -> float:
    """Bytes a second needed to keep a slot once others have waited for `waited` seconds; 0: any rate will do."""
    if waited < after:
        return 0.0
    return float(min(rate, FIRST_RATE * 2.0 ** min(waited - after, 64.0)))


def who_gives_way(
    leases: Iterable[Lease], now: float, waited: float, rate: float, after: float, *, for_place: bool = False
) -> Lease | None:
    """The run to ask to give way; None where none has to.

    Parameters
    ----------
    now: seconds, by the same clock as `Lease.began`.
    waited: seconds that the oldest wake-up has waited for a slot, or a row for a place.
    rate: bytes a second with which a run keeps its slot however long others wait.
    after: seconds that others have to wait before anybody gives way, and that a first turn lasts.
    for_place: whether they wait for a place at the host of all these runs.
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
        if (
            arriving is None
            or is_complete
            or arriving >= wanted
            or now - lease.began < turn(lease, after, for_place=for_place)
        ):
            continue
        if slowest is None or (arriving, lease.began) < slowest[:2]:
            slowest = arriving, lease.began, lease
    return slowest[2] if slowest else None
