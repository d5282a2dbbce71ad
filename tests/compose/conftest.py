"""The whole stack of compose.yaml, built and brought up once, on ports and under a project's name of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pyvips

from tests.support.images import pictures
from tests.support.rigs.servers import RabbitServer, free_port
from tilewright.client import Client

ROOT = Path(__file__).parents[2]

COMMAND_LIMIT = 900.0
"""Seconds: the first build downloads every package."""


class Stack:
    """The running stack, and the means to look at it and to break it.

    Parameters
    ----------
    folder: the folder of pictures, which the workers find at http://pictures:8080/.
    """

    def __init__(self, folder: Path) -> None:
        self.gateway_port, self.grpc_port = free_port(), free_port()
        self.rabbitmq = RabbitServer(free_port(), free_port(), "tilewright", "tilewright")
        self.folder = folder
        self._environment = os.environ | {
            "AMQP_PORT": str(self.rabbitmq.port),
            "GATEWAY_PORT": str(self.gateway_port),
            "GRPC_PORT": str(self.grpc_port),
            "PICTURES": str(folder),
            "RABBITMQ_UI_PORT": str(self.rabbitmq.management_port),
            "TILEWRIGHT_ALLOW_SOURCES": "pictures",
        }
        self._project = f"tilewright-test-{os.getpid()}"

    def compose(self, *arguments: str) -> str:
        """Run `docker compose …` and return what it prints. Raises AssertionError with all of it when it fails."""
        files = ["-f", "compose.yaml", "-f", "tests/compose/pictures.yaml"]
        done = subprocess.run(
            ["docker", "compose", "-p", self._project, *files, *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    def inspect(self, service: str) -> dict[str, Any]:
        """What Docker knows of a service's container."""
        container = self.compose("ps", "--all", "-q", service).strip()
        done = subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout)[0])

    def large_picture(self, seed: int) -> str:
        """The name of a new JPEG of 12,000 x 12,000: with another seed another picture, whose pyramid is not there."""
        name = f"large-{seed}.jpg"
        field = pyvips.Image.new_from_array(pictures.scene(1000, 1000, seed=seed)).copy(interpretation="srgb")
        field.replicate(12, 12).jpegsave(str(self.folder / name), Q=80)
        return name

    def crash(self, service: str) -> None:
        """Kill a service at once and start it again, and wait until it is healthy."""
        self.compose("kill", "--signal", "KILL", service)
        self.compose("up", "--detach", "--wait", "--no-deps", "--no-recreate", service)

    def logs(self) -> str:
        """The last lines of every service."""
        return self.compose("logs", "--no-color", "--tail", "40")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, healthy; taken down with its volumes at the end."""
    folder = tmp_path_factory.mktemp("pictures")
    pictures.jpeg(folder / "map.jpg", 1500, 1100)
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)  # the server in the container is not root
    stack = Stack(folder)
    try:
        try:
            stack.compose("up", "--build", "--wait")
        except AssertionError as error:
            pytest.fail(f"{error}\n{stack.logs()}")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "20")


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A client of the stack's gateway."""
    client = Client(f"http://127.0.0.1:{stack.gateway_port}")
    yield client
    client.close()
