"""What runs write: a stage is granted to one run, and its outcome is taken once.

Every function locks the dataset's row first, so that a second service cannot move it meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from pipeline.pyramids import Options
from pipeline.pyramids import tile_id as tile_id_of
from pipeline.storage import source_key
from statussvc.db.repository import turns
from statussvc.db.repository.insert import insert_once
from statussvc.db.repository.moves import Reply, end, has, lock, move_to, run_of, wait_again
from statussvc.db.repository.outbox import LEASE_SECONDS, LOST_AFTER
from statussvc.db.tables import datasets, pyramids, runs
from statussvc.enums import Answer, Drop, Outcome
from statussvc.lifecycle import FINAL, WAITING, WORKING, Event, Stage, State, move

SLOW_RETRIES = 1
"""Of a source that was too slow: each try holds a slot for a minute, and what one has brought the next keeps."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts against a dataset, how long it waits, and how long its source is kept. Seconds; None: for ever.

    `slot_rate` and `slot_seconds` are as slots.who_gives_way has them.
    """

    crash_limit: int
    retry_limit: int
    retry_base: float
    retry_cap: float
    keep_sources: float | None = None
    lost_after: float = LOST_AFTER
    publish_lease: float = LEASE_SECONDS
    slot_rate: float = 0.0
    slot_seconds: float = 5.0

    def back_off(self, retries: int, retry_after: float) -> float:
        """Capped and jittered exponential back-off; a source's own wish is heard up to the cap."""
        delay: float = min(self.retry_cap, self.retry_base * 2 ** min(retries - 1, 30)) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, hides nothing
        return max(delay, min(retry_after, self.retry_cap))


@dataclass(frozen=True, slots=True)
class Fetched:
    """A stored source: its bytes' hash and number, and the validators its server gave (empty where it gave none).

    Parameters
    ----------
    lost_build: the build of its pyramid whose files are not in storage; empty where none is missed.
    """

    sha256: str
    size: int
    etag: str = ""
    modified: str = ""
    lost_build: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stage could not be done."""

    code: str
    message: str
    retryable: bool
    retry_after: float = 0.0


def begin(
    connection: Connection,
    dataset_id: str,
    attempt: int,
    stage: Stage,
    run_id: str,
    worker: str,
    now: float,
    *,
    in_turn: bool = False,
) -> Row[Any] | Drop:
    """Grants a waiting stage to a run. Returns the row as granted, or the reason of a drop.

    Repeating the call with the same run_id gives the same grant.

    Parameters
    ----------
    in_turn: whether the row is put back where it is another host's turn.
    """
    row = lock(connection, dataset_id)
    if row is None or row.deleted_at is not None:
        return Drop.DELETED
    if row.state == State.CANCELLED:
        return Drop.CANCELLED
    if row.state in FINAL:
        return Drop.FINISHED
    if row.state in WORKING:
        if row.run_id == run_id:
            return row
        return Drop.BUSY if (row.attempt, WORKING[row.state]) == (attempt, stage) else Drop.SUPERSEDED
    if (row.attempt, WAITING[row.state]) != (attempt, stage) or run_of(connection, run_id) is not None:
        return Drop.SUPERSEDED
    if stage is Stage.TILER and _built(connection, row.tile_id):
        move_to(connection, row, move(row.state, Event.FOUND), now)
        return Drop.FINISHED
    if in_turn and turns.is_others_turn(connection, row, stage):
        turns.defer(connection, row, now)
        return Drop.DEFERRED
    connection.execute(
        insert(runs).values(
            run_id=run_id,
            dataset_id=dataset_id,
            attempt=attempt,
            stage=stage,
            worker=worker,
            begun_at=now,
            published_at=row.published_at,
            bytes_downloaded=0,
            tiles_done=0,
        )
    )
    move_to(connection, row, move(row.state, Event.BEGIN), now, run_id=run_id, started_at=row.started_at or now)
    return connection.execute(select(datasets).where(datasets.c.seq == row.seq)).one()


def describe(connection: Connection, run_id: str, facts: dict[str, Any]) -> None:
    """Writes what a run at work found out about its source, or made of it, into the dataset's row."""
    connection.execute(
        update(datasets).where(datasets.c.run_id == run_id).values(**facts, revision=datasets.c.revision + 1)
    )


