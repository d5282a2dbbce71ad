"""The actor of queue `tiler`: turn one stored source into a stored pyramid."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import dramatiq

from pipeline.errors import MOST_WARNING, MOST_WARNINGS, ObjectMissing, StageError, StorageError
from pipeline.formats import admission, budget
from pipeline.identity import Identified
from pipeline.messages import ActorName, Queue
from pipeline.pyramids import DEFAULT_TILE_SIZE, FILES, PREVIEW, PREVIEW_THUMBNAIL, page_tile_id
from pipeline.run import Limits, Run, run_stage
from pipeline.status import StatusClient
from pipeline.storage import Storage, pyramid_key, require_room
from pipeline.tile_formats import FORMATS
from protos.tilewright.status.v1 import status_pb2 as pb
from tiler import parent
from tiler.job import Built, Job, Previewed, place_of
from tiler.place import locate
from tiler.results import result_of
from tiler.settings import TilerSettings
from tiler.share import Share
from tiler.unpack import unpacked

CORES = len(os.sched_getaffinity(0))

READ_BYTES = 8 << 20
"""Bytes of one ranged read: so large that the cost of a request hardly counts, and small beside a tiling's memory."""


def declare(
    broker: dramatiq.Broker,
    settings: TilerSettings,
    status: StatusClient,
    storage: Storage,
    stopping: threading.Event,
    identity: Identified | None = None,
) -> dramatiq.Actor[[str, int], None]:
    """Declare the actor on a broker.

    Parameters
    ----------
    stopping: set when the worker is told to stop.
    identity: checks that the storage is the right one.
    """
    limits = Limits.of(settings)

    @dramatiq.actor(broker=broker, queue_name=Queue.TILER, actor_name=ActorName.TILER)
    def build_pyramid(dataset_id: str, attempt: int) -> None:
        wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=pb.STAGE_TILER)
        run_stage(
            status,
            wake_up,
            lambda run: tile(run, settings, storage),
            stopping=stopping,
            limits=limits,
            storage=identity,
        )

    return build_pyramid


def tile(run: Run, settings: TilerSettings, storage: Storage) -> pb.TilerResult:
    """Do the work of the stage: build the pyramid, and store its files below the run's id.

    Raises
    ------
    StageError: if the source is gone, or cannot be tiled.
    Stopped: if the run is told to stop.
    StorageError: if the storage fails.
    """
    grant = run.grant
    try:
        scratch = storage.scratch(run.run_id)
        check_room = partial(require_room, storage, 0, settings.disk_reserve_bytes)
        check_room()
        free = storage.free_bytes()
        room = None if free is None else free - settings.disk_reserve_bytes
        source = unpacked(
            _source(run, storage, scratch),
            scratch,
            member=grant.options.member,
            most=settings.max_source_bytes,
            limits=admission.Limits(settings.max_pixels, settings.max_pixels_per_byte),
            min_libvips=settings.min_libvips,
            room=room,
            watch=check_room,
            on_start=lambda child: run.on_stop(child.kill),
        )
        run.check()
        if room is not None and source.archive:
            room -= source.path.stat().st_size
        job = Job(
            source=str(source.path),
            scratch=str(scratch),
            tile_id=grant.tile_id,
            source_sha256=grant.source_sha256,
            tile_size=grant.options.tile_size or DEFAULT_TILE_SIZE,
            max_pixels=settings.max_pixels,
            min_libvips=settings.min_libvips,
            room=room,
            tile_format=FORMATS[grant.options.format].value if grant.options.format else "",
            quality=grant.options.quality,
            page=grant.options.page if grant.options.HasField("page") else None,
            most_pages=settings.max_pages if grant.options.all_pages else None,
            accept_damage=grant.options.damage == pb.DAMAGE_ACCEPT,
            stretch=grant.options.stretch,
            channels=tuple(grant.options.channels),
            preview=settings.preview,
            untrusted=settings.untrusted_formats,
            archive=source.archive,
            archive_bytes=source.archive_bytes,
            member=source.member,
            pixels_per_byte=settings.max_pixels_per_byte,
            memory_bytes=settings.memory_limit,
            world=source.beside.world,
            projection=source.beside.projection,
            auxiliary=source.beside.auxiliary,
            work_seconds=int(settings.stage_time_limit) * CORES,
        )

        def keep_preview(made: Previewed) -> None:
            for name in (PREVIEW_THUMBNAIL, PREVIEW):
                key = pyramid_key(grant.tile_id, run.run_id, name)
                storage.put_file(scratch / name, key)
            run.report(preview=pb.Preview(width=made.width, height=made.height, key=key))

        share = Share()
        build = partial(parent.build, run, threads=settings.tiler_threads, check_room=check_room, share=share)
        with source.named(), _naming(share):
            built = build(job, keep_preview=keep_preview)
            result = _result(run, built, scratch)
            _publish(run, storage, scratch, grant.tile_id)
            if grant.options.all_pages:
                _build_further(run, storage, job, share, build, built, result)
        done = share.tiles or built.tile_count
        run.report(tiles_done=done, tiles_total=done, stage_percent=100.0)
    finally:
        # If the storage fails here, the janitor removes the scratch folder later.
        with suppress(StorageError):
            storage.drop_scratch(run.run_id)
    return result


