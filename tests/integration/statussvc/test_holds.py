"""Rows that wait for more than a worker: what the rows say, on both databases."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, update

from statussvc.db.repository import addresses, holds, outbox, places, reusable, stages, user_actions
from statussvc.db.repository.catalogue import NewDataset, Texts, create, describe
from statussvc.db.repository.turns import Turns, hash_of
from statussvc.db.rows import DatasetRow, Facts, Failure, Rewritten, fetch_one
from statussvc.db.tables import datasets, runs
from statussvc.enums import Drop
from statussvc.lifecycle import Stage, State
from statussvc.policy import MOST_REFUSALS, Policy

NOW = 1_800_000_000.0
POLICY = Policy(crash_limit=3, retry_limit=5, retry_base=1.0, retry_cap=300.0)
URL = "https://example.org/earth.tif"
SHA = "ab" * 32
NUMBERS = itertools.count()


class Rows:
    """Datasets, and what is done with them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._numbers = itertools.count(1)

    def submit(self, url: str = URL, **fields: Any) -> str:
        return create(self.connection, NewDataset("Earth", "", "", "", url, 256, **fields), NOW)[0]

    def row(self, dataset_id: str) -> DatasetRow:
        found = fetch_one(self.connection, DatasetRow, select(datasets).where(datasets.c.dataset_id == dataset_id))
        assert found is not None
        return found

    def begin(self, dataset_id: str, now: float = NOW) -> str:
        """Begins a download; the run, or why it is not granted."""
        run_id = f"{next(self._numbers):032x}"
        wake_up = outbox.WakeUp(dataset_id, self.row(dataset_id).attempt, Stage.INGEST)
        result = stages.begin(self.connection, wake_up, run_id, "test", POLICY, now).result
        return str(result) if isinstance(result, Drop) else run_id

    def complete(self, run_id: str) -> None:
        stages.complete_ingest(self.connection, run_id, stages.Fetched(SHA, 9, '"v1"'), NOW)

    def fail(self, run_id: str, code: str) -> None:
        stages.fail(self.connection, run_id, Failure(code, "It failed.", retryable=False), POLICY, NOW)

    def retry_later(self, run_id: str) -> None:
        stages.fail(self.connection, run_id, Failure("source_unreachable", "Away.", retryable=True), POLICY, NOW)

    def change_url(self, dataset_id: str, url: str) -> None:
        describe(self.connection, dataset_id, Texts(url=url), NOW)

    def settle(self) -> None:
        holds.settle(self.connection, NOW)

    def held_by(self, *ids: str) -> list[str | None]:
        return [self.row(one).held_by for one in ids]


@pytest.fixture
def rows(engine: Engine) -> Any:
    with engine.begin() as connection:
        yield Rows(connection)


def test_those_that_wait_are_not_published_and_use_the_file_of_the_one_that_downloads(rows: Rows) -> None:
    # Given one that was posted before the download began, and one that was posted after
    first, before = rows.submit(), rows.submit()
    run = rows.begin(first)
    after = rows.submit(page=2)
    assert rows.held_by(first, before, after) == [None, first, first]
    # Then neither is published or granted
    assert outbox.lease_pending(rows.connection, 9, (), POLICY, NOW, Turns()) == []
    assert rows.begin(before) == Drop.HELD
    # When the download is complete, by a rewritten link, then both wait for the tiler, with its file and that link, and
    # each with its own pyramid
    link = Rewritten("IIIF", "https://example.org/full/max/0/default.jpg", "")
    stages.describe(rows.connection, run, Facts(rewritten=link))
    rows.complete(run)
    rows.settle()
    key = f"sources/{first}/1"
    told = [rows.row(one) for one in (before, after)]
    assert [(one.state, one.source_key, one.source_etag) for one in told] == [(State.DOWNLOADED, key, '"v1"')] * 2
    assert [one.facts.rewritten for one in told] == [link] * 2
    assert told[0].tile_id == rows.row(first).tile_id != told[1].tile_id


