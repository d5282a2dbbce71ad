"""A crowd of requests: some may be refused for a while, none fails, and no honest job suffers for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.acceptance.conftest import ENVIRONMENT, StartStack
from tests.acceptance.jobs import finish, submit
from tests.support.network.sources import SourceServer
from tilewright.client import Client

CROWD = 1500


@pytest.mark.parametrize("what", ["status", "catalogue"])
def test_fifteen_hundred_at_once_break_nothing(what: str, start_stack: StartStack, sources: SourceServer) -> None:
    # Given an image at work
    stack = start_stack()
    client = Client(stack.url)
    dataset_id = submit(client, sources.url("/huge.jpg"))
    path = f"/api/datasets/{dataset_id}/status" if what == "status" else "/api/datasets?limit=200"

    # When fifteen hundred clients ask without pause
    command = [sys.executable, "-m", "bench.attack.pollers", stack.url, path]
    crowd = subprocess.run(
        [*command, "--count", str(CROWD), "--seconds", "4", "--rude"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=ENVIRONMENT,
    )

    # Then each is answered, if only by being asked to come again
    told = json.loads(crowd.stdout)
    assert set(told["answers"]) <= {"200", "304", "503"}
    assert told["cut"] == 0
    assert "200" in told["answers"]

    # And the job was done by the run that had begun it
    assert finish(client, dataset_id)["status"] == "ready"
    client.close()
    log = stack.log.read_text()
    assert "Traceback" not in log
    assert " died" not in log
    # And the log has the fault once, not once a request
    assert log.count("ERROR") + log.count("WARNING") < 20
