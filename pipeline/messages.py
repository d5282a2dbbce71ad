"""The broker, its queues and its messages, each defined once for producers and consumers.

A message is only a wake-up `{dataset_id, attempt}`: the row in statussvc is the truth, so a lost, late or
doubled message does no harm (docs/architecture.md, "The row is the truth").
"""

from __future__ import annotations

import threading
from enum import StrEnum
from typing import TYPE_CHECKING

import dramatiq
from dramatiq.brokers import rabbitmq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Middleware
from pika.exceptions import ConnectionBlockedTimeout

from pipeline.errors import UnknownStage
from protos.tilewright.status.v1 import status_pb2 as pb

if TYPE_CHECKING:
    from dramatiq.worker import Worker

SOCKET_TIMEOUT = 10.0
"""Seconds. A broker blocked by an alarm would hold a confirmed publish for ever; a row's lease (15 s) is longer."""

# Dramatiq's six attempts at a broker that an alarm blocks would take a minute: publish() knows when one more can help.
rabbitmq.MAX_ENQUEUE_ATTEMPTS = 1

MAX_PRIORITY = 4
"""Levels of broker priority. An argument of the queue: producers and consumers must declare the same, and a
queue keeps the one it was made with, so it is here before anything uses it."""


class Queue(StrEnum):
    """One durable classic queue a stage."""

    INGEST = "ingest"
    TILER = "tiler"
    INSPECT = "inspect"


class ActorName(StrEnum):
    """Actors are enqueued by name, which keeps producers free of the workers' code."""

    INGEST = "ingest.download.fetch"
    TILER = "tiler.build.pyramid"
    INSPECT = "ingest.inspect"


QUEUE_OF = {pb.STAGE_INGEST: Queue.INGEST, pb.STAGE_TILER: Queue.TILER, pb.STAGE_INSPECT: Queue.INSPECT}
ACTOR_OF = {pb.STAGE_INGEST: ActorName.INGEST, pb.STAGE_TILER: ActorName.TILER, pb.STAGE_INSPECT: ActorName.INSPECT}


class StopSignal(Middleware):
    """Tells running stages that their worker has been asked to stop.

    Dramatiq lets a running actor go on after SIGTERM; a stage watches `stopping`, releases its run and returns.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: Worker) -> None:  # noqa: ARG002  # Dramatiq's signature
        self.stopping.set()


def middleware() -> list[Middleware]:
    """The one list of middleware.

    StopSignal only. Retries, AgeLimit and TimeLimit are left out on purpose: statussvc alone restarts
    work, a wake-up may wait for any time, and a raised exception cannot stop C code.
    """
    return [StopSignal()]


def make_broker(url: str) -> RabbitmqBroker:
    """A broker for producers or workers, with publisher confirms.

    Connects on first use, never here. A Dramatiq worker consumes every queue its broker ever declares,
    also by publishing, so a worker that publishes does so through a second broker of its own.

    Parameters
    ----------
    url: amqp://user:password@host:port/vhost
    """
    separator = "&" if "?" in url else "?"
    timeouts = (
        f"socket_timeout={SOCKET_TIMEOUT}&stack_timeout={SOCKET_TIMEOUT}"
        f"&blocked_connection_timeout={SOCKET_TIMEOUT}&connection_attempts=1&heartbeat=30"
    )
    return RabbitmqBroker(
        url=f"{url}{separator}{timeouts}",
        confirm_delivery=True,
        max_priority=MAX_PRIORITY,
        middleware=middleware(),
    )


def publish(broker: dramatiq.Broker, wake_up: pb.WakeUp) -> None:
    """Publishes a wake-up and waits for the broker's confirm.

    Raises
    ------
    dramatiq.errors.ConnectionClosed: the broker cannot be reached, refuses or blocks.
    UnknownStage: this version has no queue for it, and nothing was published.
    """
    if wake_up.stage not in QUEUE_OF:
        raise UnknownStage(
            f"{wake_up.dataset_id} waits for stage {wake_up.stage}, which this version does not have. It is left to a "
            "gateway of the same version as statussvc."
        )
    message: dramatiq.Message[None] = dramatiq.Message(
        queue_name=QUEUE_OF[wake_up.stage],
        actor_name=ACTOR_OF[wake_up.stage],
        args=(),
        kwargs={"dataset_id": wake_up.dataset_id, "attempt": wake_up.attempt},
        options={},
    )
    try:
        broker.enqueue(message)
    except ConnectionClosed as error:
        if is_blocked(error):
            raise
        # The connection was dead, perhaps for hours: what an idle thread holds is not kept alive. A new one is made.
        broker.enqueue(message)


def is_blocked(error: dramatiq.DramatiqError) -> bool:
    """Whether a publish failed since the broker is there but takes no messages: an alarm."""
    return isinstance(error.message, ConnectionBlockedTimeout)


def stop_signal(broker: dramatiq.Broker) -> threading.Event:
    """The event that is set when the broker's workers have been asked to stop."""
    return next(m.stopping for m in broker.middleware if isinstance(m, StopSignal))
