"""The embedded stack's broker: queues in memory, in place of RabbitMQ.

Messages are lost when the process ends. That is harmless: the rows say what waits, and a starting stack publishes all
of them again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from dramatiq import Worker
from dramatiq.brokers.stub import StubBroker

from pipeline.messages import middleware

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy

WORKER_TIMEOUT = 100
"""Milliseconds after which an idle thread checks whether to stop. Dramatiq's default, a second, would delay Ctrl-C."""


class _Nothing(list["MessageProxy"]):
    """A list that keeps nothing."""

    def append(self, item: MessageProxy) -> None:
        """Drop the item."""


class EmbeddedBroker(StubBroker):
    """Dramatiq's broker for tests, changed to run for months: dead letters are dropped, not kept in memory."""

    def __init__(self) -> None:
        super().__init__(middleware=middleware())
        self.dead_letters_by_queue = defaultdict(_Nothing)


class Workers:
    """One Dramatiq worker per queue, all in this process.

    Parameters
    ----------
    threads: for each queue the number of threads, which process one message each.
    """

    def __init__(self, broker: EmbeddedBroker, threads: dict[str, int]) -> None:
        self._workers = [
            Worker(broker, queues={queue}, worker_timeout=WORKER_TIMEOUT, worker_threads=count)
            for queue, count in threads.items()
        ]

    def start(self) -> None:
        for worker in self._workers:
            worker.start()

    def stop(self, patience: float) -> None:
        """Tell all workers to stop, and wait for them for up to `patience` seconds."""
        stoppers = [
            threading.Thread(target=worker.stop, args=(int(patience * 1000),), name="worker-stop")
            for worker in self._workers
        ]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
