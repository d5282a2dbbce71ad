"""A real gateway inside the test process, beside a real statussvc, with or without a relay."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from gateway.api import Publisher, Sweeper
from gateway.app import create_app
from gateway.server import Server
from gateway.settings import GatewaySettings
from pipeline.status import AsyncStatusClient
from pipeline.storage.directory import DirectoryStorage
from tests.support.rigs.status_rig import shared_loop

_numbers = itertools.count(1)


@dataclass
class SilentRelay:
    """Publishes nothing, and counts how often it was poked."""

    pokes: int = 0
    said: str = "ok"
    suspected: list[str] = field(default_factory=list)

    def suspect(self, tile_id: str) -> None:
        self.suspected.append(tile_id)

    def poke(self) -> None:
        self.pokes += 1

    def state(self) -> str:
        return self.said


@dataclass
class Gateway:
    """A running gateway, as a client sees it."""

    url: str
    server: Server
    session: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Make one request; options are those of requests."""
        return self.session.request(method, f"{self.url}{path}", timeout=30, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.call("POST", path, **options)

    def submit(self, name: str = "Earth", **fields: Any) -> str:
        """Create a dataset, by default of a URL that no other has, and give its id."""
        url = f"https://example.org/{next(_numbers)}.jpg"
        answer = self.post("/api/datasets", json={"name": name, "url": url, **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["dataset_id"])

    def stop(self) -> None:
        """Ask the server to stop, without waiting for it."""
        shared_loop().loop.call_soon_threadsafe(self.server.stop)


@contextmanager
def serving(
    status_address: str,
    storage: Path,
    relay: Publisher | None = None,
    janitor: Sweeper | None = None,
    **settings: Any,
) -> Iterator[Gateway]:
    """Start a gateway on a free port, and stop it."""
    loop = shared_loop()

    async def start() -> tuple[Server, AsyncStatusClient, asyncio.Task[None]]:
        status = AsyncStatusClient(status_address)
        configured = GatewaySettings(status_address=status_address, storage=storage, port=0, **settings)
        app = create_app(
            configured, status, DirectoryStorage(storage), relay or SilentRelay(), janitor or SilentRelay()
        )
        server = Server(app, configured)
        task = asyncio.create_task(server.serve())
        await server.wait_until_ready()
        return server, status, task

    async def end() -> None:
        server.stop()
        await task
        await status.close()

    server, status, task = loop.run(start())
    gateway = Gateway(f"http://127.0.0.1:{server.port}", server)
    # What the environment says of proxies is not for the loopback.
    gateway.session.trust_env = False
    try:
        yield gateway
    finally:
        gateway.session.close()
        loop.run(end())
