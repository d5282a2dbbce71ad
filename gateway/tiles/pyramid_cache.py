"""The pyramids that are being looked at: descriptor, index and open files, kept together and closed together."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from gateway.storage.threads import StorageThreads
from gateway.tiles.build_files import Files, Stale, open_files
from pipeline.errors import StorageError
from pipeline.pyramids import Format, Geometry
from pipeline.status import name_of
from pipeline.storage import Storage
from protos.tilewright.status.v1 import status_pb2 as pb

CAPACITY = 128
"""Pyramids kept open: at three descriptors each well below the usual limit of 1,024 a process."""

GetPyramid = Callable[[str], Awaitable[pb.Pyramid]]
"""Gives the build that counts for a tile_id; raises NotFound or StatusUnavailable."""


class OpenPyramid:
    """One build, ready to be read."""

    def __init__(self, pyramid: pb.Pyramid, files: Files) -> None:
        self.tile_id = pyramid.tile_id
        self.build = pyramid.build
        name = name_of(pb.TileFormat, pyramid.format).removeprefix("TILE_FORMAT_")
        if name not in Format.__members__:
            raise StorageError(f"{self.tile_id} has tiles of a format that only a newer gateway knows")
        self.format = Format[name]
        self.media_type = self.format.media_type.encode()
        self.geometry = Geometry(pyramid.width, pyramid.height, pyramid.tile_size)
        self.files = files
        if (files.tile_count, files.edge_count) != (self.geometry.tile_count, self.geometry.edge_count):
            raise StorageError(f"the index of {self.tile_id} is not that of its pyramid")


class PyramidCache:
    """An LRU of open pyramids, for one event loop.

    Parameters
    ----------
    get_pyramid: asked once for each pyramid that comes in.
    threads: in which storage is waited for.
    missed: called with a tile_id whose build counts and is not there.
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
        """Raise StorageError where the storage is not the one that it has to be, or does not answer."""
        await self._threads.run(self._storage.check)

    def opened(self, tile_id: str) -> OpenPyramid | None:
        """Give the build that counts if it is open already."""
        found = self._open.get(tile_id)
        if found is not None:
            self._open.move_to_end(tile_id)
        return found

    async def get(self, tile_id: str) -> OpenPyramid:
        """Give the build that counts, opened. It may be closed by anything that is awaited after.

        Raises
        ------
        NotFound, StatusUnavailable: from `get_pyramid`.
        ObjectMissing: where the build's files are not there.
        """
        while (found := self._open.get(tile_id)) is None:
            # A viewer asks for dozens of tiles at once: the first one opens, the others wait for it, also if it leaves.
            opening = self._opening.get(tile_id)
            if opening is None:
                opening = asyncio.create_task(self._bring_in(tile_id))
                self._opening[tile_id] = opening
                opening.add_done_callback(lambda task: self._end_opening(tile_id, task))
            # What comes of it is looked up again: it may be closed before all who waited have had their turn.
            await asyncio.shield(opening)
        self._open.move_to_end(tile_id)
        return found

    def forget(self, pyramid: OpenPyramid) -> None:
        """Close a build that turned out to be gone."""
        if self._open.get(pyramid.tile_id) is pyramid:
            del self._open[pyramid.tile_id]
            pyramid.files.close()

    async def drop_deleted(self) -> None:
        """Close all builds whose files were deleted, so that their space is freed, or have to be opened anew."""
        for pyramid in list(self._open.values()):
            try:
                is_gone = await pyramid.files.deleted()
            except Stale:
                continue  # Closed meanwhile.
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
            task.exception()  # Seen, also where everyone who waited has left.
