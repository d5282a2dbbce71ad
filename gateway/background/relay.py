"""The relay: a thread that carries wake-ups from statussvc's rows to the broker.

    LeasePending ▸ publish, with the broker's confirm ▸ ConfirmPublished

A POST only commits a row and pokes the relay. While the broker or statussvc is away the relay backs off and goes
on by itself. What was leased and could not be published is kept and published first: publishing twice does no
no harm, and neither does a confirm that is lost, since the row's lease then ends and it is published again. A wake-up
of a stage that only a newer version has is passed over: a gateway of that version leases it next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

import dramatiq
from dramatiq.errors import BrokerConnectionError

from gateway.background.broker_link import BrokerAway, BrokerLink, link_to
from gateway.background.kept_thread import KeptThread
from pipeline import faults
from pipeline.errors import StatusUnavailable, UnknownStage
from pipeline.logs import Repeats
from pipeline.messages import is_blocked, publish
from pipeline.status import StatusClient
from protos.tilewright.status.v1 import status_pb2 as pb

IDLE_INTERVAL = 1.0
"""Seconds between two looks without a poke: retries fall due, and ingest may have failed to publish."""

FIRST_BACK_OFF = 0.5
LONGEST_BACK_OFF = 5.0
"""Seconds. A broker that is back is found within five, and one that is starting is not hammered."""

BATCH = 100
"""Wake-ups leased at once: at 0.4 ms a confirmed publish they are out long before their lease of 15 s ends."""

STOP_PATIENCE = 2.0
"""Seconds that stop() waits for the thread. It may hang in a broken connection for longer; it is a daemon."""

OK = "ok"

BLOCKED = "RabbitMQ takes no messages: an alarm blocks it, since its memory or disk is short."

logger = logging.getLogger(__name__)


class Relay:
    """Publishes what waits, until stopped. Publishes from its own thread only: pika's connections are per thread.

    Parameters
    ----------
    status: a client of the relay's own; closing it is the caller's.
    broker: any Dramatiq broker; closing it is the caller's, after stop().
    link: how to ask the broker; by default as its kind has it.
    queue_check_interval: seconds between two looks at which queues are empty.
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
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._state = "The broker has not been reached yet."
        self._status_away = False
        self._repeats = Repeats()
        self._queue_check_interval = queue_check_interval
        self._emptiness_due = time.monotonic()
        self._thread = KeptThread("relay", self._run)

    def start(self) -> None:
        """Begin. Needs neither the broker nor statussvc to be there."""
        self._thread.start()

    def poke(self) -> None:
        """Have a look now: a row was committed. Returns at once; from any thread."""
        self._wake.set()

    def state(self) -> str:
        """Give "ok", or why wake-ups cannot be published at the moment. From any thread."""
        return self._thread.failure or self._state

    def stop(self) -> None:
        """End after the wake-up at hand. What is left waits in its rows."""
        self._stopping.set()
        self._wake.set()
        self._thread.stop(STOP_PATIENCE)

    def _run(self) -> None:
        pause = FIRST_BACK_OFF
        while not self._stopping.is_set():
            self._wake.clear()
            if self._round():
                pause = FIRST_BACK_OFF
                self._wake.wait(IDLE_INTERVAL)
            else:
                # Pokes are not heard here: a hundred POSTs must not make a hundred attempts to connect.
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_BACK_OFF)
        self._link.close()

    def _round(self) -> bool:
        """Publish all that waits. Returns whether broker and statussvc were there."""
        try:
            self._link.touch()
            if not self._unpublished:
                # A broker may be there and take no messages: with some at hand, only a confirm tells.
                self._note_broker(OK)
            while not self._stopping.is_set() and self._publish_batch():
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
        """Publish one batch. Returns whether there may be more."""
        more = bool(self._unpublished)
        if not more:
            request = pb.LeasePendingRequest(limit=BATCH, empty_queues=self._empty_queues())
            self._unpublished.extend(self._status.lease_pending(request).wake_ups)
            more = len(self._unpublished) >= BATCH
        while self._unpublished and not self._stopping.is_set():
            faults.reach("relay_before_publish")
            try:
                publish(self._broker, self._unpublished[0])
            except UnknownStage as error:
                self._unpublished.popleft()
                if (left_out := self._repeats.left_out("unknown stage")) is not None:
                    logger.warning("%s (%d more since this was said)", error, left_out)
                continue
            faults.reach("relay_after_publish")
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