def test_a_new_url_of_the_one_that_downloads_is_not_that_of_the_others(rows: Rows) -> None:
    # Given three datasets of a URL, of which the first is about to try again, and one of another URL
    first, second, third = (rows.submit() for _ in range(3))
    rows.retry_later(rows.begin(first))
    other = rows.submit(url=f"{URL}?other")
    assert rows.held_by(first, second, third) == [None, first, first]
    # When the first gets that other URL
    rows.change_url(first, f"{URL}?other")
    # Then one of the others takes over at once, and the rest wait for it
    assert rows.held_by(second, third) == [None, second]
    run = rows.begin(second)
    # And the first holds those of its new URL, and goes on by itself
    rows.begin(first)
    assert rows.held_by(first, other, third) == [None, first, second]
    rows.complete(run)
    rows.settle()
    assert rows.row(third).source_key == f"sources/{second}/2"


def test_a_failed_one_that_is_retried_with_a_new_url_is_not_waited_for(rows: Rows) -> None:
    first, second = rows.submit(), rows.submit()
    rows.fail(rows.begin(first), "source_forbidden")
    user_actions.retry(rows.connection, first, NOW, f"{URL}?new")
    assert rows.held_by(second) == [None]


def test_all_of_a_crowd_are_taken_over_when_a_url_changes(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "MOST_HELD", 3)
    first, *others = (rows.submit() for _ in range(12))
    rows.retry_later(rows.begin(first))
    for one in others:
        rows.begin(one)
    rows.change_url(first, f"{URL}?new")
    assert rows.held_by(*others) == [None] + [others[0]] * 10


@pytest.mark.parametrize("code", ["page_not_found", "source_corrupted", "out_of_disk", "worker_died"])
def test_a_fault_of_the_one_that_downloads_is_not_that_of_the_others(rows: Rows, code: str) -> None:
    first, second, third = (rows.submit() for _ in range(3))
    rows.fail(rows.begin(first), code)
    rows.settle()
    # Then the oldest takes over, and the rest wait for it
    assert rows.held_by(second, third) == [None, second]
    assert [rows.row(one).state for one in (second, third)] == [State.QUEUED] * 2
    run = rows.begin(second)
    rows.complete(run)
    rows.settle()
    assert rows.row(third).source_key == f"sources/{second}/2"


def test_a_fault_of_the_url_is_that_of_all(rows: Rows) -> None:
    ids = [rows.submit() for _ in range(3)]
    rows.fail(rows.begin(ids[0]), "source_not_found")
    rows.settle()
    told = [rows.row(one) for one in ids]
    assert [(one.state, one.error_code, one.held_by) for one in told] == [(State.FAILED, "source_not_found", None)] * 3


def test_a_download_that_is_given_back_or_waits_for_a_retry_is_still_waited_for(rows: Rows) -> None:
    first, second = rows.submit(), rows.submit()
    stages.release(rows.connection, rows.begin(first), NOW)
    rows.settle()
    # Then whoever comes, whenever they are begun, waits for the one that has begun before
    third = rows.submit()
    assert rows.held_by(second, third) == [first, first]
    passing = Failure("source_timeout", "It took too long.", retryable=True)
    stages.fail(rows.connection, rows.begin(first), passing, POLICY, NOW)
    rows.settle()
    assert rows.held_by(first, second, third) == [None, first, first]


def test_who_comes_after_the_download_uses_its_file_while_its_dataset_is_not_ready(rows: Rows) -> None:
    # Given one whose download ended, and others: two new ones, of which one asks for other bytes, and one that was
    # submitted before, and is begun only now
    early = rows.submit()
    first = rows.submit()
    rows.connection.execute(update(datasets).where(datasets.c.dataset_id == early).values(state=State.CANCELLED))
    rows.complete(rows.begin(first))
    rows.connection.execute(update(datasets).where(datasets.c.dataset_id == early).values(state=State.QUEUED))
    late, other = rows.submit(page=2), rows.submit(sha256="cd" * 32)
    assert rows.held_by(late, other) == [first, None]
    assert (rows.begin(early), rows.held_by(early, other)) == (Drop.HELD, [first, None])
    # Then those that ask for no other bytes use its file, and the other one downloads its own
    rows.settle()
    told = [rows.row(one) for one in (early, late)]
    assert [(one.state, one.downloaded_by) for one in told] == [(State.DOWNLOADED, first)] * 2
    assert rows.begin(other) not in list(Drop)


