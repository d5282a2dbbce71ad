"""Fan-out of changes to watchers: each dataset's newest version, never a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class _Topic:
    def __init__(self) -> None:
        self.watchers = 0
        self.event = asyncio.Event()


class Watch:
    """One dataset's changes, as one watcher follows them."""

    def __init__(self, topic: _Topic) -> None:
        self._topic = topic
        self._event = topic.event

    def begin(self) -> None:
        """Call before reading the state: changes from here on end the next wait."""
        self._event = self._topic.event

    async def changed(self) -> None:
        """Returns when the dataset has changed since begin()."""
        await self._event.wait()


class Hub:
    """Knows the datasets that are being watched. For one event loop."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def notify(self, dataset_id: str) -> None:
        """Wakes the dataset's watchers."""
        topic = self._topics.get(dataset_id)
        if topic is not None:
            # A swapped event wakes all present watchers at once, and those that come later wait for the next change.
            topic.event.set()
            topic.event = asyncio.Event()

    def notify_all(self) -> None:
        """Wakes the watchers of all datasets."""
        for dataset_id in list(self._topics):
            self.notify(dataset_id)

    @contextmanager
    def watch(self, dataset_id: str) -> Iterator[Watch]:
        """Registers a watcher of one dataset."""
        topic = self._topics.setdefault(dataset_id, _Topic())
        topic.watchers += 1
        try:
            yield Watch(topic)
        finally:
            topic.watchers -= 1
            if not topic.watchers:
                del self._topics[dataset_id]
