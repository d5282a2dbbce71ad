"""A farm for tests that break it, and pictures no two of which are alike."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import FAILED
from tests.faults.farm import Farm
from tests.support.images import pictures
from tests.support.network.sources import SourceServer, serve
from tests.support.rigs import servers

NewPicture = Callable[[], bytes]


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> NewPicture:
    return new_pictures(tmp_path_factory.mktemp("picture"))


def new_pictures(folder: Path) -> NewPicture:
    """Gives JPEGs of 1,100 x 700 pixels that show the same and differ in their bytes; over two blocks of a download."""
    file = pictures.jpeg(folder / "a.jpg", 1100, 700, Q=96)
    data, numbers = file.read_bytes(), itertools.count()
    assert len(data) > 600_000

    def make() -> bytes:
        comment = b"%d" % next(numbers)
        return data[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + data[2:]

    return make


@pytest.fixture(scope="session")
def sources() -> Iterator[SourceServer]:
    """Paths are scripted, each test its own."""
    with serve() as server:
        yield server


@contextmanager
def running_farm(
    folder: Path,
    broker: servers.RabbitServer,
    url: str,
    database_url: str,
    sources: SourceServer,
    *,
    storage: Path | None = None,
    **variables: str,
) -> Iterator[Farm]:
    """A started farm."""
    farm = Farm(folder, broker, url, database_url, f"127.0.0.1:{sources.port}", storage=storage, **variables)
    try:
        farm.start()
        yield farm
    finally:
        farm.close()


class SharedFarm:
    """A farm that tests use one after the other. After one that failed it is made anew: what that one has left
    behind (a frozen service, a dataset at work) is no fault of the next.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Farm]]) -> None:
        self._make = make
        self._stack = ExitStack()
        self._farm: Farm | None = None

    @contextmanager
    def lend(self, test: pytest.Stash) -> Iterator[Farm]:
        """The farm, which is afterwards as it was when it was started. `test`: where FAILED is noted."""
        if self._farm is None:
            self._farm = self._stack.enter_context(self._make())
        try:
            yield self._farm
            if not test.get(FAILED, False):
                self._farm.reset()
                return
        except BaseException:
            self.close()
            raise
        self.close()

    def close(self) -> None:
        self._farm = None
        self._stack.close()


def lendable(
    new_folder: Callable[[], Path], rabbitmq: servers.OwnRabbit, sources: SourceServer
) -> Iterator[SharedFarm]:
    """A farm on SQLite, on a broker that others may use as well."""

    @contextmanager
    def make() -> Iterator[Farm]:
        folder = new_folder()
        with rabbitmq.vhost() as url:
            with running_farm(folder, rabbitmq, url, f"sqlite:///{folder}/rows.sqlite3", sources) as farm:
                yield farm

    shared = SharedFarm(make)
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def shared_farm(
    tmp_path_factory: pytest.TempPathFactory, shared_rabbitmq: servers.OwnRabbit, sources: SourceServer
) -> Iterator[SharedFarm]:
    yield from lendable(partial(tmp_path_factory.mktemp, "farm"), shared_rabbitmq, sources)


@pytest.fixture
def farm(
    shared_farm: SharedFarm, rabbitmq_server: servers.RabbitServer, request: pytest.FixtureRequest
) -> Iterator[Farm]:
    """The run's farm on SQLite, as it was when it was started; a test may do with its services what it wants."""
    with shared_farm.lend(request.node.stash) as farm:
        yield farm


@pytest.fixture
def postgres_farm(
    tmp_path: Path, rabbitmq_server: servers.RabbitServer, rabbitmq_url: str, postgres_url: str, sources: SourceServer
) -> Iterator[Farm]:
    """A farm of the test's own on PostgreSQL."""
    with running_farm(tmp_path, rabbitmq_server, rabbitmq_url, postgres_url, sources) as farm:
        yield farm
