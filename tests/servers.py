"""Real servers for a test run: each on free ports of the loopback, in a folder of its own, ended by its own process.

Both RabbitMQ and PostgreSQL want an account that is not root. Where the tests run as root (in a container, in CI), the
server runs as the account that its package made; otherwise as whoever runs the tests.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

START_LIMIT = 60.0
"""Seconds a server may take to answer; either takes one to five on two cores."""

STOP_LIMIT = 30.0
"""Seconds a server may take to end before it is killed."""


class Lacking(Exception):
    """Raised when this machine has not got the program asked for; says which."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def find_program(name: str, *folders: str) -> str:
    """The path of a program on PATH or in the folders given (patterns below /, the last match wins)."""
    found = [str(path) for folder in folders for path in sorted(Path("/").glob(f"{folder.lstrip('/')}/{name}"))]
    path = found[-1] if found else shutil.which(name)
    if path is None:
        raise Lacking(f"{name} is not installed")
    return path


class Account:
    """Whom a server runs as: the account named when the tests run as root, else whoever runs them."""

    def __init__(self, name: str) -> None:
        self.name = name if os.geteuid() == 0 else None

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary folder that belongs to the account. Not pytest's own: only its owner can look into that."""
        path = Path(tempfile.mkdtemp(prefix="tilewright-"))
        try:
            if self.name is not None:
                owner = pwd.getpwnam(self.name)
                os.chown(path, owner.pw_uid, owner.pw_gid)
            yield path
        finally:
            shutil.rmtree(path)

    @contextmanager
    def process(
        self, command: list[str], home: Path, env: Mapping[str, str] | None = None, stop: int = signal.SIGTERM
    ) -> Iterator[Running]:
        """Run the command, its output going to a file; at the end signal its whole group and wait for it."""
        log = home / f"{Path(command[0]).name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=home,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(home), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.name,
                group=None if self.name is None else pwd.getpwnam(self.name).pw_gid,
                extra_groups=None if self.name is None else [],
            )
        try:
            yield Running(process, log)
        finally:
            _end(process, stop)


class Running:
    """A server's process and the file it writes to."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def await_ready(self, answers: Callable[[], bool]) -> None:
        """Return once the server answers; raise with its output when it ends before, or takes too long."""
        deadline = time.monotonic() + START_LIMIT
        while not answers():
            try:
                code = self.process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                code = None
            if code is not None or time.monotonic() > deadline:
                output = self.log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"{self.process.args!r} did not start (exit code {code}):\n{output}")


def _end(process: subprocess.Popen[bytes], stop: int) -> None:
    # The leader may be a shell whose death would leave its child behind, so the group gets the signal.
    try:
        os.killpg(process.pid, stop)
        process.wait(timeout=STOP_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()


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


@contextmanager
def rabbitmq() -> Iterator[RabbitServer]:
    """Run a rabbitmq-server with its own node name, port mapper (epmd) and folder. Raises Lacking."""
    # Debian's wrapper in sbin insists on its fixed folders; the program behind it obeys its environment.
    program = find_program("rabbitmq-server", "/usr/lib/rabbitmq/bin", "/usr/lib/rabbitmq/lib/*/sbin")
    mapper = find_program("epmd")
    server, account = RabbitServer(free_port(), free_port()), Account("rabbitmq")
    with account.folder() as home:
        env = rabbitmq_environment(home, server)
        # The mapper is started here, in the foreground, or else Erlang starts one that nobody ends. The server is
        # killed: nothing of its folder is kept, and an orderly end takes it six seconds.
        with (
            account.process([mapper], home, env),
            account.process([program], home, env, stop=signal.SIGKILL) as running,
        ):
            running.await_ready(server.answers)
            yield server


def rabbitmq_environment(home: Path, server: RabbitServer, *settings: str) -> dict[str, str]:
    """Write a RabbitMQ's files into its folder, with further lines for its rabbitmq.conf; give its environment."""
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
        with account.process([program, "-D", str(data), *arguments], home) as running:
            running.await_ready(server.answers)
            yield server