def test_a_file_is_used_without_asking_for_a_time_and_not_by_a_retry(rows: Rows) -> None:
    first = rows.submit()
    rows.complete(rows.begin(first))
    row = rows.row(rows.submit(URL + "?other"))
    for at_once in (row, None):
        assert reusable.fresh_download(rows.connection, URL, "", 0.0, NOW + 86400.0, at_once) is not None
        assert reusable.fresh_download(rows.connection, URL, SHA, 0.0, NOW, at_once) is not None
        # One that is too old, from the future or of other bytes is not used
        assert reusable.fresh_download(rows.connection, URL, "", 0.0, NOW + 86401.0, at_once) is None
        assert reusable.fresh_download(rows.connection, URL, "", 0.0, NOW - 1.0, at_once) is None
        assert reusable.fresh_download(rows.connection, URL, "cd" * 32, 0.0, NOW, at_once) is None
    # Nor by one that is retried after the download
    retried = replace(row, attempt=2, queued_at=NOW + 1.0)
    assert reusable.fresh_download(rows.connection, URL, "", 0.0, NOW + 2.0, retried) is None
    assert reusable.fresh_download(rows.connection, URL, "", 0.0, NOW + 2.0, replace(retried, queued_at=NOW))
    # And once its dataset is ready, only as long as the operator allows
    rows.connection.execute(update(datasets).where(datasets.c.dataset_id == first).values(state=State.READY))
    assert reusable.fresh_download(rows.connection, URL, "", 0.0, NOW, row) is None
    assert reusable.fresh_download(rows.connection, URL, "", 60.0, NOW + 60.0, row) is not None
    assert reusable.fresh_download(rows.connection, URL, "", 60.0, NOW + 61.0, row) is None


def test_who_asks_for_other_bytes_downloads_them_itself(rows: Rows) -> None:
    first, other, same = rows.submit(), rows.submit(sha256="cd" * 32), rows.submit(sha256=SHA)
    rows.complete(rows.begin(first))
    rows.settle()
    assert [rows.row(one).state for one in (other, same)] == [State.QUEUED, State.DOWNLOADED]
    assert rows.begin(other) not in list(Drop)


def test_who_takes_any_bytes_does_not_wait_for_one_that_asks_for_others(rows: Rows) -> None:
    # Given a download that asks for certain bytes, and others of its URL that ask for none, the same or others
    first, none, alike, other = (rows.submit(sha256=sha) for sha in ("0" * 64, "", "0" * 64, "1" * 64))
    assert rows.begin(first) not in list(Drop)
    assert rows.held_by(none, alike, other) == [None, first, None]
    # Then only who asks for the same waits for it; who asks for nothing downloads, and all new ones may wait for that
    assert rows.begin(none) not in list(Drop)
    assert rows.held_by(other) == [none]
    assert rows.held_by(rows.submit(), rows.submit(sha256="2" * 64)) == [none, none]
    # When that has ended without a file, then each that asks for certain bytes goes on by itself
    more = rows.submit(sha256="3" * 64)
    rows.connection.execute(
        update(datasets)
        .where(datasets.c.held_by == none, datasets.c.expected_sha256 == "")
        .values(deleted_at=NOW, held_by=None)
    )
    user_actions.cancel(rows.connection, none, NOW)
    rows.settle()
    assert rows.held_by(other, more) == [None, None]


def test_who_retries_again_and_again_does_not_go_before_those_that_wait(rows: Rows) -> None:
    # Given a download, another row of its URL and one that waits behind both
    one, two, waits = (rows.submit() for _ in range(3))
    rows.begin(one)
    assert rows.held_by(two, waits) == [one, one]
    # When the first two are cancelled and retried in turn
    for turn, (cancelled, begins) in enumerate([(one, two), (two, waits)], 1):
        user_actions.cancel(rows.connection, cancelled, NOW + turn)
        user_actions.retry(rows.connection, cancelled, NOW + turn)
        rows.begin(cancelled, now=NOW + turn)
        # Then the next in line downloads
        assert rows.begin(begins, now=NOW + turn) not in list(Drop)
        assert rows.held_by(cancelled) == [begins]


def test_who_gets_another_url_leaves_the_queue_of_the_old_one(rows: Rows) -> None:
    # Given one that downloads, one that waits for it, and one that gets another URL meanwhile
    first, second, third = (rows.submit() for _ in range(3))
    run = rows.begin(first)
    addresses.change(rows.connection, rows.row(third), URL + "?2", NOW)
    assert rows.held_by(third) == [None]
    # When the first is to try again, and its URL is changed
    stages.release(rows.connection, run, NOW)
    addresses.change(rows.connection, rows.row(first), URL + "?3", NOW)
    # Then the second does not get the file of the new URL, and takes over
    rows.complete(rows.begin(first))
    rows.settle()
    row = rows.row(second)
    assert (row.state, row.held_by, row.source_key) == (State.QUEUED, None, None)


