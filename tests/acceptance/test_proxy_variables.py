"""A proxy in the environment is for other programs: the stack's own calls never go there."""

from __future__ import annotations

import subprocess
import sys

from tests.acceptance.conftest import ENVIRONMENT, StartStack
from tests.acceptance.jobs import finish, submit
from tests.support.network.sources import SourceServer
from tests.support.rigs.servers import free_port
from tilewright.client import Client


def proxies() -> dict[str, str]:
    """An environment whose every proxy variable names a port at which nobody listens."""
    dead = f"http://127.0.0.1:{free_port()}"
    names = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
    return {name: dead for lower in names for name in (lower, lower.upper())} | {"no_proxy": "", "NO_PROXY": ""}


def test_the_main_job_is_done_whatever_proxy_the_environment_names(
    start_stack: StartStack, sources: SourceServer
) -> None:
    # Given a stack that was started where a proxy is named, as on many company machines
    environment = proxies()
    stack = start_stack(**environment)

    # When an image is submitted, Then it is accepted and ends ready
    client = Client(stack.url)
    assert finish(client, submit(client, sources.url("/map.jpg")))["status"] == "ready"
    client.close()

    # And health checks and the command reach it from the same environment
    for arguments in (
        ("pipeline.health", "grpc", stack.grpc_address),
        ("pipeline.health", "http", f"{stack.url}/healthz"),
        ("tilewright", "list", "--server", stack.url),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=ENVIRONMENT | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
