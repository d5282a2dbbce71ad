"""Make regions of pyramids on request: once for all who wait for the same, kept on disk, within limits.

See docs/decisions/0034-regions-are-joined-from-tiles.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from gateway.storage import StorageThreads
from gateway.tiles.build_files import Damaged
from gateway.tiles.image_request import ImageRequest, Limits
from gateway.tiles.pyramid_cache import OpenPyramid
from gateway.tiles.region_cache import RegionCache
from pipeline.errors import StorageError
from pipeline.regions import Busy, Job, Plan, Pool, Spoiled, most_tiles, plan

VERSION = 1
"""Part of every ETag and of the name in the cache. Increase it with any change of the pixels that are made."""

MOST_WAITING = 64
"""Regions that wait for a child. With two children, and a tenth of a second each, the last waits for three seconds."""

TILE_BYTES = 8
"""Most bytes of a tile for each of its pixels: twice those of noise in PNG. Index entries may be damaged."""

SPARE_TILE_BYTES = 4096
"""Most bytes of a tile besides."""

CACHE_THREADS, CACHE_CALLS = 4, 16
"""Threads for the cache's disk, and calls that wait for one. More results are not kept."""

FETCH_PATIENCE = 60.0
"""Seconds that a thread waits for tiles. The storage itself gives up much earlier."""


@dataclass
class Counts:
    """What was asked for. Only for people."""

    hits: int = 0
    misses: int = 0
    shared: int = 0


@dataclass
class _Making:
    """A result that is being made, and how many requests wait for it."""

    task: asyncio.Task[bytes]
    waiting: int = 0


