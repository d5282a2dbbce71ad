"""The gateway as one ASGI app.

RequestId ▸ AccessLog ▸ Gateway ┬ /tiles/…   Deep Zoom and XYZ ┐ plain ASGI apps that share one cache of
                                ├ /iiif/…    IIIF Image API    ┘ pyramids: no routing, no dependency injection
                                └ the rest   FastAPI: the API, IIIF collections and changes, health, the pages

A plain GET of a tile that is in memory never gets here: gateway.http_server_protocol responds to it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import grpc
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api import IIIF_PATHS, ROUTERS, Context, Publisher, StatusApp, Sweeper, cached_document
from gateway.http import (
    AccessLog,
    BodyLimit,
    Cors,
    CrossSiteCheck,
    Deleted,
    ErrorResponses,
    Forwarded,
    NotReady,
    RequestId,
    UnfinishedBody,
    handle_error,
)
from gateway.pages import page_routes
from gateway.rpc import RefuseCrowd, ask
from gateway.settings import GatewaySettings
from gateway.tiles import (
    IIIF_PREFIX,
    TILES_PREFIX,
    DatasetAddresses,
    Iiif,
    PyramidApp,
    PyramidCache,
    QuickTiles,
    RegionCache,
    Regions,
    Tiles,
    page_of,
)
from pipeline.errors import NotFound, StorageError, TilewrightError
from pipeline.identity import Identified
from pipeline.machine import usable_cores
from pipeline.status import AsyncStatusClient
from pipeline.storage import Storage, pyramid_folder
from protos.tilewright.status.v1 import status_pb2 as pb

logger = logging.getLogger(__name__)

TEND_INTERVAL = 5.0
"""Seconds for which a deleted pyramid may still be served and occupy disk space."""

SWEEP_INTERVAL = 300.0
"""Seconds for which regions of a deleted pyramid may stay in the cache. They are not served."""

MOST_IIIF_WORKERS = 4
"""Child processes that make regions, by default: more cores should be left to tiles and to the tiler."""


class Gateway:
    """The ASGI app that the server runs.

    Parameters
    ----------
    context: the shared objects. Set `context.stopping` before the server stops.
    api: handles all requests that `apps` do not handle.
    pyramids, addresses: the caches that `apps` share.
    regions: what makes regions of pyramids.
    apps: apps by the prefix of the paths that they handle.
    """

    def __init__(
        self,
        context: Context,
        api: ASGIApp,
        pyramids: PyramidCache,
        addresses: DatasetAddresses,
        regions: Regions,
        apps: Mapping[str, PyramidApp],
    ) -> None:
        self.context = context
        self._api = StatusApp(RefuseCrowd(api, context.gate), context.polls)
        self._apps = apps
        self._pyramids = pyramids
        self._regions = regions
        context.background.add("tend", self.tend)
        context.background.add("regions", self.sweep_regions)
        context.background.add("storage watch", context.storage_watch.watch)
        settings = context.settings
        checked = CrossSiteCheck(
            self._dispatch, settings.host, settings.public_url, settings.allowed_hosts, settings.allowed_origins
        )
        self.quick_tiles = QuickTiles(pyramids, addresses, checked.is_own_host, public_url=settings.public_url)
        trusted = [ipaddress.ip_network(entry) for entry in settings.trusted_proxies]
        forwarded = Forwarded(checked, trusted, context.warnings, has_public_url=bool(settings.public_url))
        self._app = RequestId(AccessLog(ErrorResponses(forwarded)))

    def close(self) -> None:
        """Close the open files of pyramids, and end the processes that make regions."""
        self._pyramids.close()
        self._regions.close()

    async def tend(self) -> None:
        """Close the files of deleted pyramids every TEND_INTERVAL, to free their disk space. Runs until cancelled."""
        while True:
            await asyncio.sleep(TEND_INTERVAL)
            await self._pyramids.drop_deleted()

    async def sweep_regions(self) -> None:
        """Remove regions of deleted pyramids from the cache every SWEEP_INTERVAL. Runs until cancelled."""
        storage = self.context.storage

        def exists(tile_id: str) -> bool:
            return next(iter(storage.list_prefix(pyramid_folder(tile_id))), None) is not None

        while True:
            # While the storage does not answer, nothing is removed.
            with suppress(StorageError):
                removed = await self._regions.drop_gone(exists)
                if removed:
                    logger.info("removed %d regions of deleted pyramids from the cache", removed)
            await asyncio.sleep(SWEEP_INTERVAL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway does not support {scope['type']}")
        for prefix, app in self._apps.items():
            if scope["path"].startswith(prefix) and not scope["path"].startswith(IIIF_PATHS):
                await app(scope, receive, send)
                return
        if scope["method"] == "HEAD":
            # HEAD works wherever GET does. The server sends only the headers, because its own scope still says HEAD.
            scope = {**scope, "method": "GET"}
        await self._api(scope, receive, send)


def create_app(
    settings: GatewaySettings,
    status: AsyncStatusClient,
    storage: Storage,
    relay: Publisher,
    janitor: Sweeper,
    sandbox: Mapping[str, str] | None = None,
    identity: Identified | None = None,
) -> Gateway:
    """Create a gateway.

    Parameters
    ----------
    status: a client of the running event loop; the caller closes it.
    relay: poked after each commit.
    janitor: poked after each deletion.
    sandbox: for each layer of the decoders' sandbox, "ok" or what is missing; None if this process runs no tiler.
    identity: checks that the storage belongs to the database; None to skip this check.
    """
    context = Context(settings, status, storage, relay, janitor, sandbox, identity)
    pyramids = PyramidCache(
        partial(_get_pyramid, context), storage, threads=context.storage_threads, missed=janitor.suspect
    )
    addresses = DatasetAddresses(partial(_shown_by, context))
    regions = _make_regions(settings)
    context.regions = regions.facts
    apps: dict[str, PyramidApp] = {
        TILES_PREFIX: Tiles(pyramids, addresses, public_url=settings.public_url),
        IIIF_PREFIX: Iiif(pyramids, regions, addresses, partial(_get_dataset, context), public_url=settings.public_url),
    }
    return Gateway(context, _make_api(context), pyramids, addresses, regions, apps)


def _make_regions(settings: GatewaySettings) -> Regions:
    folder = settings.iiif_cache or settings.storage.parent / "iiif-cache"
    return Regions(
        settings.iiif_max_area,
        settings.iiif_workers or min(MOST_IIIF_WORKERS, usable_cores()),
        settings.iiif_time_limit,
        RegionCache(folder, settings.iiif_cache_bytes, settings.disk_reserve_bytes),
    )


async def _get_pyramid(context: Context, tile_id: str) -> pb.Pyramid:
    response = await ask(context.rpc.GetPyramid, pb.GetPyramidRequest(tile_id=tile_id))
    return response.pyramid


async def _get_dataset(context: Context, dataset_id: str) -> pb.Dataset:
    """Return a dataset. Raises NotFound or Deleted."""
    try:
        response = await ask(context.rpc.GetDataset, pb.GetDatasetRequest(dataset_id=dataset_id))
    except NotFound:
        await _shown_by(context, dataset_id)  # raises Deleted
        raise
    return response.dataset


async def _shown_by(context: Context, name: str) -> pb.Pyramid:
    """Return the pyramid that a dataset, or a page of it, shows. Raises NotFound, NotReady or Deleted."""
    dataset_id, page = page_of(name)
    response = await ask(context.rpc.ResolveDataset, pb.ResolveDatasetRequest(dataset_id=dataset_id, page=page))
    if response.deleted:
        raise Deleted(f"The dataset {dataset_id} was deleted.")
    if response.HasField("pyramid"):
        return response.pyramid
    if response.state == pb.STATE_CANCELLED:
        raise NotReady(f"The dataset {dataset_id} has no tiles: it was cancelled. Retry it.", will_be=False)
    if response.HasField("failure"):
        raise NotReady(
            f"The dataset {dataset_id} has no tiles, because it failed. {response.failure.message}", will_be=False
        )
    raise NotReady(f"The dataset {dataset_id} is not ready yet. Its tiles will be at this address.", will_be=True)


def _make_api(context: Context) -> FastAPI:
    app = FastAPI(
        openapi_url="/openapi.json",
        docs_url=None,  # gateway.pages serves /docs: FastAPI's page loads its assets from another host.
        redoc_url=None,
        redirect_slashes=False,  # Such redirects contain the Host that the client sent.
    )
    app.state.context = context
    app.openapi = cached_document(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    for error in (TilewrightError, grpc.RpcError, RequestValidationError, HTTPException):
        app.add_exception_handler(error, handle_error)
    # From the innermost to the outermost.
    app.add_middleware(BodyLimit)
    app.add_middleware(UnfinishedBody, stopping=context.stopping)
    app.add_middleware(ErrorResponses)
    app.add_middleware(Cors, origins=context.settings.allowed_origins)
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.extend(page_routes(context.settings.public_url))
    return app
