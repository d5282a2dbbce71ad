"""What runs write: a stage is granted to one run, and that run's outcome is recorded once.

Every function locks the dataset's row first, so that another service cannot move it meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum

from sqlalchemy import Connection, insert, select, true, update

from pipeline.pyramids import page_tile_id
from pipeline.pyramids import tile_id as tile_id_of
from pipeline.storage import source_key
from statussvc.db.repository import places, refreshes
from statussvc.db.repository.holds import Holder, hold_one, hold_same_url, holder
from statussvc.db.repository.insert import insert_once
from statussvc.db.repository.outbox import WakeUp, confirm_published
from statussvc.db.repository.reusable import fresh_download
from statussvc.db.repository.transitions import Reply, end, has, is_found, lock, move_row, run_of, wait_again
from statussvc.db.repository.turns import Turns, hash_of
from statussvc.db.rows import Counts, DatasetRow, Facts, Failure, RunRow, fetch_all
from statussvc.db.tables import datasets, pyramids, runs
from statussvc.enums import Answer, Drop, Outcome, TileFormat
from statussvc.lifecycle import FINAL, WAITING, WORKING, Event, Stage, State
from statussvc.policy import MOST_REFUSALS, PENDING, PENDING_SECONDS, Policy

MOST_HOLDS = 100
"""Times that one call holds rows and looks for another. Each holds all rows of a URL, or up to a limit."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A stored source: the SHA-256 and number of its bytes, and the validators its server sent ("" for none).

    Parameters
    ----------
    lost_build: the build of its pyramid whose files the worker did not find in storage; "" for none.
    is_confirmed: whether the server only confirmed the known source, and nothing was stored.
    """

    sha256: str
    size: int
    etag: str = ""
    modified: str = ""
    lost_build: str = ""
    is_confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A stored build: the picture's size in pixels, its tiles' format, number and bytes, and warnings.

    Parameters
    ----------
    warnings: code and message of each.
    stretch: how samples became 8 bits: the rule, and the samples that became 0 and 255; None if they already were.
    channels: the channels that were composed: number, name, colour, and the figures of each as in `stretch`.
    more: what else is known: a Pyramid as JSON.
    page: the number of the page in the source, from 0, if all pages were asked for.
    """

    width: int
    height: int
    format: TileFormat
    tile_count: int
    bytes: int
    warnings: list[list[str]] = field(default_factory=list)
    stretch: list[str | float] | None = None
    channels: list[list[str | float]] | None = None
    more: str = ""
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """What a run is told that asked for a row.

    Parameters
    ----------
    result: the row as granted, or the reason why not.
    held: datasets that are held from now on.
    """

    dataset_id: str
    result: DatasetRow | Drop
    held: tuple[str, ...] = ()


def begin_next(
    connection: Connection, turns: Turns, wake_up: WakeUp, run_id: str, worker: str, policy: Policy, now: float
) -> Begun:
    """Grant to a run the row of the wake-up's stage whose turn it is, and hold those whose turn it cannot be.

    Where no row waits, the wake-up's own row gives the reason. Repeating the call returns the same grant.
    """
    earlier = run_of(connection, run_id)
    if earlier is not None:
        again = WakeUp(earlier.dataset_id, earlier.attempt, earlier.stage)
        return begin(connection, again, run_id, worker, policy, now)
    row = lock(connection, wake_up.dataset_id)
    published_at = None
    if row is not None and _waits(row, wake_up):
        if row.published_at is None:
            # The wake-up came before its confirm. If it begins another row, this one must not wait for a second.
            confirm_published(connection, wake_up, now, turns)
        published_at = row.published_at or now
        turns.join(connection, wake_up.stage, row.host_hash)
    held: list[str] = []
    for _ in range(MOST_HOLDS):
        waiting = turns.next(connection, wake_up.stage)
        # Its own row may wait for another attempt than the wake-up names: then that one is begun.
        chosen = wake_up if waiting is None else WakeUp(waiting.dataset_id, waiting.attempt, wake_up.stage)
        begun = begin(connection, chosen, run_id, worker, policy, now)
        held += begun.held
        if begun.result is not Drop.HELD or waiting is None:
            break
    if not isinstance(begun.result, Drop):
        # The outbox finds lost wake-ups by those that arrive, not by whose turn it is.
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(published_at=published_at))
    return replace(begun, held=tuple(held))


