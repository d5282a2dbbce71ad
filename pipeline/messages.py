"""The broker, its queues and its messages, defined once for producers and consumers.

A message is only a wake-up `{dataset_id, attempt}`: the row in statussvc is the truth, so a lost, late or
duplicate message does no harm (docs/architecture.md, "The row is the truth").
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
"""Seconds. A broker blocked by an alarm would never confirm a publish. The lease of a row, 15 s, is longer."""

# Dramatiq would try six times, which takes a minute if an alarm blocks the broker. publish() decides when to try again.
rabbitmq.MAX_ENQUEUE_ATTEMPTS = 1

MAX_PRIORITY = 4
"""Levels of broker priority, not used yet. It is an argument of the queue: producers and consumers must declare the
same value, and a queue keeps the value it was made with, so it is set from the start."""


class Queue(StrEnum):
    """One durable classic queue for each stage."""

    INGEST = "ingest"
    TILER = "tiler"
    INSPECT = "inspect"


class ActorName(StrEnum):
    """Names of the actors. Messages are enqueued by name, so that producers need not import the workers' code."""

    INGEST = "ingest.download.fetch"
    TILER = "tiler.build.pyramid"
    INSPECT = "ingest.inspect"


QUEUE_OF = {pb.STAGE_INGEST: Queue.INGEST, pb.STAGE_TILER: Queue.TILER, pb.STAGE_INSPECT: Queue.INSPECT}
ACTOR_OF = {pb.STAGE_INGEST: ActorName.INGEST, pb.STAGE_TILER: ActorName.TILER, pb.STAGE_INSPECT: ActorName.INSPECT}


class StopSignal(Middleware):
    """Tells running stages that their worker is stopping.

    Dramatiq lets a running actor continue after SIGTERM. A stage watches `stopping`, releases its run and returns.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: Worker) -> None:  # noqa: ARG002  # Dramatiq's signature
        self.stopping.set()


def middleware() -> list[Middleware]:
    """Return the middleware of all brokers: StopSignal only.

    Retries, AgeLimit and TimeLimit are left out on purpose: only statussvc restarts work, a wake-up may wait for any
    time, and a raised exception cannot stop C code.
    """
    return [StopSignal()]


def make_broker(url: str) -> RabbitmqBroker:
    """Return a broker for producers or workers, with publisher confirms. It connects on first use.

    A Dramatiq worker consumes every queue that its broker declares, and publishing declares a queue. So a worker that
    publishes uses a second broker.

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
    """Publish a wake-up and wait for the publisher confirm.

    Raises
    ------
    dramatiq.errors.ConnectionClosed: if the broker cannot be reached, refuses the message or is blocked.
    UnknownStage: if this version has no queue for the stage. Nothing is published.
    """
    if wake_up.stage not in QUEUE_OF:
        raise UnknownStage(
            f"{wake_up.dataset_id} waits for stage {wake_up.stage}, which this version does not have. A gateway of the "
            "same version as statussvc has to publish it."
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
        # The connection may have been dead for hours, since nothing keeps an idle thread's connection alive. Make a new
        # one.
        broker.enqueue(message)


def is_blocked(error: dramatiq.DramatiqError) -> bool:
    """Return whether a publish failed because an alarm blocks the broker: it runs, but accepts no messages."""
    return isinstance(error.message, ConnectionBlockedTimeout)


def stop_signal(broker: dramatiq.Broker) -> threading.Event:
    """Return the event that is set when the broker's workers are told to stop."""
    return next(m.stopping for m in broker.middleware if isinstance(m, StopSignal))
