"""Which download gives its slot to those who wait: by rates and turns, without a clock."""

from __future__ import annotations

import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.leases import Lease
from statussvc.lifecycle import Stage
from statussvc.slots import (
    LONGEST_TURN,
    LONGEST_TURN_KEPT,
    PATIENCE,
    has_had_longest,
    turn,
    wanted_rate,
    who_gives_way,
)

RATE, AFTER = 1_000_000.0, 5.0


def lease(
    name: str, rate: float, *, began: float = 0.0, attempt: int = 1, total: int | None = None, resumable: bool = False
) -> Lease:
    """A download at a steady rate, until second 20."""
    made = Lease(name, name, Stage.INGEST, began=began, attempt=attempt, resumable=resumable)
    for second in range(21):
        made.received.note(int(rate * second), second)
    made.progress.CopyFrom(pb.Progress(bytes_downloaded=int(rate * 20), bytes_total=total))
    return made


def chosen(*leases: Lease, waited: float = 60.0, now: float = 20.0, rate: float = RATE) -> str | None:
    found = who_gives_way(leases, now, waited, rate, AFTER)
    return found.run_id if found else None


def test_with_nobody_waiting_for_long_a_slow_source_keeps_its_slot() -> None:
    assert chosen(lease("drips", 10.0), waited=AFTER - 0.1) is None


def test_the_slowest_gives_way_first_and_one_at_a_time() -> None:
    slower, slow = lease("slower", 5000.0), lease("slow", 50_000.0)
    assert chosen(slow, slower) == "slower"
    # While it is on its way, nobody else is asked; where it does not go, the next one is
    slower.gives_way_since = 20.0
    assert chosen(slow, slower) is None
    assert chosen(slow, slower, now=20.0 + PATIENCE) == "slow"


def test_a_source_that_has_gone_silent_is_the_slowest_though_it_was_quick() -> None:
    silent = lease("silent", 2_000_000.0)
    for second in range(21, 31):
        silent.received.note(40_000_000, second)
    assert chosen(silent, lease("slow", 50_000.0), now=30.0) == "silent"


def test_the_rate_that_keeps_a_slot_rises_while_others_wait_up_to_its_limit() -> None:
    rates = [wanted_rate(AFTER + waited, RATE, AFTER) for waited in range(12)]
    assert rates[:3] == [4096.0, 8192.0, 16384.0]
    assert rates == sorted(rates)
    assert rates[-1] == RATE
    assert wanted_rate(AFTER - 0.1, RATE, AFTER) == 0.0
    assert wanted_rate(1e9, RATE, AFTER) == RATE
    # Then what is just above the least rate gives way a second later, and what is quick never does
    assert chosen(lease("drips", 4200.0), waited=AFTER) is None
    assert chosen(lease("drips", 4200.0), waited=AFTER + 1) == "drips"
    assert chosen(lease("quick", RATE), waited=1e6) is None


def test_none_gives_way_where_the_operator_wants_none_to() -> None:
    assert chosen(lease("silent", 0.0), rate=0.0) is None


@pytest.mark.parametrize("now", [4.9, 5.0])
def test_a_download_has_its_first_turn(now: float) -> None:
    assert chosen(lease("drips", 10.0), now=now) == (None if now < AFTER else "drips")


def test_turns_double_so_that_what_cannot_be_gone_on_with_comes_to_its_end() -> None:
    turns = [turn(lease("x", 0.0, attempt=attempt), AFTER) for attempt in range(1, 12)]
    assert turns[:4] == [5.0, 10.0, 20.0, 40.0]
    assert turns[-1] == LONGEST_TURN
    kept = [turn(lease("x", 0.0, attempt=attempt, resumable=True), AFTER) for attempt in range(1, 12)]
    assert kept[-1] == LONGEST_TURN_KEPT
    # And whoever had the longest turn in vain is not offered a slot for ever
    last = lease("x", 10.0, attempt=11)
    assert not has_had_longest(last, AFTER)
    last.gives_way_since = 700.0
    assert has_had_longest(last, AFTER)
    last.resumable = True
    assert not has_had_longest(last, AFTER)


@pytest.mark.parametrize(("resumable", "longest"), [(True, LONGEST_TURN_KEPT), (False, LONGEST_TURN)])
def test_a_place_at_a_host_is_kept_for_the_longest_turn(resumable: bool, longest: float) -> None:
    # Given a slow download, and others that wait for its host: each turn costs that host a request
    for now in (longest - 1.0, longest):
        slow = lease("drips", 10.0, resumable=resumable)
        found = who_gives_way([slow], now, 60.0, RATE, AFTER, for_place=True)
        assert (found is slow) == (now == longest)
    # Then one that starts over is too slow after the first such turn
    slow.gives_way_since, slow.gives_place = longest, True
    assert has_had_longest(slow, AFTER) == (not resumable)


def test_what_has_come_as_a_whole_is_being_stored_and_is_not_slow() -> None:
    assert chosen(lease("stored", 0.0, total=0)) is None
    assert chosen(lease("drips", 10.0, total=10_000)) == "drips"