def begin(connection: Connection, wake_up: WakeUp, run_id: str, worker: str, policy: Policy, now: float) -> Begun:
    """Grant a waiting stage to a run, unless the row has to wait for more than a worker: then it is held.

    Repeating the call with the same run_id returns the same grant.
    """
    row = lock(connection, wake_up.dataset_id)
    reason = _why_not(connection, row, wake_up, run_id, now)
    if row is None or reason is not None:
        return Begun(wake_up.dataset_id, reason or Drop.DELETED)
    if row.run_id == run_id:
        return Begun(row.dataset_id, row)
    if wake_up.stage is Stage.INGEST:
        if row.held_by is not None:
            return Begun(row.dataset_id, Drop.HELD)
        if by := holder(connection, row.url, row.expected_sha256, row):
            return Begun(row.dataset_id, Drop.HELD, tuple(hold_same_url(connection, row.url, by)))
        fresh = fresh_download(connection, row.url, row.expected_sha256, policy.source_fresh, now, row)
        if fresh is not None:
            return Begun(row.dataset_id, Drop.HELD, tuple(hold_one(connection, row, fresh.dataset_id)))
        allows = places.limit(connection, row.host_hash, policy, now)
        if (
            row.host_hash
            and allows
            and (
                places.is_full(connection, row.host_hash, allows)
                or places.is_behind_others(connection, row.host_hash, row, policy, now)
            )
        ):
            return Begun(row.dataset_id, Drop.HELD, tuple(places.hold(connection, row, allows, policy, now)))
    connection.execute(
        insert(runs).values(
            run_id=run_id,
            dataset_id=row.dataset_id,
            attempt=row.attempt,
            stage=wake_up.stage,
            worker=worker,
            begun_at=now,
            published_at=row.published_at,
            bytes_downloaded=0,
            tiles_done=0,
        )
    )
    move_row(connection, row, Event.BEGIN, now, run_id=run_id, started_at=row.started_at or now)
    held: Collection[str] = ()
    if wake_up.stage is Stage.INGEST:
        held = hold_same_url(connection, row.url, Holder(row.dataset_id, row.expected_sha256))
    granted = fetch_all(connection, DatasetRow, select(datasets).where(datasets.c.seq == row.seq))[0]
    return Begun(row.dataset_id, granted, tuple(held))


def _why_not(connection: Connection, row: DatasetRow | None, wake_up: WakeUp, run_id: str, now: float) -> Drop | None:
    """Why a row does not wait for a wake-up's stage; None where it does, or the run has it already."""
    if row is None or row.deleted_at is not None:
        return Drop.DELETED
    if row.state is State.CANCELLED:
        return Drop.CANCELLED
    if row.state in FINAL:
        return Drop.FINISHED
    asked = (wake_up.attempt, wake_up.stage)
    if row.state in WORKING:
        if row.run_id == run_id:
            return None
        return Drop.BUSY if (row.attempt, WORKING[row.state]) == asked else Drop.SUPERSEDED
    if (row.attempt, WAITING[row.state]) != asked or run_of(connection, run_id) is not None:
        return Drop.SUPERSEDED
    if wake_up.stage is Stage.TILER and is_found(connection, row, row.tile_id):
        move_row(connection, row, Event.FOUND, now)
        return Drop.FINISHED
    return None


def describe(connection: Connection, run_id: str, facts: Facts) -> None:
    """Write what a run at work has found out into its dataset's row."""
    if facts == Facts():
        return
    connection.execute(
        update(datasets).where(datasets.c.run_id == run_id).values(**facts.columns(), revision=datasets.c.revision + 1)
    )


def note_host(connection: Connection, run_id: str, host: str) -> None:
    """Write down which host a run downloads from, by its hash."""
    connection.execute(update(runs).where(runs.c.run_id == run_id).values(host_hash=host))


