"""Cache of the pyramids that are being viewed, each with its geometry, index and open files."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from gateway.storage import StorageThreads
from gateway.tiles.build_files import Files, Stale, open_files
from pipeline.errors import StorageError
from pipeline.pyramids import Geometry
from pipeline.storage import Storage
from pipeline.tile_formats import FORMATS
from protos.tilewright.status.v1 import status_pb2 as pb

CAPACITY = 128
"""Open pyramids. Each has three file descriptors, so all stay well below the usual limit of 1,024 a process."""

GetPyramid = Callable[[str], Awaitable[pb.Pyramid]]
"""Returns the current build of a tile_id; raises NotFound or StatusUnavailable."""


class OpenPyramid:
    """One build with its files open.

    Attributes
    ----------
    row: what statussvc says of it.
    """

    def __init__(self, pyramid: pb.Pyramid, files: Files) -> None:
        self.row = pyramid
        self.tile_id = pyramid.tile_id
        self.build = pyramid.build
        if pyramid.format not in FORMATS:
            raise StorageError(f"{self.tile_id} has a tile format that only a newer gateway knows")
        self.format = FORMATS[pyramid.format]
        self.media_type = self.format.media_type.encode()
        self.geometry = Geometry(pyramid.width, pyramid.height, pyramid.tile_size)
        self.files = files
        if (files.tile_count, files.edge_count) != (self.geometry.tile_count, self.geometry.edge_count):
            raise StorageError(f"the index of {self.tile_id} does not match the pyramid's size")


class PyramidCache:
    """An LRU cache of open pyramids, for use in one event loop.

    Parameters
    ----------
    get_pyramid: called once for each pyramid that is opened.
    threads: the threads that read from storage.
    missed: called with a tile_id when the files of its current build are missing.
    """

    def __init__(
        self,
        get_pyramid: GetPyramid,
        storage: Storage,
        capacity: int = CAPACITY,
        threads: StorageThreads | None = None,
        missed: Callable[[str], None] = lambda _tile_id: None,
    ) -> None:
        self._threads = threads or StorageThreads()
        self._get_pyramid = get_pyramid
        self.missed = missed
        self._storage = storage
        self._capacity = capacity
        self._open: OrderedDict[str, OpenPyramid] = OrderedDict()
        self._opening: dict[str, asyncio.Task[None]] = {}

    async def check_storage(self) -> None:
        """Raise StorageError if the storage is not the expected one, or does not answer."""
        await self._threads.run(self._storage.check)

    def opened(self, tile_id: str) -> OpenPyramid | None:
        """Return the current build if it is already open, else None."""
        found = self._open.get(tile_id)
        if found is not None:
            self._open.move_to_end(tile_id)
        return found

    async def get(self, tile_id: str) -> OpenPyramid:
        """Return the current build, opened. It may be closed during any later await.

        Raises
        ------
        NotFound, StatusUnavailable: from `get_pyramid`.
        ObjectMissing: the build's files are missing.
        """
        while (found := self._open.get(tile_id)) is None:
            # A viewer requests dozens of tiles at once. The first request opens the pyramid and the others wait for it,
            # also if the first client disconnects.
            opening = self._opening.get(tile_id)
            if opening is None:
                opening = asyncio.create_task(self._bring_in(tile_id))
                self._opening[tile_id] = opening
                opening.add_done_callback(lambda task: self._end_opening(tile_id, task))
            # Looked up again in the loop: the pyramid may be closed before all who waited have run.
            await asyncio.shield(opening)
        self._open.move_to_end(tile_id)
        return found

    def forget(self, pyramid: OpenPyramid) -> None:
        """Close a build whose files are gone."""
        if self._open.get(pyramid.tile_id) is pyramid:
            del self._open[pyramid.tile_id]
            pyramid.files.close()

    async def drop_deleted(self) -> None:
        """Close all builds whose files were deleted, to free their disk space, or that have to be opened again."""
        for pyramid in list(self._open.values()):
            try:
                is_gone = await pyramid.files.deleted()
            except Stale:
                continue  # It was closed in the meantime.
            if is_gone:
                self.forget(pyramid)

    def close(self) -> None:
        """Close all of them."""
        while self._open:
            self._open.popitem()[1].files.close()

    async def _bring_in(self, tile_id: str) -> None:
        pyramid = await self._get_pyramid(tile_id)
        files = await open_files(self._storage, pyramid, self._threads)
        try:
            opened = OpenPyramid(pyramid, files)
        except BaseException:
            files.close()
            raise
        self._open[tile_id] = opened
        if len(self._open) > self._capacity:
            self._open.popitem(last=False)[1].files.close()

    def _end_opening(self, tile_id: str, task: asyncio.Task[None]) -> None:
        del self._opening[tile_id]
        if not task.cancelled():
            task.exception()  # Marks it as retrieved: every client may have disconnected.
