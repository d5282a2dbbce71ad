"""Threads that wait for storage: bounded, with an end to each wait, and nothing left open behind it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.storage.threads import StorageBusy, StorageThreads


def test_what_a_function_gives_or_raises_comes_back() -> None:
    async def story() -> None:
        threads = StorageThreads()
        assert await threads.run(int, "12") == 12
        with pytest.raises(ValueError, match="invalid literal"):
            await threads.run(int, "x")

    asyncio.run(story())


def test_what_is_more_than_may_wait_is_refused_at_once_and_taken_again_later() -> None:
    async def story() -> None:
        # Given a storage that hangs, with its one thread and its one place to wait taken
        threads, gate, begun = StorageThreads(1, 1), threading.Event(), threading.Event()

        def hang() -> None:
            begun.set()
            gate.wait()

        first = asyncio.create_task(threads.run(hang))
        second = asyncio.create_task(threads.run(hang))
        await asyncio.to_thread(begun.wait)
        # When a third comes, then it is refused, and its end is told all the same
        ended: list[str] = []
        with pytest.raises(StorageBusy):
            await threads.run(hang, finished=lambda: ended.append("third"))
        assert ended == ["third"]
        assert not first.done()
        # And once the storage answers, all goes on
        gate.set()
        await asyncio.gather(first, second)
        assert await threads.run(int, "1") == 1

    asyncio.run(story())


def test_nobody_waits_for_longer_than_the_patience_and_what_comes_late_is_put_away() -> None:
    async def story() -> None:
        threads, gate, put_away = StorageThreads(1, 1, patience=0.01), threading.Event(), threading.Event()
        given: list[str] = []

        def open_late() -> str:
            gate.wait()
            return "a file"

        def discard(file: str) -> None:
            given.append(file)
            put_away.set()

        # Given a storage that hangs, when it has not answered in time, then the request is told so
        with pytest.raises(StorageBusy, match="did not answer"):
            await threads.run(open_late, discard=discard)
        # And what it gives in the end is closed
        gate.set()
        assert await asyncio.to_thread(put_away.wait, 30)
        assert given == ["a file"]
        # And one that was given up while it waited for a thread is never called
        assert await StorageThreads(1, 1).run(int, "1") == 1

    asyncio.run(story())


def test_a_call_that_was_given_up_before_its_turn_is_never_made() -> None:
    async def story() -> None:
        threads, gate, ended = StorageThreads(1, 1, patience=30.0), threading.Event(), threading.Event()
        first = asyncio.create_task(threads.run(gate.wait))
        second = asyncio.create_task(threads.run(pytest.fail, "called", finished=ended.set))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert await asyncio.to_thread(ended.wait, 30)
        gate.set()
        await first
        assert await threads.run(int, "1") == 1

    asyncio.run(story())
