"""What every test may ask for: a vhost of a real RabbitMQ, a database of a real PostgreSQL; and the rule on sockets."""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.support.rigs import servers

Server = TypeVar("Server")

FAULTS = "tests/faults/"

FAILED = pytest.StashKey[bool]()
"""Of a test: whether it has failed, for fixtures that come after."""


for _sign in (signal.SIGINT, signal.SIGHUP):
    # nohup, and shells for what they run in the background, have these ignored, which children inherit; a handler,
    # they do not. Tests send both.
    if signal.getsignal(_sign) is signal.SIG_IGN:
        signal.signal(_sign, lambda *_: None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes for the fixtures that a test has failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


class ByRoom(LoadScopeScheduling):  # type: ignore[misc]  # the package has no types
    """Gives one worker all of tests/faults, in which one test at a time may break things, and others file by file."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return FAULTS if path.startswith(FAULTS) else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByRoom:
    """What pytest-xdist asks for: who runs what where several workers do (`make test`)."""
    return ByRoom(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the faults, which take the longest, and mostly wait: the other worker has all else meanwhile."""
    items.sort(key=lambda item: not item.nodeid.startswith(FAULTS))


def started(server: AbstractContextManager[Server]) -> Iterator[Server]:
    """A server as a fixture: where this machine lacks it, the test is skipped, or fails in CI."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except servers.Lacking as lack:
            if os.environ.get("CI"):
                pytest.fail(str(lack))
            pytest.skip(str(lack))
        yield running


@pytest.fixture(scope="session")
def shared_rabbitmq() -> Iterator[servers.OwnRabbit]:
    """The run's one RabbitMQ, started when the first test asks for it."""
    yield from started(servers.rabbitmq())


@pytest.fixture
def rabbitmq_server(shared_rabbitmq: servers.OwnRabbit) -> servers.RabbitServer:
    """The run's one RabbitMQ, started again where it has crashed."""
    shared_rabbitmq.revive()
    return shared_rabbitmq


@pytest.fixture
def rabbitmq_url(rabbitmq_server: servers.RabbitServer) -> Iterator[str]:
    """The AMQP URL of a vhost that only this test uses."""
    with rabbitmq_server.vhost() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.PostgresServer]:
    """The run's one PostgreSQL, started when the first test asks for it."""
    yield from started(servers.postgres())


@pytest.fixture
def postgres_url(postgres_server: servers.PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL of an empty database that only this test uses."""
    with postgres_server.database() as url:
        yield url


class SocketRule:
    """No test may talk to another machine: what tries to is stopped, and its test fails even if it hides the error."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Python's audit hook; see the standard library's table of audit events."""
        if event not in {"socket.connect", "socket.sendto"}:
            return
        address = arguments[1]
        if isinstance(address, tuple) and not self._is_here(str(address[0])):
            self.broken.append(f"{event} {address!r}")
            raise ConnectionRefusedError(f"tests must not leave this machine: {event} {address!r}")

    @staticmethod
    def _is_here(host: str) -> bool:
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


_socket_rule = SocketRule()
sys.addaudithook(_socket_rule)


@pytest.fixture(autouse=True)
def stay_on_this_machine() -> Iterator[SocketRule]:
    """Fail a test that opens a socket to anything but the loopback."""
    _socket_rule.broken.clear()
    yield _socket_rule
    if _socket_rule.broken:
        pytest.fail("this test tried to leave the machine: " + ", ".join(_socket_rule.broken), pytrace=False)
