"""What the service does by itself: flush progress, keep leases and rows consistent, expire dead runs."""

from __future__ import annotations

import logging
from contextlib import suppress

from sqlalchemy import Connection

from statussvc.core import Core
from statussvc.db import Reply, RunRow, outbox, places, stages, turns
from statussvc.enums import StopReason
from statussvc.leases import Lease
from statussvc.lifecycle import Stage
from statussvc.slots import who_gives_way

logger = logging.getLogger(__name__)


class _Alive(Exception):
    """Raised to roll back where a run has sent a heartbeat after all."""


class Housekeeper:
    """Every method raises StatusUnavailable while the database is unavailable, and can then be called again.

    Only one service may do this, which Database.claim ensures: another one would adopt these runs, hear none of their
    heartbeats, and expire them.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    async def reconcile(self) -> None:
        """Flush progress, and make the leases match the rows.

        They differ after a start, and after a commit whose answer was lost. A run that is at work by its row needs a
        lease, or nothing would ever end it. A run whose row has moved on must stop.
        """
        leases, hub = self._core.leases, self._core.hub
        known, counts = leases.at_work(), leases.unflushed()

        def flush(connection: Connection) -> list[RunRow]:
            stages.flush_progress(connection, counts)
            return stages.at_work(connection, known)

        try:
            found = await self._core.database.keep_house(flush)
        except BaseException:  # also when the service is being stopped: it flushes once more
            leases.not_flushed(counts)
            raise
        for run in found:
            if leases.adopt(run):
                hub.notify(run.dataset_id)
        for run_id in known - {run.run_id for run in found}:
            if lease := leases.get(run_id):
                leases.stop(run_id, StopReason.SUPERSEDED)
                hub.notify(lease.dataset_id)

    async def share_slots(self) -> None:
        """Ask the slowest download to give its slot to others, and the slowest of a host its place, if any wait."""
        core = self._core
        at_work, now = core.leases.of(Stage.INGEST), core.leases.now
        for lease in at_work:
            # Includes what an earlier run has downloaded: while that is copied, nobody waits for the source.
            lease.received.note(lease.progress.bytes_downloaded, now)
        if not at_work or not core.policy.slot_rate:
            return
        policy, today = core.policy, core.now()

        def look(connection: Connection) -> tuple[float | None, list[tuple[float, set[str]]]]:
            return turns.waits_since(connection, Stage.INGEST), places.waits_since(connection, policy, today)

        since, at_hosts = await core.database.read(look)
        if since is not None:
            chosen = who_gives_way(at_work, now, today - since, policy.slot_rate, policy.slot_seconds)
            self._ask(chosen, now, for_place=False)
        for since_then, run_ids in at_hosts:
            own = [lease for lease in at_work if lease.run_id in run_ids]
            waited = today - since_then
            chosen = who_gives_way(own, now, waited, policy.slot_rate, policy.slot_seconds, for_place=True)
            self._ask(chosen, now, for_place=True)

    @staticmethod
    def _ask(chosen: Lease | None, now: float, *, for_place: bool) -> None:
        if chosen is not None:
            chosen.gives_way_since, chosen.gives_place = now, for_place
            others = "others that wait for its host" if for_place else "others"
            logger.info("%s: run %s is asked to give way to %s", chosen.dataset_id, chosen.run_id, others)

    async def expire(self, longest: float) -> None:
        """Expire the runs whose heartbeats stopped. At most `longest` seconds since the last call count.

        A run that sends a heartbeat while others are expired, or while its own end is written, stays alive.
        """
        for lease in self._core.leases.tick(longest):
            with suppress(_Alive):
                await self._expire(lease.run_id, unless_alive=True)

    async def abandon(self, *, blame: bool) -> None:
        """End all runs, and make every waiting row due for publishing.

        Parameters
        ----------
        blame: whether this counts as a crash of each run's dataset.
        """
        for run_id in self._core.leases.at_work():
            await (self._expire(run_id, unless_alive=False) if blame else self._release(run_id))
        await self._core.database.keep_house(outbox.forget_published)

    async def _expire(self, run_id: str, *, unless_alive: bool) -> None:
        policy, now, leases = self._core.policy, self._core.now(), self._core.leases

        def expire(connection: Connection) -> Reply:
            reply = stages.expire(connection, run_id, policy, now)
            # Checked last: the call had to wait for its thread and for the row's lock.
            if unless_alive and not leases.is_dead(run_id):
                raise _Alive
            return reply

        reply = await self._core.database.keep_house(expire)
        self._ended(run_id, reply)
        logger.warning("%s: run %s died", reply.dataset_id, run_id)

    async def _release(self, run_id: str) -> None:
        now = self._core.now()
        reply = await self._core.database.keep_house(lambda connection: stages.release(connection, run_id, now))
        self._ended(run_id, reply)
        logger.info("%s: run %s was released", reply.dataset_id, run_id)

    def _ended(self, run_id: str, reply: Reply) -> None:
        self._core.leases.end(run_id)
        self._core.hub.notify(reply.dataset_id)