def complete_ingest(
    connection: Connection,
    run_id: str,
    fetched: Fetched,
    options: Callable[[Row[Any]], Options],
    now: float,
    publish_lease: float = LEASE_SECONDS,
) -> Reply:
    """The source is stored. READY at once where its pyramid is built already, else it waits for the tiler.

    Parameters
    ----------
    options: gives what a row asks of its pyramid.
    publish_lease: seconds for which the next wake-up is the caller's to publish.
    """
    run, row, known = _current(connection, run_id, Outcome.COMPLETED, Stage.INGEST)
    if known is not None:
        return known
    tile_id = tile_id_of(fetched.sha256, options(row))
    values = {
        "source_key": source_key(row.dataset_id, row.attempt),
        "source_sha256": fetched.sha256,
        "source_bytes": fetched.size,
        "source_etag": fetched.etag,
        "source_modified": fetched.modified,
        "tile_id": tile_id,
    }
    if fetched.lost_build:
        # The next build takes its place; one that has taken it already has another name, and stays.
        lost = (pyramids.c.tile_id == tile_id) & (pyramids.c.build == fetched.lost_build)
        connection.execute(update(pyramids).where(lost).values(lost=True))
    if _built(connection, tile_id):
        move_to(connection, row, move(row.state, Event.FOUND), now, **values)
        return end(connection, run, Outcome.COMPLETED, Answer.WON, now)
    # The ingest worker gets the lease of the relay: it publishes the tiler's wake-up itself.
    move_to(connection, row, move(row.state, Event.DONE), now, **values, leased_until=now + publish_lease)
    return end(connection, run, Outcome.COMPLETED, Answer.WON, now, next_attempt=row.attempt)


def complete_tiler(connection: Connection, run_id: str, made: dict[str, Any], now: float) -> Reply:
    """The build is stored. The first build of a tile_id counts; one that is lost or being deleted is replaced."""
    run, row, known = _current(connection, run_id, Outcome.COMPLETED, Stage.TILER)
    if known is not None:
        return known
    values = {"build": run_id, "deleting": False, "lost": False, "tile_size": row.tile_size, "created_at": now, **made}
    won = insert_once(connection, pyramids, tile_id=row.tile_id, **values)
    if not won:
        won = (
            connection.execute(
                update(pyramids)
                .where(pyramids.c.tile_id == row.tile_id, pyramids.c.deleting | pyramids.c.lost)
                .values(**values)
            ).rowcount
            == 1
        )
        if won:
            # Of all that show the lost one. They are ready: their watches have ended, and nobody has to be told.
            connection.execute(
                update(datasets)
                .where(datasets.c.tile_id == row.tile_id, has(datasets.c.state, State.READY))
                .values(revision=datasets.c.revision + 1)
            )
    move_to(connection, row, move(row.state, Event.DONE), now)
    return end(connection, run, Outcome.COMPLETED, Answer.WON if won else Answer.LOST, now)


def complete_inspect(connection: Connection, run_id: str, report: str, now: float) -> Reply:
    """The source was looked at. The report is kept as it is given."""
    run, row, known = _current(connection, run_id, Outcome.COMPLETED, Stage.INSPECT)
    if known is not None:
        return known
    move_to(connection, row, move(row.state, Event.DONE), now, report=report)
    return end(connection, run, Outcome.COMPLETED, Answer.WON, now)


