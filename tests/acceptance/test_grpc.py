"""statussvc over gRPC by the real grpcurl, with no proto file at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.jobs import ready, submit
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

GRPCURL = Path(sys.executable).parent / "grpcurl"
STATUS = "tilewright.status.v1.StatusService"
PIPELINE = "tilewright.status.v1.PipelineService"


def grpcurl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([GRPCURL, "-plaintext", *arguments], capture_output=True, text=True, timeout=60, check=False)


def answer(*arguments: str) -> dict[str, Any]:
    done = grpcurl(*arguments)
    assert done.returncode == 0, done.stderr
    decoded: dict[str, Any] = json.loads(done.stdout)
    return decoded


def test_get_status_needs_no_proto_file(stack: LaunchedStack, client: Client, sources: SourceServer) -> None:
    # Given a dataset that is ready
    dataset_id = submit(client, sources.url("/map.jpg"))
    tile_info = ready(client, dataset_id)

    # When grpcurl asks for it
    got = answer("-d", json.dumps({"dataset_id": dataset_id}), stack.grpc_address, f"{STATUS}/GetStatus")

    # Then it tells the same as REST
    status = got["status"]
    assert (status["dataset_id"], status["state"]) == (dataset_id, "STATE_READY")
    assert status["pyramid"]["tile_id"] == tile_info["tile_id"]
    assert (status["pyramid"]["width"], status["pyramid"]["height"]) == (1500, 1100)


def test_reflection_lists_the_services(stack: LaunchedStack) -> None:
    listed = grpcurl(stack.grpc_address, "list").stdout.split()
    assert set(listed) >= {STATUS, PIPELINE, "grpc.health.v1.Health"}
    methods = grpcurl(stack.grpc_address, "list", STATUS).stdout.split()
    assert f"{STATUS}.WatchDataset" in methods


def test_the_health_service_says_serving(stack: LaunchedStack) -> None:
    for service in ("", STATUS, PIPELINE):
        asked = json.dumps({"service": service})
        assert answer("-d", asked, stack.grpc_address, "grpc.health.v1.Health/Check") == {"status": "SERVING"}


def test_an_unknown_id_is_not_found(stack: LaunchedStack) -> None:
    done = grpcurl("-d", '{"dataset_id": "custom_00000000"}', stack.grpc_address, f"{STATUS}/GetStatus")
    assert done.returncode != 0
    assert "NotFound" in done.stderr


def test_a_watch_of_what_is_ready_sends_it_and_ends(
    stack: LaunchedStack, client: Client, sources: SourceServer
) -> None:
    dataset_id = submit(client, sources.url("/map.jpg"))
    ready(client, dataset_id)
    got = answer("-d", json.dumps({"dataset_id": dataset_id}), stack.grpc_address, f"{STATUS}/WatchDataset")
    assert got["status"]["state"] == "STATE_READY"