def complete_ingest(
    connection: Connection, run_id: str, fetched: Fetched, now: float, publish_lease: float = 15.0
) -> Reply:
    """Record that the source is stored. READY at once where its pyramid is built, else it waits for the tiler.

    Parameters
    ----------
    publish_lease: seconds for which the next wake-up is the caller's to publish.
    """
    current = _current(connection, run_id, Outcome.COMPLETED, Stage.INGEST)
    if isinstance(current, Reply):
        return current
    run, row = current
    tile_id = tile_id_of(fetched.sha256, row.options)
    values = {
        "source_key": source_key(row.dataset_id, row.attempt),
        "source_sha256": fetched.sha256,
        "source_bytes": fetched.size,
        "source_etag": fetched.etag,
        "source_modified": fetched.modified,
        "tile_id": tile_id,
    }
    if fetched.lost_build:
        # The next build replaces it. Where one has done so already, its name differs, and it stays.
        lost = (pyramids.c.tile_id == tile_id) & (pyramids.c.build == fetched.lost_build)
        connection.execute(update(pyramids).where(lost).values(lost=True))
    if fetched.is_confirmed:
        if refreshes.is_confirmed(connection, row, fetched.sha256):
            move_row(connection, row, Event.FOUND, now, tile_id=tile_id)
        else:
            # Somebody has asked for more meanwhile, or its pyramid is lost: the file is wanted after all.
            wait_again(connection, row, Event.GIVEN_BACK, now)
        return end(connection, run, Outcome.COMPLETED, Answer.WON, now)
    if is_found(connection, row, tile_id):
        move_row(connection, row, Event.FOUND, now, **values)
        return end(connection, run, Outcome.COMPLETED, Answer.WON, now)
    # The ingest worker publishes the tiler's wake-up itself, so it gets the lease that the relay would get.
    move_row(connection, row, Event.DONE, now, **values, leased_until=now + publish_lease)
    return end(connection, run, Outcome.COMPLETED, Answer.WON, now, next_attempt=row.attempt)


def complete_tiler(
    connection: Connection, run_id: str, built: Built, now: float, further: Sequence[Built] = ()
) -> Reply:
    """Record that a build is stored. The first build of a tile_id counts; it replaces one lost or being deleted.

    A build that was forced replaces any.

    Parameters
    ----------
    further: the builds of the pages after the first one, if all pages were asked for.
    """
    current = _current(connection, run_id, Outcome.COMPLETED, Stage.TILER)
    if isinstance(current, Reply):
        return current
    run, row = current
    first = row.tile_id or ""
    same = {"build": run_id, "deleting": False, "lost": False, "tile_size": row.tile_size, "created_at": now}
    pages = len(further) + 1 if row.options.all_pages else None
    page = (built.page or 0) if pages else None
    values = {**same, **asdict(built), "pages": pages, "page": page}
    kept = [_keep(connection, first, values, forced=row.forced)]
    for each in further if pages else ():
        tile_id = page_tile_id(first, each.page or 0)
        values = {**same, **asdict(each), "first_page": first}
        kept.append(_keep(connection, tile_id, values, forced=row.forced))
    if any(each is _Kept.REPLACED for each in kept):
        # For all datasets that show the replaced build. They are ready, so nobody watches them any more.
        connection.execute(
            update(datasets)
            .where(datasets.c.tile_id == first, has(datasets.c.state, State.READY))
            .values(revision=datasets.c.revision + 1)
        )
    move_row(connection, row, Event.DONE, now)
    won = any(each is not _Kept.NO for each in kept)
    return end(connection, run, Outcome.COMPLETED, Answer.WON if won else Answer.LOST, now)


class _Kept(Enum):
    """Whether a build counts."""

    NO = 0
    NEW = 1
    REPLACED = 2


def _keep(connection: Connection, tile_id: str, values: Mapping[str, object], *, forced: bool) -> _Kept:
    """Have a build count, unless another one does. One that was forced replaces any."""
    if insert_once(connection, pyramids, tile_id=tile_id, **values):
        return _Kept.NEW
    may_go = true() if forced else pyramids.c.deleting | pyramids.c.lost
    replaced = update(pyramids).where(pyramids.c.tile_id == tile_id, may_go).values(**values)
    return _Kept.REPLACED if connection.execute(replaced).rowcount else _Kept.NO


def complete_inspect(connection: Connection, run_id: str, report: str, now: float) -> Reply:
    """Record an inspection's report, as it is given."""
    current = _current(connection, run_id, Outcome.COMPLETED, Stage.INSPECT)
    if isinstance(current, Reply):
        return current
    run, row = current
    move_row(connection, row, Event.DONE, now, report=report)
    return end(connection, run, Outcome.COMPLETED, Answer.WON, now)