def test_a_row_that_is_gone_holds_nobody(rows: Rows) -> None:
    first, second, third = (rows.submit() for _ in range(3))
    rows.begin(first)
    # Given one that is deleted, and one whose row was purged since
    user_actions.delete(rows.connection, first, NOW)
    rows.connection.execute(update(datasets).where(datasets.c.dataset_id == third).values(held_by="custom_gone"))
    rows.settle()
    assert rows.held_by(second, third) == [None, second]


def test_a_crowd_is_held_and_freed_in_batches(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "MOST_HELD", 3)
    monkeypatch.setattr(holds, "MOST_FREED", 2)
    first, *crowd = (rows.submit() for _ in range(9))
    # Given more than are held at once: the rest are held when they are begun
    run = rows.begin(first)
    assert rows.held_by(*crowd).count(first) == 3
    while None in rows.held_by(*crowd):
        waiting = next(one for one in crowd if rows.held_by(one) == [None])
        assert rows.begin(waiting) == Drop.HELD
    # When the one that downloads is cancelled, then one takes over
    user_actions.cancel(rows.connection, first, NOW)
    for _ in crowd:
        rows.settle()
    assert sorted(rows.held_by(*crowd), key=str) == [None, *[crowd[0]] * 7]
    # When that one is done, then all have its file after some calls
    assert run != rows.begin(crowd[0])
    rows.complete(rows.row(crowd[0]).run_id or "")
    for _ in crowd:
        rows.settle()
    assert {rows.row(one).source_key for one in crowd} == {f"sources/{crowd[0]}/2"}


def refuse(
    rows: Rows, run_id: str, retry_after: float = 0.0, now: float = NOW, by: str = "", served: bool = True
) -> None:
    """Has a source refuse a run, while it sends bytes to all others or to none."""
    at_work = select(datasets.c.run_id).where(datasets.c.state == State.DOWNLOADING, datasets.c.run_id != run_id)
    others = rows.connection.scalars(at_work).all() if served else []
    failure = Failure("source_unavailable", "It is busy.", retryable=True, retry_after=retry_after, is_refusal=True)
    failure = replace(failure, refused_by=by)
    stages.fail(rows.connection, run_id, failure, POLICY, now, [str(one) for one in others])


def begun(rows: Rows, count: int) -> dict[str, str]:
    """Downloads of one host at work: their datasets and runs."""
    ids = [rows.submit(f"{URL}?{next(NUMBERS)}") for _ in range(count)]
    return {one: rows.begin(one) for one in ids}


def free_places(rows: Rows, now: float) -> list[str]:
    return places.settle(rows.connection, POLICY, now, "")[0]


def test_a_host_that_refuses_gets_as_many_downloads_as_it_allows_and_who_waits_spends_no_retry(rows: Rows) -> None:
    # Given a host that allows two of four downloads, and more that wait
    four, more = begun(rows, 4), [rows.submit(f"{URL}?more={number}") for number in range(2)]
    ids = list(four)
    refuse(rows, four[ids[2]])
    refuse(rows, four[ids[3]])
    told = [rows.row(one) for one in ids[2:]]
    assert [(one.state, one.retries, one.error_code) for one in told] == [(State.QUEUED, 0, None)] * 2
    assert [one.held_places for one in told] == [3, 2]
    # Then no other is begun, and all wait for the host
    assert rows.begin(more[0]) == Drop.HELD
    assert {(rows.held_by(one)[0] or "").partition(":")[0] for one in (*ids[2:], *more)} == {"host"}
    assert (free_places(rows, NOW), free_places(rows, NOW + 59.0)) == ([], [])
    # When one ends, then the oldest that waits is begun, and one only
    rows.complete(four[ids[0]])
    assert free_places(rows, NOW) == [ids[2]]
    assert free_places(rows, NOW) == []
    again = rows.begin(ids[2])
    assert again not in list(Drop)
    # And after a minute one more is tried; when it is refused, then it takes longer until the next
    assert free_places(rows, NOW + 61.0) == [ids[3]]
    run = rows.begin(ids[3], now=NOW + 61.0)
    refuse(rows, run, now=NOW + 61.0)
    assert (rows.row(ids[3]).retries, rows.row(ids[3]).held_places) == (0, 2)
    assert free_places(rows, NOW + 125.0) == []
    # And whoever was refused is behind those that have waited since
    assert free_places(rows, NOW + 182.0) == [more[0]]
    # And a host that refuses nothing for long has no limit any more
    assert set(free_places(rows, NOW + 3600.0)) == {more[1], ids[3]}


