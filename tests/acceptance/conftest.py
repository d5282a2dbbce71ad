"""A real `tilewright up` as a child process, a real source server with pictures, and the means to drive both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pyvips
import requests

from tests.support.images import pictures
from tests.support.network.sources import SourceServer, serve
from tilewright.client import Client
from tilewright.embedded import LaunchedStack, launch

SOURCES = "127.0.0.1"
"""What every stack here may fetch from. The rest of 127.0.0.0/8 stays forbidden: tests of the refusal go there."""

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TILEWRIGHT_")}

COMMAND_LIMIT = 120.0
"""Seconds a command may take: only one that hangs does."""

StartStack = Callable[..., LaunchedStack]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """map.jpg 1,500 x 1,100, glass.png 611 x 333 with transparency, huge.jpg 10,000 x 10,000, and broken ones."""
    folder = tmp_path_factory.mktemp("pictures")
    pictures.jpeg(folder / "map.jpg", 1500, 1100)
    pictures.save(pictures.scene(611, 333, bands=4), folder / "glass.png")
    field = pyvips.Image.new_from_array(pictures.scene(1000, 1000)).copy(interpretation="srgb")
    field.replicate(10, 10).jpegsave(str(folder / "huge.jpg"), Q=80)
    whole = (folder / "map.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "page.html").write_text("<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body></body></html>")
    (folder / "unknown.img").write_bytes(b"\x01\x02UNKNOWN\x00\xff" * 500)
    return folder


@pytest.fixture(scope="session")
def sources(picture_folder: Path) -> Iterator[SourceServer]:
    """Serves the pictures; paths may be scripted, each test its own."""
    with serve(picture_folder) as server:
        yield server


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaunchedStack]:
    """The run's one embedded stack, for tests that leave it as they found it."""
    stack = launch(tmp_path_factory.mktemp("stack") / "data", allow_sources=[SOURCES], environment=ENVIRONMENT)
    yield stack
    assert stack.stop() == 0


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Starts stacks of the test's own, by default on the same directory; keywords are environment variables."""
    started: list[LaunchedStack] = []

    def start(data: Path = tmp_path / "data", allow: Sequence[str] = (SOURCES,), **environment: str) -> LaunchedStack:
        stack = launch(data, allow_sources=allow, environment=ENVIRONMENT | environment)
        started.append(stack)
        return stack

    yield start
    for stack in started:
        stack.stop()


@pytest.fixture
def client(stack: LaunchedStack) -> Iterator[Client]:
    """A client of the run's one stack."""
    client = Client(stack.url)
    yield client
    client.close()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SourceServer]:
    """Serves the files that the test writes."""
    with serve(tmp_path, SOURCES) as server:
        yield server


@pytest.fixture
def shown(stack: LaunchedStack) -> Callable[..., pictures.Pixels]:
    """The pixels that a picture of up to 256 x 256 has on its finest level: 8, above 128 to an edge."""

    def show(tile_id: str, level: int = 8) -> pictures.Pixels:
        tile = requests.get(f"{stack.url}/tiles/{tile_id}_files/{level}/0_0.png", timeout=60)
        assert tile.status_code == 200
        return pictures.decode(tile.content)

    return show


@pytest.fixture
def command(stack: LaunchedStack) -> Command:
    """Runs `tilewright …` as a child process that talks to the run's one stack."""

    def run(*arguments: str, server: str = stack.url) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "tilewright", *arguments],
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT,
            check=False,
            env=ENVIRONMENT | {"TILEWRIGHT_SERVER": server},
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run