def fail(
    connection: Connection, run_id: str, failure: Failure, policy: Policy, now: float, served: Collection[str] = ()
) -> Reply:
    """Record that the stage failed: retry it after a delay, or fail the dataset.

    An inspection is not retried, since somebody waits for its answer; whether a retry can help is kept. A source that
    its server still has to fetch is waited for, and costs no retry.

    Parameters
    ----------
    served: the runs at work that have received bytes from their source.
    """
    current = _current(connection, run_id, Outcome.FAILED)
    if isinstance(current, Reply):
        return current
    run, row = current
    is_pending = failure.code == PENDING and now - (row.started_at or now) < PENDING_SECONDS
    retries = row.retries + (not is_pending)
    reason = failure.columns()
    if (
        row.state is State.DOWNLOADING
        and failure.retryable
        and failure.code != PENDING
        and _waits_for_source(connection, row, run, failure, policy, now, served)
    ):
        return end(connection, run, Outcome.FAILED, Answer.WON, now)
    is_source_lost = failure.code == "source_missing" and row.state is State.TILING
    if is_source_lost:
        reason["source_key"] = None  # also where the dataset fails: a retry must download it again
    if not failure.retryable or row.state is State.INSPECTING or retries > policy.retries_after(failure.code):
        move_row(connection, row, Event.FAIL, now, **reason)
    elif is_source_lost:
        wait_again(connection, row, Event.SOURCE_LOST, now, **reason, retries=retries)
    else:
        if is_pending:
            delay = policy.pending_delay(row.attempt, failure.retry_after)
        else:
            delay = policy.back_off(retries, failure.retry_after)
        not_before = now + delay
        wait_again(connection, row, Event.GIVEN_BACK, now, **reason, retries=retries, not_before=not_before)
    return end(connection, run, Outcome.FAILED, Answer.WON, now)


def _waits_for_source(
    connection: Connection,
    row: DatasetRow,
    run: RunRow,
    failure: Failure,
    policy: Policy,
    now: float,
    served: Collection[str],
) -> bool:
    """Have a row wait for its host, or for as long as its source asks, where that costs no retry.

    Its host is the one of its URL. Whatever another one answers, to which a redirect or a description led, only this
    row waits: a stranger's server must not speak for the host that others download from. Nor is it why that host
    refuses: only downloads that come from the host that refused count. Only beside one to which the host sends a file
    is a refusal a limit of the host: it may as well refuse all that are at work, each for its own reason.
    """
    refusing = hash_of(failure.refused_by) if failure.refused_by else row.host_hash
    is_own = refusing == row.host_hash
    at_work = places.others_at(connection, refusing, row)
    others, is_serving = len(at_work), any(one in served for one in at_work)
    if failure.is_refusal and not is_serving and places.has_overlapped(connection, refusing, row, run, now):
        others, is_serving = max(others, 1), True
    is_crowded = failure.is_refusal and others > 0 and row.host_hash is not None
    if row.host_hash is not None and is_crowded and is_own and is_serving and row.refusals < MOST_REFUSALS:
        known = places.limit(connection, row.host_hash, policy, now)
        allowed = places.shrink(connection, row.host_hash, others, known, now)
        # A host that refuses the same one again may mean that one, so it waits for longer each time.
        delay = max(
            min(failure.retry_after, policy.retry_after_cap),
            policy.back_off(row.refusals, 0.0) if row.refusals else 0.0,
        )
        waits = places.held_columns(row.host_hash, places.Limit(allowed, None))
        not_before = now + delay if delay else None
        refusals = row.refusals + 1
        wait_again(connection, row, Event.GIVEN_BACK, now, **waits, not_before=not_before, refusals=refusals)
        return True
    reason = failure.columns()
    wait = policy.asked_wait(failure.retry_after, row.waited)
    if not wait:
        if not is_crowded or row.refusals >= MOST_REFUSALS:
            return False
        refusals = row.refusals + 1
        not_before = now + policy.back_off(refusals, failure.retry_after)
        wait_again(connection, row, Event.GIVEN_BACK, now, **reason, not_before=not_before, refusals=refusals)
        return True
    if row.host_hash is not None and failure.is_refusal and is_own and not is_crowded:
        places.block(connection, row.host_hash, now + wait, now)
    waited = row.waited + wait
    wait_again(connection, row, Event.GIVEN_BACK, now, **reason, not_before=now + wait, waited=waited)
    return True


