"""Which pyramid a dataset's permanent addresses show now: docs/decisions/0031-a-dataset-is-an-address.md."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pipeline import texts
from pipeline.errors import NotFound, StatusUnavailable, TilewrightError
from protos.tilewright.status.v1 import status_pb2 as pb

logger = logging.getLogger(__name__)

DATASET_ID = re.compile(rf"{texts.DATASET_ID}(?:-p[1-9][0-9]{{0,5}})?")
"""What permanent addresses begin with: a dataset's id, for a page after the first one of several with "-p" and its
number in the source. The first page has only one address."""

RENEW_AFTER = 1.0
"""Seconds after which an answer is renewed in the background when it is used."""

KEEP = 5.0
"""Seconds for which an answer may be used without being renewed. A deleted pyramid is served as long."""

CAPACITY = 4096
"""Datasets whose answers are kept: a few megabytes."""

Resolve = Callable[[str], Awaitable[pb.Pyramid]]
"""Returns the pyramid that a dataset shows. Raises NotFound (with its subclasses NotReady and Deleted) or
StatusUnavailable."""


class _Answer(NamedTuple):
    pyramid: pb.Pyramid
    at: float

    @property
    def tile_id(self) -> str:
        return self.pyramid.tile_id


def page_of(name: str) -> tuple[str, int]:
    """Split the name in an address into the dataset's id and the number of the page."""
    dataset_id, _, page = name.partition("-p")
    return dataset_id, int(page or 0)


class DatasetAddresses:
    """A cache of what datasets show, for use in one event loop.

    Parameters
    ----------
    resolve: called once for all requests that wait for the same dataset.
    clock: seconds; only differences count.
    """

    def __init__(self, resolve: Resolve, clock: Callable[[], float] = time.monotonic) -> None:
        self._resolve = resolve
        self._clock = clock
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._asking: dict[str, asyncio.Task[str]] = {}

    def current(self, dataset_id: str) -> str | None:
        """Return the tile_id that the dataset shows; None if that has to be asked first."""
        answer = self._answers.get(dataset_id)
        if answer is None:
            return None
        age = self._clock() - answer.at
        if age > KEEP:
            return None
        if age > RENEW_AFTER:
            self._ask(dataset_id)
        self._answers.move_to_end(dataset_id)
        return answer.tile_id

    async def get(self, dataset_id: str) -> str:
        """Return the tile_id that the dataset shows.

        Raises
        ------
        NotFound: there is none; the subclass says why.
        StatusUnavailable: statussvc is away, and has not said since this process began.
        """
        found = self.current(dataset_id)
        if found is not None:
            return found
        try:
            return await asyncio.shield(self._ask(dataset_id))
        except StatusUnavailable:
            last = self._answers.get(dataset_id)
            if last is None:
                raise
            return last.tile_id

    def pyramid(self, dataset_id: str) -> pb.Pyramid | None:
        """Return the pyramid of the last answer, with what the client says of the image; None if there was none."""
        answer = self._answers.get(dataset_id)
        return answer and answer.pyramid

    def forget(self, dataset_id: str) -> None:
        """Have statussvc asked before the next answer, because the dataset has changed."""
        self._answers.pop(dataset_id, None)

    def _ask(self, dataset_id: str) -> asyncio.Task[str]:
        asking = self._asking.get(dataset_id)
        if asking is None:
            asking = asyncio.create_task(self._renew(dataset_id), name=f"resolve {dataset_id}")
            self._asking[dataset_id] = asking
            asking.add_done_callback(lambda task: self._end(dataset_id, task))
        return asking

    async def _renew(self, dataset_id: str) -> str:
        asked_at = self._clock()
        try:
            pyramid = await self._resolve(dataset_id)
        except NotFound:
            self.forget(dataset_id)
            raise
        self._answers[dataset_id] = _Answer(pyramid, asked_at)
        if len(self._answers) > CAPACITY:
            self._answers.popitem(last=False)
        return pyramid.tile_id

    def _end(self, dataset_id: str, task: asyncio.Task[str]) -> None:
        del self._asking[dataset_id]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, TilewrightError):
            # Nobody may be waiting for a renewal: a bug must not stay unseen.
            logger.error("%s cannot be resolved", dataset_id, exc_info=error)
