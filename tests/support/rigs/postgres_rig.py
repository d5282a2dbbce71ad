"""A PostgreSQL of a test's own, to be stopped, started, frozen and cut off."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.rigs.processes import START_LIMIT, Account, find_program, free_port
from tests.support.rigs.servers import PostgresServer


class OwnPostgres(PostgresServer):
    """One cluster, whose server comes and goes."""

    def __init__(self, account: Account, home: Path) -> None:
        super().__init__(free_port())
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        self._account, self._home = account, home
        self._program = find_program("postgres", "/usr/lib/postgresql/*/bin")
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = ["fsync=off", "listen_addresses=127.0.0.1", f"port={self.port}"]
        settings.append(f"unix_socket_directories={self._home}")
        command = [self._program, "-D", str(self._home / "data"), *(f"--{setting}" for setting in settings)]
        # SIGINT is PostgreSQL's fast stop: open connections are cut with a word of farewell.
        server = self._account.server(command, self._home, self.answers, stop=signal.SIGINT)
        running = self._running.enter_context(server)
        self._process = running.process

    def stop(self) -> None:
        self._running.close()
        self._process = None

    def freeze(self) -> None:
        """Stops all its processes where they are: the kernel still takes connections and bytes for them."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            leader = psutil.Process(self._process.pid)
            for process in [leader, *leader.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    os.kill(process.pid, number)


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Makes a cluster and starts it. Raises servers.Lacking."""
    account = Account("postgres")
    initdb = find_program("initdb", "/usr/lib/postgresql/*/bin")
    with account.folder() as home:
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        with account.process([initdb, f"--pgdata={home / 'data'}", *options], home) as creating:
            if creating.process.wait(timeout=START_LIMIT) != 0:
                raise RuntimeError(creating.log.read_text())
        server = OwnPostgres(account, home)
        server.start()
        try:
            yield server
        finally:
            server.thaw()
            server.stop()


class CommitLoser:
    """A proxy before PostgreSQL. Once armed it passes the next COMMIT on, and cuts the line instead of its answer."""

    def __init__(self, port: int) -> None:
        self.armed = threading.Event()
        self.lost = threading.Event()
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="commit-loser").start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                cut = threading.Event()
                for source, sink, carry in ((client, server, self._requests), (server, client, self._answers)):
                    threading.Thread(target=carry, args=(source, sink, cut), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                # The whole statement: READ COMMITTED begins a transaction.
                if b"COMMIT\0" in data and self.armed.is_set():
                    self.armed.clear()
                    cut.set()
                server.sendall(data)
        _close(server)

    def _answers(self, server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if cut.is_set():
                    self.lost.set()  # the server has answered, so it has committed
                    break
                client.sendall(data)
        _close(client)
        _close(server)


def _close(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
