"""The actor of the queue `inspect`: report what a source is, and fetch only its header."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import dramatiq

from ingest.dependencies import Dependencies
from ingest.download import Fetch
from ingest.http import too_large
from ingest.preflight import Look, read_header, rewritten, source_info, stack_info
from ingest.settings import IngestSettings
from pipeline.errors import StageError, Stopped, StorageError
from pipeline.identity import Identified
from pipeline.messages import ActorName, Queue
from pipeline.pyramids import Geometry
from pipeline.run import Limits, Run, failure_of, run_stage
from pipeline.sandbox.parent import Child
from pipeline.status import StatusClient
from pipeline.storage import Storage
from protos.tilewright.status.v1 import status_pb2 as pb

ANY_LENGTH = 1 << 62
"""Size limit of an inspected source: none, because the report says if the source is too large to download."""

MOST_CONTENT_TYPE = 200
"""Maximum characters of a Content-Type in the report."""


def declare(
    broker: dramatiq.Broker,
    settings: IngestSettings,
    status: StatusClient,
    storage: Storage,
    stopping: threading.Event,
    identity: Identified | None = None,
) -> dramatiq.Actor[[str, int], None]:
    """Declare the actor on a broker.

    Raises ValueError if TILEWRIGHT_ALLOW_SOURCES has an invalid entry.

    Parameters
    ----------
    stopping: set when the worker has to stop.
    identity: checks that the storage belongs to the database.
    """
    dependencies, limits = Dependencies.of(settings, storage), Limits.of(settings)

    @dramatiq.actor(broker=broker, queue_name=Queue.INSPECT, actor_name=ActorName.INSPECT)
    def inspect_source(dataset_id: str, attempt: int) -> None:
        wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=pb.STAGE_INSPECT)
        run_stage(
            status, wake_up, lambda run: inspect(run, dependencies), stopping=stopping, limits=limits, storage=identity
        )

    return inspect_source


def inspect(run: Run, dependencies: Dependencies) -> pb.InspectionReport:
    """Do the stage's work: request the run's URL, read the header, and disconnect.

    Raises
    ------
    StageError: the source cannot be fetched.
    Stopped: the run has to stop.
    """
    try:
        return _Inspection(run, dependencies, dependencies.storage.scratch(run.run_id)).report()
    finally:
        # If the storage fails here, the janitor removes the folder later.
        with suppress(StorageError):
            dependencies.storage.drop_scratch(run.run_id)


def _of_inspections(settings: IngestSettings) -> IngestSettings:
    most = settings.inspect_answer_timeout
    return settings.model_copy(
        update={
            "max_source_bytes": ANY_LENGTH,
            "source_answer_timeout": min(most, settings.source_answer_timeout),
            "source_read_timeout": min(most, settings.source_read_timeout),
        }
    )


class _Inspection:
    """One inspection with a time limit."""

    def __init__(self, run: Run, dependencies: Dependencies, folder: Path) -> None:
        self._run = run
        self._settings = dependencies.settings
        self._folder = folder
        self._is_late = threading.Event()
        self._child: Child | None = None
        self._fetch = Fetch(
            run.grant.url,
            folder / "source",
            settings=_of_inspections(dependencies.settings),
            guard=dependencies.guard,
            hosts=dependencies.hosts,
            progress=lambda _done, _total: None,
            waiting=run.note_waiting,
        )

    def report(self) -> pb.InspectionReport:
        """Inspect the source and return the report."""
        self._run.on_stop(self._end)
        watchdog = threading.Timer(self._settings.inspect_time_limit, self._end_late)
        watchdog.daemon = True
        watchdog.start()
        try:
            self._fetch.open()
            seen = read_header(
                self._fetch,
                settings=self._settings,
                page=None,
                folder=self._folder,
                member=self._run.grant.options.member,
                on_start=self._started,
            )
            self._run.check()
            self._check_time()
            if seen.failed is not None and seen.header is None and seen.refused is None:
                raise seen.failed
            return self._describe(seen)
        except Stopped:
            self._check_time()
            raise
        finally:
            watchdog.cancel()
            self._fetch.close()

    def _describe(self, seen: Look) -> pb.InspectionReport:
        remote_file = self._fetch.remote_file
        report = pb.InspectionReport(
            content_type=next(iter(remote_file.headers("Content-Type")), "")[:MOST_CONTENT_TYPE],
            ranges=remote_file.gives_parts,
            fetched_bytes=seen.fetched,
            memory_bytes=seen.memory,
        )
        if (link := rewritten(self._fetch)) is not None:
            report.rewritten.CopyFrom(link)
        if remote_file.length is not None:
            report.bytes = remote_file.length
        if seen.header is not None:
            geometry = Geometry(seen.header.width, seen.header.height)
            report.source.CopyFrom(source_info(seen.header))
            report.page = seen.page
            if seen.stack.channels:
                report.stack.CopyFrom(stack_info(seen.stack))
            report.levels, report.tiles, report.max_zoom = (
                geometry.max_level + 1,
                geometry.tile_count,
                geometry.max_zoom,
            )
        if (refused := self._refusal(seen)) is not None:
            report.refused.CopyFrom(failure_of(refused))
        return report

    def _refusal(self, seen: Look) -> StageError | None:
        length, most = self._fetch.remote_file.length, self._settings.max_source_bytes
        if length is not None and length > most:
            return too_large(self._fetch.remote_file.host, most, length)
        return seen.refused

    def _started(self, child: Child) -> None:
        self._child = child
        if self._is_late.is_set() or self._run.stopped.is_set():
            child.kill()

    def _end(self) -> None:
        self._fetch.cancel()
        if self._child is not None:
            self._child.kill()

    def _end_late(self) -> None:
        self._is_late.set()
        self._end()

    def _check_time(self) -> None:
        if self._is_late.is_set() and not self._run.stopped.is_set():
            seconds = self._settings.inspect_time_limit
            raise StageError("source_timeout", f"The inspection took longer than {seconds:g} seconds. Retry later.")