def _result(run: Run, built: Built, folder: Path) -> pb.TilerResult:
    """Return what a build is, and where on Earth it lies."""
    place = place_of(built)
    located = place and locate(place, built.width, built.height, folder, on_start=lambda child: run.on_stop(child.kill))
    return result_of(built, place, located)


def _publish(run: Run, storage: Storage, folder: Path, tile_id: str) -> None:
    """Store the files of a build."""
    for name in FILES:
        run.check()
        storage.put_file(folder / name, pyramid_key(tile_id, run.run_id, name))


def _build_further(
    run: Run,
    storage: Storage,
    job: Job,
    share: Share,
    build: Callable[[Job], Built],
    built: Built,
    result: pb.TilerResult,
) -> None:
    """Build the pages after the first one, one after another, and add them to the result.

    Parameters
    ----------
    job: that of the first page.
    built: the first page.
    """
    if not share.pages:
        raise ValueError("the child does not say which pages there are")
    scratch, source_bytes = Path(job.scratch), run.grant.source_bytes
    budget.require_few_pages(len(share.pages), source_bytes)
    work = 0
    result.page = share.page
    told = _told(result, share)
    while share.next(built.tile_count):
        run.check()
        work += budget.work_of_pyramid(built.width, built.height, built.tile_count)
        budget.require_affordable_together(work, source_bytes, job.pixels_per_byte)
        folder, tile_id = scratch / f"page-{share.page}", page_tile_id(run.grant.tile_id, share.page)
        folder.mkdir()
        room = job.room
        if room is not None and (free := storage.free_bytes()) is not None:
            room = min(room, free)
        page = job._replace(
            scratch=str(folder), tile_id=tile_id, page=share.page, most_pages=None, preview=False, room=room
        )
        built = build(page)
        further = _result(run, built, folder)
        _publish(run, storage, folder, tile_id)
        shutil.rmtree(folder)
        further.page = share.page
        told += _told(further, share)
        result.pages.append(further)
    del result.warnings[:]
    result.warnings.extend(told[:MOST_WARNINGS])


def _told(result: pb.TilerResult, share: Share) -> list[pb.Warning]:
    """Return the warnings of a page, each with its number."""
    return [
        pb.Warning(code=warning.code, message=share.named(warning.message)[:MOST_WARNING])
        for warning in result.warnings
    ]


@contextmanager
def _naming(share: Share) -> Iterator[None]:
    """Say in errors which page of several they are about."""
    try:
        yield
    except StageError as error:
        if share.place < len(share.pages) and error.code != "too_many_pages":
            raise error.copy(share.named(error.message)) from error
        raise


def _source(run: Run, storage: Storage, scratch: Path) -> Path:
    """Return a path of the source: the stored file itself in a directory storage, else a copy in the scratch folder."""
    key, expected = run.grant.source_key, run.grant.source_bytes
    gone = StageError("source_missing", "The stored original is no longer there. It is downloaded again.")
    try:
        size = storage.size(key)
        if expected and size != expected:
            raise gone
        local = storage.local_path(key)
        if local is not None:
            return local
        copy = scratch / "source"
        with copy.open("wb") as file:
            while file.tell() < size:
                run.check()
                if not file.write(storage.get_range(key, file.tell(), READ_BYTES)):
                    raise gone
        return copy
    except ObjectMissing as error:
        raise gone from error