class Regions:
    """Makes regions, for use in one event loop.

    Parameters
    ----------
    max_area: most pixels of a result.
    workers: most child processes; they are started when needed.
    seconds: most time for one result.
    cache: where results are kept.
    """

    def __init__(
        self, max_area: int, workers: int, seconds: float, cache: RegionCache, waiting: int = MOST_WAITING
    ) -> None:
        self.limits = Limits.of(max_area)
        self.pool = Pool(workers, waiting, seconds, max_area)
        self.counts = Counts()
        self._cache = cache
        self._threads = StorageThreads(CACHE_THREADS, CACHE_CALLS)
        self._keeping: set[asyncio.Task[None]] = set()
        self._making: dict[str, _Making] = {}

    def etag(self, pyramid: OpenPyramid, request: ImageRequest) -> str:
        """Return the ETag of a result, without quotes."""
        return f"{pyramid.tile_id}-r{VERSION}-{request.name}"

    async def get(self, pyramid: OpenPyramid, request: ImageRequest) -> bytes:
        """Return a result. If nobody waits for it any more before it is begun, it is not made.

        Raises
        ------
        Busy: too many results wait.
        Damaged: a tile cannot be decoded.
        StorageError: a tile cannot be read; see Files.
        """
        key = self.etag(pyramid, request)
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = _Making(asyncio.create_task(self._get(pyramid, request), name=f"region {key}"))
            making.task.add_done_callback(partial(self._end, key))
        else:
            self.counts.shared += 1
        making.waiting += 1
        try:
            return await asyncio.shield(making.task)
        finally:
            making.waiting -= 1
            if not making.waiting and not making.task.done():
                # Nobody may join a task that is being cancelled.
                del self._making[key]
                making.task.cancel()

    async def drop_gone(self, exists: Callable[[str], bool]) -> int:
        """Remove the results of pyramids that do not exist any more. Return how many were removed.

        Parameters
        ----------
        exists: takes a tile_id. Called in a thread.
        """
        return await self._threads.run(self._cache.keep_only, exists)

    async def settled(self) -> None:
        """Return once all results are in the cache."""
        await asyncio.gather(*self._keeping)

    def facts(self) -> dict[str, float]:
        """Return what was done since the start, for /readyz; empty if nothing was asked for."""
        if not self.counts.hits + self.counts.misses:
            return {}
        stats = self.pool.stats
        return {
            "making": self.pool.working,
            "waiting": self.pool.waiting,
            "made": stats.made,
            "made_seconds": round(stats.seconds, 3),
            "failed": stats.failed,
            "refused": stats.refused,
            "shared": self.counts.shared,
            "processes_started": stats.started,
            "cache_hits": self.counts.hits,
            "cache_misses": self.counts.misses,
            "cache_bytes": self._cache.bytes,
        }

    def close(self) -> None:
        """End the child processes. Results that wait are refused."""
        self.pool.close()
        self._cache.close()

    def _end(self, key: str, task: asyncio.Task[bytes]) -> None:
        making = self._making.get(key)
        if making is not None and making.task is task:
            del self._making[key]
        if not task.cancelled():
            task.exception()  # Marks it as retrieved: every client may have disconnected.

    async def _get(self, pyramid: OpenPyramid, request: ImageRequest) -> bytes:
        name = f"r{VERSION}-{request.name}"
        found = await self._kept(pyramid.tile_id, name)
        if found is not None:
            self.counts.hits += 1
            return found
        self.counts.misses += 1
        made = await self._make(pyramid, request)
        keeping = asyncio.create_task(self._keep(pyramid.tile_id, name, made))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        return made

    async def _kept(self, tile_id: str, name: str) -> bytes | None:
        if not self._cache.may_have(tile_id, name):
            return None
        # If the disk of the cache hangs, the result is made once more.
        with suppress(StorageError):
            return await self._threads.run(self._cache.get, tile_id, name)
        return None

    async def _keep(self, tile_id: str, name: str, data: bytes) -> None:
        with suppress(StorageError):
            await self._threads.run(self._cache.put, tile_id, name, data)

    async def _make(self, pyramid: OpenPyramid, request: ImageRequest) -> bytes:
        geometry = pyramid.geometry
        chosen = plan(geometry, request.region, most_tiles(self.limits.area, geometry.tile_size))
        loop = asyncio.get_running_loop()

        def fetch(first: int, last: int) -> Sequence[bytes]:
            reading = _read(pyramid, chosen, first, last)
            try:
                future = asyncio.run_coroutine_threadsafe(reading, loop)
            except RuntimeError as error:  # The loop is closed.
                reading.close()
                raise Busy("The gateway is stopping.") from error
            return future.result(FETCH_PATIENCE)

        making = self.pool.submit(_job(pyramid, request, chosen), fetch)
        try:
            return await asyncio.wrap_future(making)
        except Spoiled as error:
            raise Damaged(f"{pyramid.build}: {error}") from error


def _job(pyramid: OpenPyramid, request: ImageRequest, chosen: Plan) -> Job:
    size = pyramid.geometry.tile_size
    level = pyramid.geometry.level(chosen.level)
    return Job(
        tiles=pyramid.format.value,
        widths=tuple(min(size, level.width - size * (chosen.column + number)) for number in range(chosen.columns)),
        heights=tuple(min(size, level.height - size * (chosen.row + number)) for number in range(chosen.rows)),
        left=chosen.left,
        top=chosen.top,
        right=chosen.right,
        bottom=chosen.bottom,
        width=request.region.to_width,
        height=request.region.to_height,
        mirrored=request.mirrored,
        turns=request.turns,
        quality=request.quality,
        extension=request.format.value,
    )


async def _read(pyramid: OpenPyramid, chosen: Plan, first: int, last: int) -> list[bytes]:
    """Read the tiles from number `first` to before `last`, counted by rows."""
    geometry = pyramid.geometry
    places = (divmod(number, chosen.columns) for number in range(first, last))
    positions = [
        geometry.deep_zoom_position(chosen.level, chosen.column + column, chosen.row + row) for row, column in places
    ]
    tiles = await asyncio.gather(*map(pyramid.files.read, positions))
    most = TILE_BYTES * geometry.tile_size**2 + SPARE_TILE_BYTES
    if max(map(len, tiles)) > most:
        raise Damaged(f"{pyramid.build}: a tile has more than {most} bytes")
    return tiles
