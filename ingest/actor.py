"""The actor of queue `ingest`: one source from its URL into storage, then the tiler's wake-up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import dramatiq
import grpc

from ingest.fetch import Fetch
from ingest.guard import Guard
from ingest.settings import IngestSettings
from pipeline import faults
from pipeline.errors import StatusUnavailable, StorageError
from pipeline.messages import ActorName, Queue
from pipeline.run import Limits, Run, run_stage
from pipeline.sources import Allowed
from pipeline.status import StatusClient
from pipeline.storage import Storage, require_room
from pipeline.writeback import written_back
from protos.tilewright.status.v1 import status_pb2 as pb

logger = logging.getLogger(__name__)

Publish = Callable[[pb.WakeUp], None]
"""Publishes a wake-up and waits for the confirm; raises dramatiq.DramatiqError."""


def declare(
    broker: dramatiq.Broker,
    settings: IngestSettings,
    status: StatusClient,
    storage: Storage,
    stopping: threading.Event,
    *,
    publish: Publish,
) -> dramatiq.Actor[[str, int], None]:
    """Declares the actor on a broker.

    Parameters
    ----------
    stopping: set when the worker has been asked to stop.
    publish: wakes the tiler. On RabbitMQ it goes through a broker of its own: a worker consumes every queue that its
        own broker has ever published to.

    Raises ValueError where TILEWRIGHT_ALLOW_SOURCES has an entry that is no source.
    """
    guard = Guard(Allowed(settings.allow_sources))
    limits = Limits(total=settings.stage_time_limit, progress=settings.stage_progress_limit)

    @dramatiq.actor(broker=broker, queue_name=Queue.INGEST, actor_name=ActorName.INGEST)
    def fetch_source(dataset_id: str, attempt: int) -> None:
        wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=pb.STAGE_INGEST)
        answer = run_stage(
            status, wake_up, lambda run: ingest(run, settings, guard, storage), stopping=stopping, limits=limits
        )
        if answer is not None and answer.HasField("next"):
            faults.reach("ingest_after_complete")
            _hand_on(answer.next, status, publish)

    return fetch_source


def ingest(run: Run, settings: IngestSettings, guard: Guard, storage: Storage) -> pb.IngestResult:
    """The stage's work: fetches the run's URL and stores it under the key of its grant.

    Raises
    ------
    StageError: the source cannot be had.
    Stopped: the run was told to stop.
    """
    try:
        path = storage.scratch(run.run_id) / "source"
        fetch = Fetch(
            run.grant.url,
            path,
            settings=settings,
            guard=guard,
            progress=partial(_report, run),
            room=lambda needed: require_room(storage, needed, settings.disk_reserve_bytes),
        )
        run.on_stop(fetch.close)
        with written_back(path):
            fetched = fetch.run()
        run.check()
        faults.reach("ingest_before_store")
        storage.put_file(path, run.grant.source_key)
    finally:
        # What stays for want of a working storage is swept by the janitor.
        with suppress(StorageError):
            storage.drop_scratch(run.run_id)
    return pb.IngestResult(sha256=fetched.sha256, bytes=fetched.bytes)


def _report(run: Run, done: int, total: int | None) -> None:
    if 0 < done != total:
        faults.reach("ingest_mid_download")
    percent = 100.0 * done / total if total else None
    run.report(bytes_downloaded=done, bytes_total=total, stage_percent=percent)


def _hand_on(wake_up: pb.WakeUp, status: StatusClient, publish: Publish) -> None:
    """Wakes the tiler. Where it fails, the relay does it once the wake-up's lease ends."""
    try:
        publish(wake_up)
        faults.reach("ingest_after_publish")
        status.confirm_published(wake_up)
    except (dramatiq.DramatiqError, StatusUnavailable, grpc.RpcError) as error:
        logger.warning("%s: the tiler's wake-up is left to the relay: %s", wake_up.dataset_id, error)