def test_a_refusal_of_the_only_download_counts_as_a_retry(rows: Rows) -> None:
    ((one, run),) = begun(rows, 1).items()
    refuse(rows, run)
    assert (rows.row(one).retries, rows.row(one).held_by, rows.row(one).error_code) == (1, None, "source_unavailable")


@pytest.mark.parametrize(("outcome", "retries"), [("complete", 0), ("release", 0), ("release at once", 1), ("fail", 1)])
def test_a_refusal_for_the_sake_of_one_that_has_ended_since_is_the_hosts_limit(
    rows: Rows, outcome: str, retries: int
) -> None:
    # Given a download that is refused beside another one, which ends before that is reported
    (one, run), (_, other) = begun(rows, 2).items()
    match outcome:
        case "complete":
            rows.complete(other)
        case "release":
            rows.connection.execute(update(runs).where(runs.c.run_id == other).values(bytes_downloaded=1))
            stages.release(rows.connection, other, NOW)
        case "release at once":
            stages.release(rows.connection, other, NOW)
        case "fail":
            rows.fail(other, "source_not_found")
    refuse(rows, run, now=NOW + 1.0)
    # Then it costs no retry; beside one that was refused itself, it does
    assert rows.row(one).retries == retries


def test_a_refusal_long_after_another_download_is_no_limit(rows: Rows) -> None:
    (one, run), (_, other) = begun(rows, 2).items()
    rows.complete(other)
    refuse(rows, run, now=NOW + places.OVERLAP_SECONDS + 1.0)
    assert rows.row(one).retries == 1
    # Nor is one of a run that began after it
    free_places(rows, NOW + 9999.0)
    refuse(rows, rows.begin(one, now=NOW + 1.0), now=NOW + 2.0)
    assert rows.row(one).retries == 2


def test_a_dataset_that_is_refused_without_end_fails_in_the_end(rows: Rows) -> None:
    # Given a download that is refused each time, while another of its host goes on
    (busy, _), (one, run) = begun(rows, 2).items()
    now = NOW
    for _ in range(MOST_REFUSALS + POLICY.retry_limit):
        refuse(rows, run, now=now)
        now += 7200.0
        free_places(rows, now)
        assert rows.row(one).state is State.QUEUED
        run = rows.begin(one, now=now)
    refuse(rows, run, now=now)
    assert (rows.row(one).state, rows.row(busy).state) == (State.FAILED, State.DOWNLOADING)


def test_a_long_retry_after_costs_no_retry_and_all_of_the_host_wait_for_it(rows: Rows) -> None:
    # Given a host that asks for an hour, of its only download, and one that was posted before and one after
    ((one, run),), before = begun(rows, 1).items(), rows.submit(URL + "?before")
    refuse(rows, run, retry_after=3600.0)
    after = rows.submit(URL + "?after")
    row = rows.row(one)
    assert (row.retries, row.not_before, row.error_code) == (0, NOW + 3600.0, "source_unavailable")
    # Then no other of that host is begun before, and others are
    assert rows.begin(before) == rows.begin(after) == Drop.HELD
    assert {rows.row(held).not_before for held in (before, after)} == {NOW + 3600.0}
    assert rows.begin(rows.submit("https://other.example/a.tif")) not in list(Drop)
    assert free_places(rows, NOW + 3599.0) == []
    assert outbox.lease_pending(rows.connection, 9, (), POLICY, NOW + 3599.0, Turns()) == []
    assert set(free_places(rows, NOW + 3601.0)) == {before, after}
    assert len(outbox.lease_pending(rows.connection, 9, (), POLICY, NOW + 3601.0, Turns())) == 3


