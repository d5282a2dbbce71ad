"""The embedded broker and its workers."""

from __future__ import annotations

import threading

import dramatiq
from dramatiq import Message

from pipeline.messages import stop_signal
from tilewright.embedded.broker import EmbeddedBroker, Workers

PATIENCE = 10.0


def message(queue: str, actor: str) -> Message[None]:
    return Message(queue_name=queue, actor_name=actor, args=(), kwargs={}, options={})


def test_each_queue_has_threads_of_its_own() -> None:
    # Given two queues, one thread each, and an actor on the first that blocks
    broker = EmbeddedBroker()
    gate, reached = threading.Event(), threading.Event()
    dramatiq.actor(broker=broker, actor_name="blocking", queue_name="a")(gate.wait)
    dramatiq.actor(broker=broker, actor_name="reaching", queue_name="b")(reached.set)
    workers = Workers(broker, {"a": 1, "b": 1})
    workers.start()
    try:
        # When both have a message
        broker.enqueue(message("a", "blocking"))
        broker.enqueue(message("b", "reaching"))

        # Then the second is not held up by the first
        assert reached.wait(PATIENCE)
    finally:
        gate.set()
        workers.stop(PATIENCE)


def test_what_fails_is_logged_and_kept_nowhere() -> None:
    # Given an actor that raises
    broker = EmbeddedBroker()
    calls = threading.Semaphore(0)

    def fail() -> None:
        calls.release()
        raise RuntimeError("on purpose")

    dramatiq.actor(broker=broker, actor_name="failing", queue_name="a")(fail)
    workers = Workers(broker, {"a": 1})
    workers.start()

    # When it has run
    broker.enqueue(message("a", "failing"))
    assert calls.acquire(timeout=PATIENCE)
    workers.stop(PATIENCE)

    # Then it ran once, and no dead letter holds on to its message
    assert not calls.acquire(blocking=False)
    assert broker.dead_letters == []


def test_stopping_tells_running_actors_first_and_then_waits_for_them() -> None:
    # Given an actor that ends when it is told to stop
    broker = EmbeddedBroker()
    stopping = stop_signal(broker)
    started, ended = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        if stopping.wait(PATIENCE):
            ended.set()

    dramatiq.actor(broker=broker, actor_name="working", queue_name="a")(work)
    workers = Workers(broker, {"a": 1})
    workers.start()
    broker.enqueue(message("a", "working"))
    assert started.wait(PATIENCE)

    # When the workers are stopped
    workers.stop(PATIENCE)

    # Then it had ended by itself
    assert ended.is_set()


def test_threads_of_a_stopped_worker_are_gone() -> None:
    before = set(threading.enumerate())
    broker = EmbeddedBroker()
    broker.declare_queue("a")
    workers = Workers(broker, {"a": 3})
    workers.start()
    workers.stop(PATIENCE)
    assert set(threading.enumerate()) <= before
