"""The relay: a thread that publishes the wake-ups in statussvc's outbox to the broker.

    LeasePending ▸ publish, with the broker's confirm ▸ ConfirmPublished

A POST only commits a row and pokes the relay. If the broker or statussvc cannot be reached, the relay backs off and
tries again. Wake-ups that were leased but not published are kept, and published first. Publishing one twice does no
harm. If ConfirmPublished is lost, the row's lease expires and the wake-up is published again. A wake-up for a stage
that only a newer version knows is skipped: a gateway of that version leases it later.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence

import dramatiq
from dramatiq.errors import BrokerConnectionError

from gateway.background.backoff import Backoff
from gateway.background.broker_link import BrokerAway, BrokerLink, link_to
from gateway.background.restarted_thread import RestartedThread
from pipeline.errors import StatusUnavailable, UnknownStage
from pipeline.logs import Repeats
from pipeline.messages import is_blocked, publish
from pipeline.status import StatusClient
from protos.tilewright.status.v1 import status_pb2 as pb

IDLE_INTERVAL = 1.0
"""Seconds between two rounds without a poke: retries become due, and ingest may have failed to publish."""

FIRST_BACK_OFF = 0.5
LONGEST_BACK_OFF = 5.0
"""Seconds. A broker that is back is found within 5 s, and a broker that is starting is not flooded."""

BATCH = 100
"""Wake-ups leased at once. A confirmed publish takes 0.4 ms, so all are out well before their lease of 15 s expires."""

OK = "ok"

BLOCKED = "RabbitMQ accepts no messages: its memory or disk alarm is set. Free memory or disk space there."

logger = logging.getLogger(__name__)


class Relay:
    """Publishes waiting wake-ups until stopped, from its own thread only: pika's connections belong to one thread.

    Parameters
    ----------
    status: a client for the relay only; the caller closes it.
    broker: any Dramatiq broker; the caller closes it after stop().
    link: connection for queries to the broker; default: the link for the broker's type.
    queue_check_interval: seconds between two checks for empty queues.
    """

    def __init__(
        self,
        status: StatusClient,
        broker: dramatiq.Broker,
        link: BrokerLink | None = None,
        *,
        queue_check_interval: float = 30.0,
    ) -> None:
        self._status = status
        self._broker = broker
        self._link = link or link_to(broker)
        self._unpublished: deque[pb.WakeUp] = deque()
        self._state = "The broker has not been reached yet."
        self._status_away = False
        self._repeats = Repeats()
        self._queue_check_interval = queue_check_interval
        self._emptiness_due = time.monotonic()
        self._thread = RestartedThread("relay", self._run)

    def start(self) -> None:
        """Start the thread. Neither the broker nor statussvc has to be reachable."""
        self._thread.start()

    def poke(self) -> None:
        """Ask for a round now, because a row was committed. Returns at once. Thread-safe."""
        self._thread.poke()

    def state(self) -> str:
        """Return "ok", or why wake-ups cannot be published at the moment. Thread-safe."""
        return self._thread.failure or self._state

    def stop(self) -> None:
        """Stop after the current wake-up. The others wait in the outbox."""
        self._thread.stop()

    def _run(self) -> None:
        backoff = Backoff(FIRST_BACK_OFF, LONGEST_BACK_OFF)
        while not self._thread.stopping.is_set():
            self._thread.wake.clear()
            if self._round():
                backoff.reset()
                self._thread.wake.wait(IDLE_INTERVAL)
            else:
                # Ignores pokes here: a hundred POSTs must not cause a hundred attempts to connect.
                self._thread.stopping.wait(backoff.next())
        self._link.close()

    def _round(self) -> bool:
        """Publish all waiting wake-ups. Return whether the broker and statussvc were reachable."""
        try:
            self._link.touch()
            if not self._unpublished:
                # A reachable broker may still refuse messages. If some are waiting, only a publisher confirm shows it.
                self._note_broker(OK)
            while not self._thread.stopping.is_set() and self._publish_batch():
                pass
        except BrokerAway as error:
            self._note_broker(str(error))
            return False
        except BrokerConnectionError as error:
            self._note_broker(BLOCKED if is_blocked(error) else f"The broker refuses messages ({error.message!r}).")
            return False
        except StatusUnavailable as error:
            self._note_status(error)
            return False
        except Exception as error:
            logger.exception("the relay failed; trying again")
            self._note_broker(f"The relay failed ({type(error).__name__}).")
            return False
        self._note_status(None)
        return True

    def _publish_batch(self) -> bool:
        """Publish one batch. Return whether there may be more."""
        more = bool(self._unpublished)
        if not more:
            request = pb.LeasePendingRequest(limit=BATCH, empty_queues=self._empty_queues())
            self._unpublished.extend(self._status.lease_pending(request).wake_ups)
            more = len(self._unpublished) >= BATCH
        while self._unpublished and not self._thread.stopping.is_set():
            try:
                publish(self._broker, self._unpublished[0])
            except UnknownStage as error:
                self._unpublished.popleft()
                if (left_out := self._repeats.left_out("unknown stage")) is not None:
                    logger.warning("%s (%d more since this was last logged)", error, left_out)
                continue
            self._note_broker(OK)
            self._status.confirm_published(self._unpublished.popleft())
        return more

    def _empty_queues(self) -> Sequence[pb.Stage.ValueType]:
        if time.monotonic() < self._emptiness_due:
            return ()
        empty = self._link.empty_queues()
        self._emptiness_due = time.monotonic() + self._queue_check_interval
        return empty

    def _note_broker(self, state: str) -> None:
        if state != self._state:
            level = logging.INFO if state == OK else logging.WARNING
            logger.log(level, "broker: %s", "wake-ups are published" if state == OK else state)
            self._state = state

    def _note_status(self, error: StatusUnavailable | None) -> None:
        away = error is not None
        if away != self._status_away:
            logger.log(logging.WARNING if away else logging.INFO, "statussvc: %s", error or "reached again")
            self._status_away = away