def test_a_retry_after_without_end_counts_in_the_end_and_a_day_is_the_most(rows: Rows) -> None:
    ((one, run),) = begun(rows, 1).items()
    now = NOW
    for day in range(7):
        refuse(rows, run, retry_after=1e6, now=now)
        assert (rows.row(one).retries, rows.row(one).not_before) == (0, now + 86400.0), day
        now += 86401.0
        run = rows.begin(one, now=now)
    refuse(rows, run, retry_after=1e6, now=now)
    row = rows.row(one)
    assert (row.retries, row.not_before) == (1, now + POLICY.retry_cap)


def test_a_long_retry_after_beside_others_concerns_only_the_one_that_got_it(rows: Rows) -> None:
    # Given two downloads at work, one of which is told to wait for an hour
    (busy, _), (one, run) = begun(rows, 2).items()
    refuse(rows, run, retry_after=3600.0)
    assert rows.row(one).not_before == NOW + 3600.0
    # Then the host is not blocked: when the other ends, a third begins
    third = rows.submit(URL + "?third")
    assert rows.begin(third) == Drop.HELD
    rows.complete(rows.row(busy).run_id or "")
    assert free_places(rows, NOW) == [third]


def test_a_run_that_dies_frees_its_place(rows: Rows) -> None:
    (busy, lost), (one, run) = begun(rows, 2).items()
    refuse(rows, run)
    assert free_places(rows, NOW) == []
    stages.expire(rows.connection, lost, POLICY, NOW)
    # The one that died is due itself, and takes the place; the other is next.
    assert free_places(rows, NOW) == []
    rows.complete(rows.begin(busy))
    assert free_places(rows, NOW) == [one]


STRANGER = "stranger.example"


def test_a_long_retry_after_of_another_host_concerns_only_the_row_that_was_led_there(rows: Rows) -> None:
    # Given a URL that leads to another host, which asks for a day, and no other download of the URL's own host
    ((one, run),) = begun(rows, 1).items()
    refuse(rows, run, retry_after=80_000.0, by=STRANGER)
    row = rows.row(one)
    assert (row.retries, row.not_before, row.held_by, row.error_message) == (0, NOW + 80_000.0, None, "It is busy.")
    # Then others of the URL's host begin, whether they were posted before or after
    assert set(begun(rows, 3).values()).isdisjoint(Drop)
    assert places.limit(rows.connection, row.host_hash, POLICY, NOW) is None
    # And the row waits for a week in all; after that each refusal counts as a retry
    now = NOW
    for retries in (0,) * 6 + (1,):
        now += 86401.0
        for other in rows.connection.scalars(select(datasets.c.run_id).where(datasets.c.state == State.DOWNLOADING)):
            rows.fail(str(other), "source_not_found")
        refuse(rows, rows.begin(one, now=now), retry_after=1e6, now=now, by=STRANGER)
        assert rows.row(one).retries == retries


def test_a_refusal_by_another_host_takes_no_place_from_the_urls_own(rows: Rows) -> None:
    # Given two URLs that lead to another host, which refuses one of them, and a download of the URL's host itself
    (busy, other), (one, run), _ = begun(rows, 3).items()
    stages.note_host(rows.connection, other, hash_of(STRANGER))
    now = NOW
    waits = []
    for number in range(MOST_REFUSALS):
        refuse(rows, run, now=now, by=STRANGER)
        row = rows.row(one)
        assert (row.state, row.held_by, row.retries, row.refusals) == (State.QUEUED, None, 0, number + 1)
        waits.append((row.not_before or now) - now)
        # Then the host has all its places
        assert places.limit(rows.connection, row.host_hash, POLICY, now) is None
        now += 7200.0
        run = rows.begin(one, now=now)
    assert rows.begin(rows.submit(URL + "?third")) not in list(Drop)
    # And the row waits longer each time, until refusals count as retries
    assert 0 < waits[0] <= POLICY.retry_base
    assert waits[-1] >= POLICY.retry_cap / 2
    refuse(rows, run, now=now, by=STRANGER)
    assert (rows.row(one).retries, rows.row(busy).state) == (1, State.DOWNLOADING)


@pytest.mark.parametrize("others", [0, 1])
def test_a_refusal_by_another_host_counts_as_a_retry_if_no_other_download_comes_from_there(
    rows: Rows, others: int
) -> None:
    (one, run), *_ = begun(rows, 1 + others).items()
    refuse(rows, run, by=STRANGER)
    assert (rows.row(one).retries, rows.row(one).error_code) == (1, "source_unavailable")