def release(connection: Connection, run_id: str, now: float) -> Reply:
    """Record that the worker gave the stage back: another attempt, and nothing counts against the dataset."""
    current = _current(connection, run_id, Outcome.RELEASED)
    if isinstance(current, Reply):
        return current
    run, row = current
    wait_again(connection, row, Event.GIVEN_BACK, now)
    return end(connection, run, Outcome.RELEASED, Answer.WON, now)


def give_way(connection: Connection, run_id: str, policy: Policy, now: float) -> Reply:
    """Record that the worker gave the stage back for others. If they wait for the row's host, it waits behind them."""
    current = _current(connection, run_id, Outcome.RELEASED)
    if isinstance(current, Reply):
        return current
    run, row = current
    is_download = row.state is State.DOWNLOADING
    behind = places.behind_others(connection, row, policy, now) if is_download else {}
    wait_again(connection, row, Event.GIVEN_BACK, now, **behind)
    return end(connection, run, Outcome.RELEASED, Answer.WON, now)


def expire(connection: Connection, run_id: str, policy: Policy, now: float) -> Reply:
    """Record that the run's worker died: another attempt, or at the crash limit the dataset fails.

    What the run reports later is refused.
    """
    current = _current(connection, run_id, Outcome.EXPIRED)
    if isinstance(current, Reply):
        return current
    run, row = current
    crashes = row.crashes + 1
    if crashes >= policy.crash_limit:
        died = Failure("worker_died", f"The worker died {crashes} times over this dataset.", retryable=True)
        move_row(connection, row, Event.FAIL, now, crashes=crashes, **died.columns())
    else:
        wait_again(connection, row, Event.GIVEN_BACK, now, crashes=crashes)
    return end(connection, run, Outcome.EXPIRED, Answer.REFUSED, now)


def at_work(connection: Connection, known: Collection[str]) -> list[RunRow]:
    """All runs at work. Raises the revision of datasets whose run is not known: its live counts start again."""
    found = fetch_all(
        connection,
        RunRow,
        select(runs)
        .join(datasets, datasets.c.run_id == runs.c.run_id)
        .where(datasets.c.state.in_(list(WORKING)), datasets.c.deleted_at.is_(None)),
    )
    for run in found:
        if run.run_id not in known:
            connection.execute(
                update(datasets).where(datasets.c.run_id == run.run_id).values(revision=datasets.c.revision + 1)
            )
    return found


def flush_progress(connection: Connection, counts: Mapping[str, Counts]) -> None:
    """Write the live counts of runs, by run_id, so that they survive a restart."""
    for run_id, its in counts.items():
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(**asdict(its)))


def _current(
    connection: Connection, run_id: str, outcome: Outcome, stage: Stage | None = None
) -> tuple[RunRow, DatasetRow] | Reply:
    """The run and its locked row where its outcome still counts; else the reply to give, or to give again."""
    dataset_id = connection.scalars(select(runs.c.dataset_id).where(runs.c.run_id == run_id)).one_or_none()
    if dataset_id is None:
        return Reply(Answer.REFUSED)
    row = lock(connection, dataset_id)
    # Read after the lock: another service may have ended the run meanwhile.
    run = run_of(connection, run_id)
    if run is None or row is None:
        return Reply(Answer.REFUSED, dataset_id)
    if run.ended_at is not None and run.outcome is outcome and run.answer is not None:
        return Reply(run.answer, dataset_id, run.next_attempt)
    if run.ended_at is not None or row.run_id != run_id or stage not in (None, run.stage):
        return Reply(Answer.REFUSED, dataset_id)
    return run, row


def _waits(row: DatasetRow, wake_up: WakeUp) -> bool:
    """Whether a row waits for what a wake-up asks, and for nothing else."""
    stage = None if row.deleted_at is not None or row.held_by is not None else WAITING.get(row.state)
    return (row.attempt, stage) == (wake_up.attempt, wake_up.stage)
