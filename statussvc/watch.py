"""Tell watchers that a dataset has changed. They read its newest state themselves, so nothing is queued."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from statussvc.db import shown_id


class _Topic:
    def __init__(self) -> None:
        self.watchers = 0
        self.event = asyncio.Event()


class Watch:
    """One watcher of one dataset."""

    def __init__(self, topic: _Topic) -> None:
        self._topic = topic
        self._event = topic.event

    def begin(self) -> None:
        """Call before reading the state: any change from here on ends the next wait."""
        self._event = self._topic.event

    async def changed(self) -> None:
        """Return when the dataset has changed since begin()."""
        await self._event.wait()


class Hub:
    """The datasets that are being watched. For one event loop."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def notify(self, dataset_id: str) -> None:
        """Wake a dataset's watchers; for a refresh, also those of its owner."""
        for topic in {self._topics.get(each) for each in (dataset_id, shown_id(dataset_id))}:
            if topic is None:
                continue
            # Replacing the event wakes all present watchers; later ones wait for the next change.
            topic.event.set()
            topic.event = asyncio.Event()

    def notify_all(self) -> None:
        """Wake the watchers of all datasets."""
        for dataset_id in list(self._topics):
            self.notify(dataset_id)

    @contextmanager
    def watch(self, dataset_id: str) -> Iterator[Watch]:
        """Watch a dataset within the block."""
        topic = self._topics.setdefault(dataset_id, _Topic())
        topic.watchers += 1
        try:
            yield Watch(topic)
        finally:
            topic.watchers -= 1
            if not topic.watchers:
                del self._topics[dataset_id]
