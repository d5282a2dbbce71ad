"""The actor of the queue `ingest`: download a source into storage, then wake the tiler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import dramatiq
import grpc

from ingest.dependencies import Dependencies
from ingest.download import REQUEST, ChecksumMismatch, EarlierDownload, Fetch, Fetched, can_go_on, left_behind
from ingest.http import Version
from ingest.links import Tiling
from ingest.preflight import is_small, read_header, rewritten, source_info
from ingest.settings import IngestSettings
from pipeline.errors import NotFound, ObjectMissing, StageError, StatusUnavailable, StorageError, UnknownStage
from pipeline.identity import Identified
from pipeline.messages import ActorName, Queue
from pipeline.pyramids import FILES, tile_id
from pipeline.run import Limits, Run, run_stage
from pipeline.status import StatusClient
from pipeline.storage import Storage, pyramid_key, require_room, written_back
from protos.tilewright.status.v1 import status_pb2 as pb

logger = logging.getLogger(__name__)

FOR_GOOD = ("cancelled", "deleted")
"""Reasons to stop after which a partial download is of no use."""

BETTER_ANEW = ("source_corrupted", "out_of_disk")
"""Codes of failures after which a later run has to start over, because resuming would fail in the same way."""

Publish = Callable[[pb.WakeUp], None]
"""Publishes a wake-up and waits for the publisher confirm; raises dramatiq.DramatiqError."""


def declare(
    broker: dramatiq.Broker,
    settings: IngestSettings,
    status: StatusClient,
    storage: Storage,
    stopping: threading.Event,
    *,
    publish: Publish,
    identity: Identified | None = None,
) -> dramatiq.Actor[[str, int], None]:
    """Declare the actor on a broker.

    Raises ValueError if TILEWRIGHT_ALLOW_SOURCES has an invalid entry.

    Parameters
    ----------
    stopping: set when the worker has to stop.
    identity: checks that the storage belongs to the database.
    publish: wakes the tiler. With RabbitMQ it uses a separate broker object, because a worker consumes every queue
        that its own broker object has published to.
    """
    dependencies, limits = Dependencies.of(settings, storage), Limits.of(settings)

    @dramatiq.actor(broker=broker, queue_name=Queue.INGEST, actor_name=ActorName.INGEST)
    def fetch_source(dataset_id: str, attempt: int) -> None:
        def work(run: Run) -> pb.IngestResult:
            result = ingest(run, dependencies)
            result.lost_build = lost_build(run, result.sha256, status, storage)
            return result

        wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=pb.STAGE_INGEST)
        answer = run_stage(status, wake_up, work, stopping=stopping, limits=limits, storage=identity)
        if answer is not None and answer.HasField("next"):
            _hand_on(answer.next, status, publish)

    return fetch_source


def ingest(run: Run, dependencies: Dependencies) -> pb.IngestResult:
    """Do the stage's work: download the run's URL and store the file under the grant's key.

    Raises
    ------
    StageError: the source cannot be downloaded.
    Stopped: the run has to stop.
    """
    storage = dependencies.storage
    is_kept = False
    try:
        path = storage.scratch(run.run_id) / "source"
        if run.grant.resume_run_id:
            EarlierDownload.adopt(storage.scratch(run.grant.resume_run_id), path.parent, run.grant.url)
            storage.drop_scratch(run.grant.resume_run_id)
        try:
            fetched = _fetch(run, path, dependencies)
        except Exception as error:
            is_kept = left_behind(path.parent) and _may_go_on(run, error)
            raise
    finally:
        if not is_kept:
            # If the storage fails here, the janitor removes the folder later.
            with suppress(StorageError):
                storage.drop_scratch(run.run_id)
    return pb.IngestResult(
        unchanged=fetched.is_known and run.grant.known.only_confirm,
        sha256=fetched.sha256,
        bytes=fetched.bytes,
        etag=fetched.version.etag,
        last_modified=fetched.version.last_modified,
    )


def lost_build(run: Run, sha256: str, status: StatusClient, storage: Storage) -> str:
    """Return the current build of these bytes if its files are missing from storage, else ""."""
    try:
        pyramid = status.get_pyramid(tile_id(sha256, run.grant.options))
        for name in FILES:
            storage.size(pyramid_key(pyramid.tile_id, pyramid.build, name))
    except ObjectMissing as error:
        logger.warning("%s: its pyramid's files are missing, so it is tiled again: %s", run.wake_up.dataset_id, error)
        return pyramid.build
    except NotFound:
        return ""
    except (StatusUnavailable, grpc.RpcError) as error:
        logger.warning("%s: could not check whether its pyramid's files exist: %s", run.wake_up.dataset_id, error)
    return ""


def _fetch(run: Run, path: Path, dependencies: Dependencies) -> Fetched:
    """Store the source. Download it unless it is already stored and unchanged."""
    settings, storage = dependencies.settings, dependencies.storage
    known = run.grant.known
    arrived = ""
    while True:
        fetch = Fetch(
            run.grant.url,
            path,
            settings=settings,
            guard=dependencies.guard,
            hosts=dependencies.hosts.without_additional() if run.grant.connections else dependencies.hosts,
            progress=partial(_report, run),
            kept=lambda count: run.report(bytes_kept=count),
            room=lambda needed: require_room(storage, needed, settings.disk_reserve_bytes),
            waiting=run.note_waiting,
            asking=lambda host: run.report(source_host=host),
            known=_known(known),
            expected_sha256=run.grant.expected_sha256,
        )
        run.on_stop(fetch.cancel)
        try:
            with written_back(path):
                _preflight(run, fetch, settings, path.parent)
                fetched = fetch.run()
                run.keep_slot()
        except ChecksumMismatch as error:
            if error.expected.by != REQUEST or arrived not in {"", error.found}:
                raise
            if arrived:
                raise error.again() from error
            # Either the file was damaged in transit, or the requested SHA-256 is wrong. A second download shows which.
            arrived = error.found
            for file in path.parent.iterdir():
                file.unlink()
            continue
        finally:
            fetch.close()
        run.check()
        if fetched.is_known and known.only_confirm:
            _report(run, fetched.bytes, fetched.bytes)
            return fetched
        if not fetched.is_known:
            storage.put_file(path, run.grant.source_key)
            return fetched
        try:
            storage.link(known.source_key, run.grant.source_key)
        except ObjectMissing:
            known = pb.KnownSource()
        else:
            _report(run, fetched.bytes, fetched.bytes)
            return fetched


def _preflight(run: Run, fetch: Fetch, settings: IngestSettings, folder: Path) -> None:
    """Read the header before the download, if the source is large enough to be worth it.

    Raises StageError if the source cannot be fetched, or if the header shows that it cannot be tiled.
    """
    try:
        opened = fetch.open()
    finally:
        # Also if it failed: the message is easier to understand with the address that was requested.
        run.report(rewritten=rewritten(fetch))
    run.report(resumable=fetch.remote_file.is_divisible or isinstance(opened, Tiling))
    if isinstance(opened, Fetched) or is_small(fetch, settings.preflight_min_bytes):
        return
    seen = read_header(
        fetch,
        settings=settings,
        page=run.grant.options.page if run.grant.options.HasField("page") else None,
        channels=run.grant.options.channels,
        member=run.grant.options.member,
        accept_damage=run.grant.options.damage == pb.DAMAGE_ACCEPT,
        folder=folder,
        on_start=lambda child: run.on_stop(child.kill),
    )
    run.check()
    if seen.header is not None:
        run.report(source=source_info(seen.header))
    if seen.refused is not None:
        raise seen.refused


def _known(source: pb.KnownSource) -> Fetched | None:
    version = Version(source.etag, source.last_modified)
    return (
        Fetched(source.sha256, source.bytes, version)
        if (source.source_key or source.only_confirm) and version
        else None
    )


def _may_go_on(run: Run, error: Exception) -> bool:
    """Return whether a later run of the dataset may resume this run's download."""
    if run.stopped.is_set():
        return run.stop_reason not in FOR_GOOD
    return can_go_on(error) and not (isinstance(error, StageError) and error.code in BETTER_ANEW)


def _report(run: Run, done: int, total: int | None) -> None:
    percent = 100.0 * done / total if total else None
    run.report(bytes_downloaded=done, bytes_total=total, stage_percent=percent)


def _hand_on(wake_up: pb.WakeUp, status: StatusClient, publish: Publish) -> None:
    """Wake the tiler. If this fails, the relay does it once the wake-up's lease expires."""
    try:
        publish(wake_up)
        status.confirm_published(wake_up)
    except (dramatiq.DramatiqError, StatusUnavailable, UnknownStage, grpc.RpcError) as error:
        logger.warning("%s: could not wake the tiler, so the relay will: %s", wake_up.dataset_id, error)