def fail(connection: Connection, run_id: str, failure: Failure, policy: Policy, now: float) -> Reply:
    """The stage could not be done: again after a back-off, or failed.

    An inspection is never tried again by itself: somebody waits for what it says. That another may help is kept.
    """
    run, row, known = _current(connection, run_id, Outcome.FAILED)
    if known is not None:
        return known
    retries = row.retries + 1
    reason: dict[str, Any] = {
        "error_code": failure.code,
        "error_message": failure.message,
        "error_retryable": failure.retryable,
    }
    source_lost = failure.code == "source_missing" and row.state == State.TILING
    if source_lost:
        reason["source_key"] = None  # also where it fails for good: a retry must fetch it again
    limit = min(policy.retry_limit, SLOW_RETRIES) if failure.code == "source_too_slow" else policy.retry_limit
    if not failure.retryable or row.state == State.INSPECTING or retries > limit:
        move_to(connection, row, move(row.state, Event.FAIL), now, **reason)
    elif source_lost:
        wait_again(connection, row, Event.SOURCE_LOST, now, **reason, retries=retries)
    else:
        not_before = now + policy.back_off(retries, failure.retry_after)
        wait_again(connection, row, Event.GIVEN_BACK, now, **reason, retries=retries, not_before=not_before)
    return end(connection, run, Outcome.FAILED, Answer.WON, now)


def release(connection: Connection, run_id: str, now: float) -> Reply:
    """The worker gives the stage back: another attempt, and nothing counts against the dataset."""
    run, row, known = _current(connection, run_id, Outcome.RELEASED)
    if known is not None:
        return known
    wait_again(connection, row, Event.GIVEN_BACK, now)
    return end(connection, run, Outcome.RELEASED, Answer.WON, now)


def expire(connection: Connection, run_id: str, policy: Policy, now: float) -> Reply:
    """The run's worker is dead: another attempt, up to the limit of crashes. Later outcomes are refused."""
    run, row, known = _current(connection, run_id, Outcome.EXPIRED)
    if known is not None:
        return known
    crashes = row.crashes + 1
    if crashes >= policy.crash_limit:
        message = f"The worker died {crashes} times over this dataset."
        move_to(
            connection,
            row,
            move(row.state, Event.FAIL),
            now,
            crashes=crashes,
            error_code="worker_died",
            error_message=message,
            error_retryable=True,
        )
    else:
        wait_again(connection, row, Event.GIVEN_BACK, now, crashes=crashes)
    return end(connection, run, Outcome.EXPIRED, Answer.REFUSED, now)


def at_work(connection: Connection, known: Collection[str]) -> list[Row[Any]]:
    """All runs at work. The revisions of those not known are raised: their live counts start anew."""
    found = list(
        connection.execute(
            select(runs)
            .join(datasets, datasets.c.run_id == runs.c.run_id)
            .where(datasets.c.state.in_(list(WORKING)), datasets.c.deleted_at.is_(None))
        )
    )
    for run in found:
        if run.run_id not in known:
            connection.execute(
                update(datasets).where(datasets.c.run_id == run.run_id).values(revision=datasets.c.revision + 1)
            )
    return found


def flush_progress(connection: Connection, values: dict[str, dict[str, Any]]) -> None:
    """Writes the live counts of runs, by run_id, so that a restart shows them."""
    for run_id, counts in values.items():
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(**counts))


def _current(
    connection: Connection, run_id: str, outcome: Outcome, stage: Stage | None = None
) -> tuple[Any, Any, Reply | None]:
    """The run and its locked row where its outcome still counts; else the answer to give (again)."""
    dataset_id = connection.scalar(select(runs.c.dataset_id).where(runs.c.run_id == run_id))
    if dataset_id is None:
        return None, None, Reply(Answer.REFUSED)
    row = lock(connection, dataset_id)
    # Read behind the lock: a second service may have ended the run meanwhile.
    run = connection.execute(select(runs).where(runs.c.run_id == run_id)).one()
    if run.ended_at is not None and run.outcome == outcome:
        return run, row, Reply(run.answer, dataset_id, run.next_attempt)
    if run.ended_at is not None or row is None or row.run_id != run_id or stage not in (None, run.stage):
        return run, row, Reply(Answer.REFUSED, dataset_id)
    return run, row, None


def _built(connection: Connection, tile_id: str) -> bool:
    # Locked, so that a second service cannot mark it for deletion before this row is seen to refer to it.
    query = select(pyramids.c.deleting | pyramids.c.lost).where(pyramids.c.tile_id == tile_id).with_for_update()
    return connection.scalar(query) in (False, 0)
