"""The embedded stack's broker: queues in memory, in place of RabbitMQ.

What is in them is lost with the process, which does no harm: the rows tell what waits, and a starting stack has
every one of them published anew.
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
"""Milliseconds between an idle thread's looks at whether to stop; Dramatiq's own second would be felt at Ctrl-C."""


class _Nothing(list["MessageProxy"]):
    """A list that keeps nothing."""

    def append(self, item: MessageProxy) -> None:
        """Forgets the item."""


class EmbeddedBroker(StubBroker):
    """Dramatiq's broker for tests, made fit to run for months: dead letters are dropped, not kept in memory."""

    def __init__(self) -> None:
        super().__init__(middleware=middleware())
        self.dead_letters_by_queue = defaultdict(_Nothing)


class Workers:
    """One Dramatiq worker a queue, all in this process.

    Parameters
    ----------
    threads: queue → number of threads, which is how many of its messages are worked on at once.
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
        """Tells all to stop and waits for them, `patience` seconds at most."""
        stoppers = [
            threading.Thread(target=worker.stop, args=(int(patience * 1000),), name="worker-stop")
            for worker in self._workers
        ]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
