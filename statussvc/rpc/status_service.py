"""StatusService: for users and the gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from pipeline.status import is_search
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from statussvc.core import Core
from statussvc.db import (
    CatalogueEntry,
    DatasetRow,
    PyramidRow,
    VersionRow,
    catalogue,
    changes,
    identity,
    inspections,
    refreshes,
    search,
    user_actions,
    versions,
)
from statussvc.enums import StopReason
from statussvc.leases import Lease
from statussvc.lifecycle import FINAL
from statussvc.rpc import requests, version_views, views
from statussvc.rpc.malformed import Malformed

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, Any]

MAX_WAIT = 300
"""Seconds that a call may wait for an inspection to end."""

PROBE_INTERVAL = 0.5
"""Seconds for which one successful write shows that the next will succeed."""

PAGE_BYTES = 1 << 20
"""Bytes after which a page of the catalogue ends: 200 datasets with texts of five kilobytes each. 200 datasets with the
longest texts would be ten million bytes, in this process and in the gateway."""

READS = 5
"""How often rows are read again until they match the leases: a run may end between the two."""


class StatusService(pb_grpc.StatusServiceServicer):
    """Each rpc as status.proto describes it. Raises the errors of interceptor.CODES."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._checking: asyncio.Task[None] | None = None
        self._probe_due = time.monotonic()

    async def CreateDataset(self, request: pb.CreateDatasetRequest, context: Context) -> pb.CreateDatasetResponse:
        new = requests.new_dataset(request)
        now = self._core.now()

        def create(connection: Connection) -> tuple[CatalogueEntry, bool]:
            self._core.require_room()
            dataset_id, replayed = catalogue.create(connection, new, now, self._core.policy.source_fresh)
            return catalogue.get(connection, dataset_id), replayed

        entry, replayed = await self._core.database.write(create)
        return pb.CreateDatasetResponse(dataset=self._dataset(entry), replayed=replayed)

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.GetDatasetResponse:
        return pb.GetDatasetResponse(dataset=self._dataset(await self._entry(request.dataset_id)))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:
        wanted = requests.page(request)
        if request.query:
            return await self._search(wanted, lambda connection: search.find(connection, request.query, wanted))
        if is_search(request):
            return await self._search(wanted, lambda connection: catalogue.page_seqs(connection, wanted))
        entries = await self._entries(lambda connection: catalogue.page(connection, wanted))
        shown = entries[: wanted.size]
        return self._page(shown, str(shown[-1].row.seq) if len(entries) > wanted.size else "")

    async def UpdateDataset(self, request: pb.UpdateDatasetRequest, context: Context) -> pb.UpdateDatasetResponse:
        texts, now = requests.new_texts(request), self._core.now()
        entry = await self._core.database.write(
            lambda connection: catalogue.describe(connection, request.dataset_id, texts, now)
        )
        self._core.hub.notify(request.dataset_id)
        return pb.UpdateDatasetResponse(dataset=self._dataset(entry))

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> pb.DeleteDatasetResponse:
        now = self._core.now()
        run_id = await self._core.database.write(
            lambda connection: user_actions.delete(connection, request.dataset_id, now)
        )
        self._stop(run_id, StopReason.DELETED, request.dataset_id)
        return pb.DeleteDatasetResponse()

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        return pb.GetStatusResponse(status=await self._status(request.dataset_id))

    async def WatchDataset(
        self, request: pb.WatchDatasetRequest, context: Context
    ) -> AsyncIterator[pb.WatchDatasetResponse]:
        with self._core.hub.watch(request.dataset_id) as watch:
            while True:
                watch.begin()
                entry = await self._entry(request.dataset_id)
                yield pb.WatchDatasetResponse(status=self._show(entry))
                if entry.row.state in FINAL:
                    return
                await watch.changed()

    async def CancelDataset(self, request: pb.CancelDatasetRequest, context: Context) -> pb.CancelDatasetResponse:
        now = self._core.now()
        run_id = await self._core.database.write(
            lambda connection: user_actions.cancel(connection, request.dataset_id, now)
        )
        self._stop(run_id, StopReason.CANCELLED, request.dataset_id)
        return pb.CancelDatasetResponse(status=await self._status(request.dataset_id))

    async def RetryDataset(self, request: pb.RetryDatasetRequest, context: Context) -> pb.RetryDatasetResponse:
        if request.url:
            requests.check_source(request.url)
        now = self._core.now()
        await self._core.database.write(
            lambda connection: user_actions.retry(connection, request.dataset_id, now, request.url)
        )
        self._core.hub.notify(request.dataset_id)
        return pb.RetryDatasetResponse(status=await self._status(request.dataset_id))

    async def RefreshDataset(self, request: pb.RefreshDatasetRequest, context: Context) -> pb.RefreshDatasetResponse:
        now = self._core.now()

        def begin(connection: Connection) -> None:
            self._core.require_room()
            refreshes.begin(connection, request.dataset_id, now, force=request.force)

        await self._core.database.write(begin)
        self._core.hub.notify(request.dataset_id)
        return pb.RefreshDatasetResponse(status=await self._status(request.dataset_id))

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:
        def read(connection: Connection) -> tuple[CatalogueEntry, list[tuple[VersionRow, PyramidRow]]]:
            return catalogue.get(connection, request.dataset_id), versions.kept(connection, request.dataset_id)

        entry, earlier = await self._core.database.read(read)
        policy = self._core.policy
        return version_views.versions(entry, earlier, policy.keep_versions, policy.version_grace)

    async def GetPyramid(self, request: pb.GetPyramidRequest, context: Context) -> pb.GetPyramidResponse:
        row = await self._core.database.read(lambda connection: catalogue.pyramid(connection, request.tile_id))
        return pb.GetPyramidResponse(pyramid=views.pyramid(row))

    async def ResolveDataset(self, request: pb.ResolveDatasetRequest, context: Context) -> pb.ResolveDatasetResponse:
        if request.page < 0:
            raise Malformed("page: must not be negative")
        entry = await self._core.database.read(
            lambda connection: catalogue.resolve(connection, request.dataset_id, request.page)
        )
        return views.resolved(entry)

    async def ListChanges(self, request: pb.ListChangesRequest, context: Context) -> pb.ListChangesResponse:
        number = request.page if request.HasField("page") else None
        return views.change_pages(await self._core.database.read(lambda connection: changes.pages(connection, number)))

    async def CreateInspection(
        self, request: pb.CreateInspectionRequest, context: Context
    ) -> pb.CreateInspectionResponse:
        requests.check_source(request.url)
        options = requests.inspected(request)
        now = self._core.now()

        def create(connection: Connection) -> DatasetRow:
            self._core.require_room()
            return inspections.create(connection, request.url, options, now)

        row = await self._core.database.write(create)
        return pb.CreateInspectionResponse(inspection=views.inspection(row))

    async def GetInspection(self, request: pb.GetInspectionRequest, context: Context) -> pb.GetInspectionResponse:
        if not 0 <= request.wait_seconds <= MAX_WAIT:
            raise Malformed(f"wait_seconds: must be 0 to {MAX_WAIT}")
        with self._core.hub.watch(request.inspection_id) as watch, suppress(TimeoutError):
            async with asyncio.timeout(request.wait_seconds):
                while (await self._inspection(request.inspection_id)).state not in FINAL:
                    await watch.changed()
                    watch.begin()
        return pb.GetInspectionResponse(inspection=views.inspection(await self._inspection(request.inspection_id)))

    async def CheckAccepting(self, request: pb.CheckAcceptingRequest, context: Context) -> pb.CheckAcceptingResponse:
        # Many may ask at once. They share one check, so that they do not delay those who have something to write.
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check(), name="check-accepting")
        await asyncio.shield(self._checking)
        return pb.CheckAcceptingResponse()

    async def _check(self) -> None:
        if time.monotonic() < self._probe_due:
            await self._core.database.read(lambda _: self._core.require_room())
        else:
            await self._core.database.keep_house(self._probe)
            self._probe_due = time.monotonic() + PROBE_INTERVAL

    def _probe(self, connection: Connection) -> None:
        self._core.require_room()
        identity.probe(connection, self._core.now())

    async def _search(
        self, wanted: catalogue.Page, find: Callable[[Connection], Sequence[int]]
    ) -> pb.ListDatasetsResponse:
        found = await self._core.database.search(find)
        shown = found[: wanted.size]
        entries = await self._entries(lambda connection: catalogue.by_seq(connection, shown))
        return self._page(entries, str(shown[-1]) if len(found) > wanted.size else "")

    def _page(self, entries: Iterable[CatalogueEntry], next_token: str) -> pb.ListDatasetsResponse:
        """Make a page of entries, which ends early if it would be too large.

        Parameters
        ----------
        next_token: token of the next page if this one has all entries.
        """
        page, last, size = pb.ListDatasetsResponse(next_page_token=next_token), 0, 0
        for entry in entries:
            dataset = self._dataset(entry)
            size += dataset.ByteSize()
            if page.datasets and size > PAGE_BYTES:
                page.next_page_token = str(last)
                break
            page.datasets.append(dataset)
            last = entry.row.seq
        return page

    def _stop(self, run_id: str | None, reason: StopReason, dataset_id: str) -> None:
        if run_id:
            self._core.leases.stop(run_id, reason)
        self._core.hub.notify(dataset_id)

    async def _entry(self, dataset_id: str) -> CatalogueEntry:
        (entry,) = await self._entries(lambda connection: [catalogue.get(connection, dataset_id)])
        return entry

    async def _entries(self, read: Callable[[Connection], list[CatalogueEntry]]) -> list[CatalogueEntry]:
        """Entries that match the leases as they are when this returns."""
        leases = self._core.leases
        for _ in range(READS):
            entries = await self._core.database.read(read)
            runs = [(run_id, entry.row.dataset_id) for entry in entries for run_id in entry.run_ids]
            adopted = [run for run in runs if leases.first_beat_wait(run[0])]
            for run_id, dataset_id in adopted:
                await self._first_beat(run_id, dataset_id)
            if not adopted and all(leases.get(run_id) for run_id, _ in runs):
                break
        return entries

    async def _first_beat(self, run_id: str, dataset_id: str) -> None:
        """Wait for the first heartbeat of a run that was found at work after a restart."""
        with self._core.hub.watch(dataset_id) as watch:
            watch.begin()
            while seconds := self._core.leases.first_beat_wait(run_id):
                with suppress(TimeoutError):
                    await asyncio.wait_for(watch.changed(), seconds)
                watch.begin()

    async def _status(self, dataset_id: str) -> pb.DatasetStatus:
        return self._show(await self._entry(dataset_id))

    async def _inspection(self, inspection_id: str) -> DatasetRow:
        now = self._core.now()
        return await self._core.database.read(lambda connection: inspections.get(connection, inspection_id, now))

    def _show(self, entry: CatalogueEntry) -> pb.DatasetStatus:
        return views.status(entry, *self._leases(entry))

    def _dataset(self, entry: CatalogueEntry) -> pb.Dataset:
        return views.dataset(entry, *self._leases(entry))

    def _leases(self, entry: CatalogueEntry) -> tuple[Lease | None, Lease | None]:
        """The leases of the runs at work on a dataset and on its refresh."""
        get = self._core.leases.get
        return get(entry.row.run_id), get(entry.refresh.run_id) if entry.refresh is not None else None
