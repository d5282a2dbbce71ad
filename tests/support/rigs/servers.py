"""Real servers for a test run: each on free ports of the loopback, in a folder of its own, ended by its own process.

Both RabbitMQ and PostgreSQL want an account that is not root. Where the tests run as root (in a container, in CI), the
server runs as the account that its package made; otherwise as whoever runs the tests.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from tests.support.rigs.processes import START_LIMIT, Account, Lacking, Running, find_program, free_port

__all__ = ["Lacking", "OwnRabbit", "PostgresServer", "RabbitServer", "free_port", "postgres", "rabbitmq"]


class RabbitServer:
    """A running rabbitmq-server.

    Parameters
    ----------
    port: the AMQP port.
    management_port: the port of the management plugin's API, which makes a vhost in a tenth of rabbitmqctl's time.
    name, password: of its administrator; by default what a new RabbitMQ has.
    """

    def __init__(self, port: int, management_port: int, name: str = "guest", password: str = "guest") -> None:
        self.port = port
        self.management_port = management_port
        self._name, self._credentials = name, f"{name}:{password}"
        self._numbers = itertools.count(1)

    @contextmanager
    def vhost(self) -> Iterator[str]:
        """The AMQP URL of a new vhost, which is deleted at the end, and with it its queues and connections."""
        name = f"test-{next(self._numbers)}"
        self.api("PUT", f"vhosts/{name}")
        try:
            self.api("PUT", f"permissions/{name}/{self._name}", {"configure": ".*", "write": ".*", "read": ".*"})
            yield f"amqp://{self._credentials}@127.0.0.1:{self.port}/{name}"
        finally:
            self.api("DELETE", f"vhosts/{name}")

    def api(self, method: str, path: str, body: object = None) -> object:
        """What the management API answers (decoded JSON, or None). Raises urllib.error.URLError."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": "Basic " + base64.b64encode(self._credentials.encode()).decode(),
                "Content-Type": "application/json",
            },
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            content = response.read()
        return json.loads(content) if content else None

    def answers(self) -> bool:
        """Whether the management API, which starts last, is there."""
        try:
            self.api("GET", "vhosts")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True


class OwnRabbit(RabbitServer):
    """One node, whose server comes and goes. What was durable is there again."""

    def __init__(self, account: Account, home: Path, *settings: str) -> None:
        super().__init__(free_port(), free_port())
        # Debian's wrapper in sbin insists on its fixed folders; the programs behind it obey their environment.
        folders = ("/usr/lib/rabbitmq/bin", "/usr/lib/rabbitmq/lib/*/sbin")
        self._program, self._ctl = find_program("rabbitmq-server", *folders), find_program("rabbitmqctl", *folders)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.environment = _environment(home, self, *settings)
        self._account, self._home = account, home
        self._stack = ExitStack()
        self._running: Running | None = None

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.process.pid

    def start(self) -> None:
        """Returns when it answers."""
        server = self._account.server([self._program], self._home, self.answers, self.environment, signal.SIGKILL)
        self._running = self._stack.enter_context(server)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self._running = None
        self._stack.close()

    def revive(self) -> None:
        """Starts it anew where it does not answer: a test that failed may have left it so, or it has crashed."""
        if not self.answers():
            self.kill()
            self.start()

    def control(self, *arguments: str) -> None:
        """Runs rabbitmqctl."""
        with self._account.process([self._ctl, *arguments], self._home, self.environment) as running:
            if running.process.wait(START_LIMIT) != 0:
                raise subprocess.CalledProcessError(running.process.returncode, arguments, running.log.read_text())


@contextmanager
def rabbitmq(*settings: str) -> Iterator[OwnRabbit]:
    """Run a rabbitmq-server with its own node name, port mapper (epmd) and folder. Raises Lacking.

    Parameters
    ----------
    settings: further lines of its rabbitmq.conf.
    """
    mapper, account = find_program("epmd"), Account("rabbitmq")
    with account.folder() as home:
        server = OwnRabbit(account, home, *settings)
        # The mapper is started here, in the foreground, or else Erlang starts one that nobody ends.
        with account.process([mapper], home, server.environment):
            try:
                server.start()
                yield server
            finally:
                server.kill()


def _environment(home: Path, server: RabbitServer, *settings: str) -> dict[str, str]:
    """Writes a RabbitMQ's files into its folder; gives its environment."""
    (home / "enabled_plugins").write_text("[rabbitmq_management].\n")
    lines = [
        f"listeners.tcp.1 = 127.0.0.1:{server.port}",
        "management.tcp.ip = 127.0.0.1",
        f"management.tcp.port = {server.management_port}",
        "log.console = true",
        "log.console.level = warning",
        "log.file = false",
        *settings,
    ]
    (home / "rabbitmq.conf").write_text("".join(f"{line}\n" for line in lines))
    (home / "env.conf").touch()
    return {
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(free_port()),
        # Replaces the start script's shell by the server, so that what is killed is the server itself.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_START_ARGS": "-noinput",
        "RABBITMQ_BASE": str(home),
        "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_NODENAME": f"tilewright-{os.getpid()}@localhost",
        "RABBITMQ_PID_FILE": str(home / "pid"),
        # How often a channel looks at its consumers' time, in milliseconds; rabbitmq.conf has no word for it.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-rabbit channel_tick_interval 1000",
    }


class PostgresServer:
    """A running PostgreSQL server, which trusts everyone on the loopback."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._numbers = itertools.count(1)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The SQLAlchemy URL of a new, empty database, which is dropped at the end."""
        name = f"test_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"
        finally:
            with self.connect() as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def connect(self) -> psycopg.Connection:
        """A connection to the server's own database, every statement on its own."""
        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", autocommit=True)

    def answers(self) -> bool:
        """Whether the server takes connections."""
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server on a new cluster. Raises Lacking."""
    folders = ("/usr/lib/postgresql/*/bin",)
    initdb, program = find_program("initdb", *folders), find_program("postgres", *folders)
    server, account = PostgresServer(free_port()), Account("postgres")
    with account.folder() as home:
        data = home / "data"
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        with account.process([initdb, f"--pgdata={data}", *options], home) as creating:
            if creating.process.wait(timeout=START_LIMIT) != 0:
                raise RuntimeError(creating.log.read_text())
        # What a test writes needs to outlive the server's processes, not a power cut.
        settings = {
            "fsync": "off",
            "full_page_writes": "off",
            "listen_addresses": "127.0.0.1",
            "max_connections": "200",
            "port": str(server.port),
            "unix_socket_directories": str(home),
        }
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with account.server([program, "-D", str(data), *arguments], home, server.answers):
            yield server