@pytest.mark.parametrize(
    ("url", "host", "is_own"),
    [
        ("HTTP://EXAMPLE.org:80/a", "example.org", True),
        ("https://example.org:8443/a", "example.org", True),
        ("https://m\u00fcnchen.example/a", "xn--mnchen-3ya.example", True),
        ("http://0x7f.1/a", "127.0.0.1", True),
        ("http://[0:0::1]/a", "::1", True),
        ("https://example.org/a", "www.example.org", False),
        ("https://example.org/a", "example.org.stranger.example", False),
    ],
)
def test_hosts_are_compared_as_urls_name_them(rows: Rows, url: str, host: str, is_own: bool) -> None:
    refuse(rows, rows.begin(rows.submit(url)), retry_after=3600.0, by=host)
    assert (rows.begin(rows.submit(url + "?other")) == Drop.HELD) == is_own


def led(rows: Rows, run_id: str) -> str:
    stages.note_host(rows.connection, run_id, hash_of(STRANGER))
    return run_id


@pytest.mark.parametrize("has_ended", [False, True])
def test_who_was_led_away_is_not_why_the_urls_host_refuses(rows: Rows, has_ended: bool) -> None:
    # Given a download whose URL has led to another host, and one that the URL's own host refuses
    (_, run), (one, refused) = begun(rows, 2).items()
    led(rows, run)
    if has_ended:
        stages.release(rows.connection, run, NOW)
    refuse(rows, refused, now=NOW + 1.0)
    # Then it is a retry, and the host has all its places
    row = rows.row(one)
    assert (row.retries, row.held_by) == (1, None)
    assert places.limit(rows.connection, row.host_hash, POLICY, NOW) is None
    # While it is not known where a download comes from, it counts for its URL's host
    if not has_ended:
        (two, again), (_, unknown) = begun(rows, 2).items()
        refuse(rows, again, now=NOW + 1.0)
        assert (rows.row(two).retries, rows.row(two).held_places) == (0, 1)
        # And so does one that has come back there
        stages.note_host(rows.connection, run, row.host_hash or "")
        assert places.at_work(rows.connection, row.host_hash) == 2
        led(rows, unknown)
        assert places.at_work(rows.connection, row.host_hash) == 1


def test_who_was_led_away_takes_no_place(rows: Rows) -> None:
    # Given a host that allows one download, and one of its URLs that leads elsewhere
    (away, run), (_, busy), (one, refused) = begun(rows, 3).items()
    led(rows, run)
    refuse(rows, refused)
    third = rows.submit(URL + "?third")
    assert rows.begin(third) == Drop.HELD
    assert free_places(rows, NOW) == []
    # When the one that comes from the host ends, then the next begins
    rows.complete(busy)
    assert free_places(rows, NOW) == [one]
    assert rows.begin(one) not in list(Drop)
    assert (rows.row(away).state, rows.begin(rows.submit(URL + "?fourth"))) == (State.DOWNLOADING, Drop.HELD)


def test_who_is_led_to_a_host_takes_none_of_its_places_and_may_be_why_it_refuses(rows: Rows) -> None:
    # Given a URL of another host that has led to this one, which refuses its only own download
    other = rows.begin(rows.submit(f"https://{STRANGER}/{next(NUMBERS)}"))
    stages.note_host(rows.connection, other, hash_of("example.org"))
    ((one, run),) = begun(rows, 1).items()
    refuse(rows, run)
    # Then that costs no retry, and the place that is left is not the other's
    assert (rows.row(one).retries, rows.row(one).held_places) == (0, 1)
    assert free_places(rows, NOW) == [one]


def test_a_url_that_is_always_refused_does_not_take_the_only_place_each_time(rows: Rows) -> None:
    # Given a host with one place, a row that it refuses each time, and others that wait
    (one, run), (_, busy) = begun(rows, 2).items()
    refuse(rows, run, now=NOW + 1.0)
    others = [rows.submit(f"{URL}?{next(NUMBERS)}") for _ in range(3)]
    assert rows.begin(others[0], now=NOW + 1.0) == Drop.HELD
    for number in range(3):
        # Then each time that a place is free, one of those is next that were not refused
        rows.complete(busy)
        assert free_places(rows, NOW + 2.0 + number) == [others[number]]
        busy = rows.begin(others[number])
    rows.complete(busy)
    assert free_places(rows, NOW + 9.0) == [one]


