"""Stored pyramids, built by the tiler itself, and the apps that serve them: by a call, or by a real server."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import uvicorn
from starlette.types import ASGIApp, Message

from gateway.tiles.dataset_addresses import DatasetAddresses
from gateway.tiles.iiif import Iiif
from gateway.tiles.pyramid_cache import PyramidCache
from gateway.tiles.region_cache import RegionCache
from gateway.tiles.regions import Regions
from gateway.tiles.tile_app import Tiles
from pipeline.errors import NotFound, StatusUnavailable
from pipeline.pyramids.geometry import FILES, Geometry
from pipeline.storage.directory import DirectoryStorage, pyramid_key
from protos.tilewright.status.v1 import status_pb2 as pb
from tiler.build.pyramid import build
from tiler.decode import open_picture, reader_of
from tiler.job import Built, Job
from tiler.progress import Meter

TILE_ID = "0123456789abcdef" * 4

DATASET_ID = "custom_0a1b2c3d"

T = TypeVar("T")


class Answer(NamedTuple):
    """What an app answered; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class RemoteStorage(DirectoryStorage):
    """A storage whose objects have no path of their own, as a bucket's."""

    def local_path(self, key: str) -> Path | None:
        return None


class Catalogue:
    """Stands for statussvc: which build counts, and which pyramid a dataset shows, or why none."""

    def __init__(self) -> None:
        self.pyramids: dict[str, pb.Pyramid] = {}
        self.shown: dict[str, str | NotFound] = {}
        self.asked: list[str] = []
        self.away = False

    async def get(self, tile_id: str) -> pb.Pyramid:
        self.asked.append(tile_id)
        await asyncio.sleep(0)
        if self.away:
            raise StatusUnavailable("statussvc is away")
        if tile_id not in self.pyramids:
            raise NotFound(f"no pyramid {tile_id}")
        return self.pyramids[tile_id]

    async def resolve(self, dataset_id: str) -> pb.Pyramid:
        self.asked.append(dataset_id)
        await asyncio.sleep(0)
        if self.away:
            raise StatusUnavailable("statussvc is away")
        found = self.shown.get(dataset_id, NotFound(f"no dataset {dataset_id}"))
        if isinstance(found, NotFound):
            raise found
        return self.pyramids.get(found, pb.Pyramid(tile_id=found))

    async def dataset(self, dataset_id: str) -> pb.Dataset:
        await self.resolve(dataset_id)
        return pb.Dataset(dataset_id=dataset_id, name="The Earth", description="In June", category="earth")


class Kiln:
    """Builds pyramids by the tiler itself, each but once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built: dict[tuple[bytes, int], tuple[Path, Built]] = {}

    def build(self, source: Path, tile_size: int) -> tuple[Path, Built]:
        key = (source.read_bytes(), tile_size)
        if key not in self._built:
            out = self._folder / str(len(self._built))
            out.mkdir()
            job = Job(str(source), str(out), TILE_ID, "s" * 64, tile_size, 10**9, "8.18.3")
            meter = Meter(lambda *_: None)
            self._built[key] = out, build(open_picture(reader_of(source), meter=meter), job, meter)
        return self._built[key]


class Site:
    """Stored pyramids and the apps that serve them."""

    def __init__(self, storage: DirectoryStorage, folder: Path, kiln: Kiln) -> None:
        self.storage = storage
        self.kiln = kiln
        self.folder = folder
        self.catalogue = Catalogue()
        self.pyramids = PyramidCache(self.catalogue.get, storage)
        self.now = 0.0
        self.addresses = DatasetAddresses(self.catalogue.resolve, lambda: self.now)
        self.tiles = Tiles(self.pyramids, self.addresses)
        self.regions = Regions(4 << 20, 2, 20.0, RegionCache(folder / "iiif-cache", 1 << 30, 0))
        self.iiif = Iiif(self.pyramids, self.regions, self.addresses, self.catalogue.dataset)

    def store(self, source: Path, *, tile_id: str = TILE_ID, run: str = "a", tile_size: int = 256) -> pb.Pyramid:
        folder, built = self.kiln.build(source, tile_size)
        scratch = self.storage.scratch(run)
        for name in FILES:
            shutil.copy(folder / name, scratch)
            self.storage.put_file(scratch / name, pyramid_key(tile_id, run, name))
        geometry = Geometry(built.width, built.height, tile_size)
        self.catalogue.pyramids[tile_id] = pb.Pyramid(
            tile_id=tile_id,
            build=run,
            width=built.width,
            height=built.height,
            tile_size=tile_size,
            format=pb.TILE_FORMAT_JPEG if built.extension == "jpg" else pb.TILE_FORMAT_PNG,
            max_zoom=geometry.max_zoom,
            tile_count=built.tile_count,
            bytes=built.size,
        )
        return self.catalogue.pyramids[tile_id]

    def stored(self, name: str, run: str = "a") -> Path:
        return self.storage.root / pyramid_key(TILE_ID, run, name)

    def close(self) -> None:
        self.pyramids.close()
        self.regions.close()
        for thread in self.regions.pool.threads:
            thread.join()

    def get(self, path: str, method: str = "GET", app: ASGIApp | None = None, **headers: str) -> Answer:
        return run(call(app or self.tiles, path, method, **headers))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def call(app: ASGIApp, path: str, method: str = "GET", **headers: str) -> Answer:
    """One request straight to the app."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    received: list[Message] = []

    async def receive() -> Message:
        if received:
            await asyncio.Event().wait()  # the client stays
        received.append({"type": "http.request", "body": b"", "more_body": False})
        return received[0]

    given = {"host": "tiles.example.org"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    start, *bodies = sent
    names = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], names, b"".join(message["body"] for message in bodies))


class Server:
    """The app behind a real HTTP server on a free port, in a thread of its own; by the protocol given, or uvicorn's."""

    def __init__(self, app: ASGIApp, http: type[asyncio.Protocol] | None = None) -> None:
        config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none", server_header=False)
        if http is not None:
            config.http = http
        self._server = uvicorn.Server(config)
        self._started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    def __enter__(self) -> int:
        self._thread.start()
        assert self._started.wait(60)
        port: int = self._server.servers[0].sockets[0].getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    async def _serve(self) -> None:
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup()
        self._started.set()
        await self._server.main_loop()
        await self._server.shutdown()
