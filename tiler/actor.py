"""The actor of queue `tiler`: turn one stored source into a stored pyramid."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import dramatiq

from pipeline.errors import ObjectMissing, StageError, StorageError
from pipeline.formats import admission
from pipeline.georeference import Georeference, Located, ground_size
from pipeline.identity import Identified
from pipeline.messages import ActorName, Queue
from pipeline.pyramids import DEFAULT_TILE_SIZE, FILES, PREVIEW, PREVIEW_THUMBNAIL, Format
from pipeline.run import Limits, Run, run_stage
from pipeline.status import StatusClient
from pipeline.storage import Storage, pyramid_key, require_room
from pipeline.tile_formats import FORMATS, NUMBERS
from protos.tilewright.status.v1 import status_pb2 as pb
from tiler import parent
from tiler.job import Built, Job, Previewed, place_of
from tiler.place import locate
from tiler.settings import TilerSettings
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

        with source.named():
            built = parent.build(
                run, job, threads=settings.tiler_threads, check_room=check_room, keep_preview=keep_preview
            )
        place = place_of(built)
        located = place and locate(
            place, built.width, built.height, scratch, on_start=lambda child: run.on_stop(child.kill)
        )
        for name in FILES:
            run.check()
            storage.put_file(scratch / name, pyramid_key(grant.tile_id, run.run_id, name))
        run.report(tiles_done=built.tile_count, tiles_total=built.tile_count, stage_percent=100.0)
    finally:
        # If the storage fails here, the janitor removes the scratch folder later.
        with suppress(StorageError):
            storage.drop_scratch(run.run_id)
    return pb.TilerResult(
        width=built.width,
        height=built.height,
        format=NUMBERS[Format(built.extension)],
        tile_count=built.tile_count,
        bytes=built.size,
        stretch=pb.Stretch(rule=built.stretch, low=built.low, high=built.high) if built.stretch else None,
        channels=_channels(built),
        pixel_size=_pixel_size(built, located),
        georeference=_georeference(place, located),
        warnings=[
            pb.Warning(code=code, message=message)
            for code, message in zip(built.warning_codes, built.warnings, strict=True)
        ],
    )


def _pixel_size(built: Built, located: Located | None) -> pb.PixelSize | None:
    """Return how large a pixel is, as the file says, or else on the ground."""
    if built.pixel_size:
        x, y = built.pixel_size
        return pb.PixelSize(x=x, y=y, unit=built.pixel_unit)
    size = ground_size(located) if located else None
    return pb.PixelSize(**size._asdict()) if size else None


def _georeference(place: Georeference | None, located: Located | None) -> pb.Georeference | None:
    if place is None:
        return None
    message = pb.Georeference(crs=place.crs, transform=place.transform)
    if located:
        message.bounds.extend(located.bounds)
        for x, y, longitude, latitude in located.points:
            message.control_points.add(x=x, y=y, longitude=longitude, latitude=latitude)
    return message


def _channels(built: Built) -> list[pb.Channel]:
    rows = zip(
        *(built.channels, built.channel_names, built.channel_colours),
        *(built.channel_rules, built.channel_lows, built.channel_highs),
        strict=True,
    )
    return [
        pb.Channel(number=number, name=name, colour=colour, stretch=pb.Stretch(rule=rule, low=low, high=high))
        for number, name, colour, rule, low, high in rows
    ]


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