def test_a_refusal_beside_others_that_get_nothing_is_no_limit_of_the_host(rows: Rows) -> None:
    # Given three downloads at work, to none of which the host has sent a byte
    (one, run), (two, other), (three, third) = begun(rows, 3).items()
    refuse(rows, run, served=False)
    refuse(rows, other, served=False)
    # Then that costs no retry while others are at work, and holds nobody
    told = [rows.row(refused) for refused in (one, two)]
    assert [(row.retries, row.refusals, row.held_by) for row in told] == [(0, 1, None)] * 2
    assert all(NOW < (row.not_before or 0.0) <= NOW + POLICY.retry_base for row in told)
    assert places.limit(rows.connection, told[0].host_hash, POLICY, NOW) is None
    assert set(begun(rows, 3).values()).isdisjoint(Drop)
    for run_id in rows.connection.scalars(select(datasets.c.run_id).where(datasets.c.state == State.DOWNLOADING)).all():
        rows.fail(str(run_id), "source_not_found") if run_id != third else None
    # And with no other at work it is a retry
    refuse(rows, third, served=False)
    assert (rows.row(three).retries, rows.row(three).held_by) == (1, None)


def test_whoever_comes_later_does_not_go_before_those_that_wait_for_a_host(rows: Rows) -> None:
    # Given a host with one place, a row that waits for it, and one whose retry is due later
    (one, run), (_, other), (late, third) = begun(rows, 3).items()
    rows.retry_later(third)
    refuse(rows, run, now=NOW + 1.0)
    rows.complete(other)
    refuse(rows, rows.begin(late, now=NOW + 9.0), now=NOW + 9.0, served=False)
    assert rows.row(late).held_by is None
    # When the retry is due and another is submitted, then the place is still for the one that waits
    new = rows.submit(URL + "?new")
    rows.connection.execute(update(datasets).where(datasets.c.dataset_id == new).values(queued_at=NOW + 20.0))
    assert rows.begin(new, now=NOW + 20.0) == rows.begin(late, now=NOW + 20.0) == Drop.HELD
    assert free_places(rows, NOW + 20.0) == [one]
    # And who is begun before it does not take it
    assert rows.begin(new, now=NOW + 20.0) == Drop.HELD
    assert rows.begin(one, now=NOW + 20.0) not in list(Drop)
    rows.complete(rows.row(one).run_id or "")
    for expected in (late, new):
        assert free_places(rows, NOW + 21.0) == [expected]
        rows.complete(rows.begin(expected, now=NOW + 21.0))


def test_a_download_that_gives_way_waits_behind_those_that_wait_for_its_host(rows: Rows) -> None:
    # Given a host with one place, which a slow download has, and two others that wait for it
    (slow, run), (one, refused) = begun(rows, 2).items()
    assert places.waits_since(rows.connection, POLICY, NOW) == []
    refuse(rows, refused, retry_after=30.0)
    assert places.waits_since(rows.connection, POLICY, NOW + 29.0) == []
    assert places.waits_since(rows.connection, POLICY, NOW + 31.0) == [(NOW, {run})]
    other = rows.submit(URL + "?other")
    assert rows.begin(other) == Drop.HELD
    assert places.waits_since(rows.connection, POLICY, NOW + 29.0) == [(NOW, {run})]
    # When it gives way, then they are before it
    stages.give_way(rows.connection, run, POLICY, NOW + 50.0)
    row = rows.row(slow)
    assert (row.state, row.retries, row.held_places) == (State.QUEUED, 0, 1)
    for expected in (one, other, slow):
        assert free_places(rows, NOW + 51.0) == [expected]
        rows.complete(rows.begin(expected, now=NOW + 51.0))
    # And where nobody waits for its host, it waits for a worker only
    ((two, again),) = begun(rows, 1).items()
    stages.give_way(rows.connection, again, POLICY, NOW + 52.0)
    assert rows.held_by(two) == [None]


def test_whoever_was_led_away_is_not_asked_for_a_place(rows: Rows) -> None:
    (_, run), (_, busy), (_, refused) = begun(rows, 3).items()
    led(rows, run)
    refuse(rows, refused)
    assert places.waits_since(rows.connection, POLICY, NOW) == [(NOW, {busy})]
