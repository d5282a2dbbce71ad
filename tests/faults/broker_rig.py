"""A RabbitMQ of a test's own, to be stopped, killed, started and blocked."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers import START_LIMIT, Account, RabbitServer, find_program, free_port, rabbitmq_environment

PROGRAMS = ("/usr/lib/rabbitmq/bin", "/usr/lib/rabbitmq/lib/*/sbin")


class OwnRabbit(RabbitServer):
    """One node, whose server comes and goes. What was durable is there again."""

    def __init__(self, account: Account, home: Path, *settings: str) -> None:
        super().__init__(free_port(), free_port())
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.environment = rabbitmq_environment(home, self, *settings)
        # How often a channel looks at its consumers' time, in milliseconds; rabbitmq.conf has no word for it.
        self.environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] = "-rabbit channel_tick_interval 1000"
        self._account, self._home = account, home
        self._running = ExitStack()

    def start(self) -> None:
        """Returns when it answers."""
        program = find_program("rabbitmq-server", *PROGRAMS)
        running = self._running.enter_context(
            self._account.process([program], self._home, self.environment, stop=signal.SIGKILL)
        )
        running.await_ready(self.answers)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self._running.close()

    def control(self, *arguments: str) -> None:
        """Runs rabbitmqctl."""
        program = find_program("rabbitmqctl", *PROGRAMS)
        with self._account.process([program, *arguments], self._home, self.environment) as running:
            if running.process.wait(START_LIMIT) != 0:
                raise subprocess.CalledProcessError(running.process.returncode, arguments, running.log.read_text())


@contextmanager
def own_rabbitmq(*settings: str) -> Iterator[OwnRabbit]:
    """A started one; settings are lines of rabbitmq.conf. Raises Lacking."""
    account, mapper = Account("rabbitmq"), find_program("epmd")
    with account.folder() as home:
        server = OwnRabbit(account, home, *settings)
        with account.process([mapper], home, server.environment):
            server.start()
            try:
                yield server
            finally:
                server.kill()
