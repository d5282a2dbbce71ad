"""The main job through RabbitMQ and PostgreSQL, as one would run it on a farm."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import requests

from tests.acceptance import jobs
from tests.compose.conftest import Stack
from tests.support.images.pictures import decode
from tests.support.rigs.waiting import until
from tilewright.client import Client

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]

OUR_SERVICES = ["gateway", "ingest", "inspect", "statussvc", "tiler"]


def test_a_url_becomes_tiles(stack: Stack, client: Client) -> None:
    # Given the stack, when a URL is submitted
    dataset_id = jobs.submit(client, "http://pictures:8080/map.jpg", "Map")
    # Then it becomes ready
    tile_info = jobs.ready(client, dataset_id)
    assert (tile_info["width"], tile_info["height"]) == (1500, 1100)
    # And its top-most XYZ tile is one full square
    address = f"http://127.0.0.1:{stack.gateway_port}/tiles/{tile_info['tile_id']}/0/0/0.jpg"
    with urllib.request.urlopen(address) as response:
        assert decode(response.read()).shape == (256, 256, 3)
    # And any region of it can be had by its id, from a confined child of the gateway
    region = f"http://127.0.0.1:{stack.gateway_port}/iiif/{dataset_id}/700,300,200,100/150,/90/gray.png"
    with urllib.request.urlopen(region) as response:
        assert decode(response.read()).shape[:2] == (150, 75)
    # And a refresh finds it unchanged
    answer = requests.post(f"http://127.0.0.1:{stack.gateway_port}/api/datasets/{dataset_id}/refresh", timeout=30)
    assert answer.ok, answer.text
    until(lambda: client.get(dataset_id).get("refresh", {}).get("state") == "unchanged", "the end of the refresh", 60)
    # And its row is in PostgreSQL
    database = "postgresql://tilewright:tilewright@127.0.0.1/tilewright"
    rows = stack.compose("exec", "-T", "postgres", "psql", database, "-tAc", "SELECT dataset_id FROM datasets")
    assert dataset_id in rows.split()


def test_another_sites_name_does_not_reach_a_gateway_on_the_loopback(stack: Stack) -> None:
    url = f"http://127.0.0.1:{stack.gateway_port}/api/datasets"
    answer = requests.get(url, headers={"Host": "evil.example"}, timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host")
    assert requests.get(url, timeout=30).ok


def test_the_management_interface_shows_all_queues_with_their_consumers(stack: Stack) -> None:
    # Given the stack
    interface = f"http://127.0.0.1:{stack.rabbitmq.management_port}/"
    # When one opens the management interface, then it is there
    with urllib.request.urlopen(interface) as response:
        assert b"RabbitMQ Management" in response.read()
    # And each worker, once it has begun, listens on its queue, taking no more at once than it works on
    until(lambda: {"ingest", "inspect", "tiler"} <= set(consumers(stack)), "a consumer of each queue")
    found = consumers(stack)
    assert (found["ingest"], found["inspect"], found["tiler"]) == (4, 4, 1)


def consumers(stack: Stack) -> dict[str, int]:
    """How many messages each consumer takes at once, by its queue."""
    answer = stack.rabbitmq.api("GET", "consumers")
    assert isinstance(answer, list)
    return {consumer["queue"]["name"]: consumer["prefetch_count"] for consumer in answer}


def test_grpcurl_asks_for_a_status_without_a_proto_file(stack: Stack, client: Client) -> None:
    # Given a dataset
    dataset_id = jobs.submit(client, "http://pictures:8080/map.jpg", "Map")
    jobs.ready(client, dataset_id)
    # When grpcurl asks statussvc by reflection
    grpcurl = str(Path(sys.executable).with_name("grpcurl"))
    request = json.dumps({"dataset_id": dataset_id})
    address = f"127.0.0.1:{stack.grpc_port}"
    call = [grpcurl, "-plaintext", "-d", request, address, "tilewright.status.v1.StatusService/GetStatus"]
    answer = json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
    # Then it is told the state
    assert "STATE_READY" in json.dumps(answer)


def test_no_service_but_the_decoder_needs_much_memory(stack: Stack, client: Client) -> None:
    # Given a large picture that went through the stack
    jobs.ready(client, jobs.submit(client, f"http://pictures:8080/{stack.large_picture(30)}", "Large"))
    # When one adds up the most that each process of a container ever held, then each service stays below 200 MiB
    for service in ("gateway", "statussvc", "ingest"):
        script = (
            "import pathlib, re; print(sum(int(re.search(r'VmHWM:\\s+(\\d+)', text).group(1)) for text in"
            " (path.read_text() for path in pathlib.Path('/proc').glob('[0-9]*/status')) if 'VmHWM' in text))"
        )
        kib = int(stack.compose("exec", "-T", service, "python", "-c", script))
        assert kib < 200 * 1024, f"{service}: {kib // 1024} MiB"


@pytest.mark.parametrize("service", OUR_SERVICES)
def test_a_service_runs_with_no_rights(stack: Stack, service: str) -> None:
    # Given a service's container
    inspected = stack.inspect(service)
    # When one looks at how it runs, then not as root, on a root it cannot write
    user = stack.compose("exec", "-T", service, "python", "-c", "import os; print(os.getuid())").strip()
    assert user == "10001"
    assert inspected["HostConfig"]["ReadonlyRootfs"] is True
    # And without a capability
    capabilities = stack.compose("exec", "-T", service, "grep", "CapEff", "/proc/self/status").split()[1]
    assert int(capabilities, 16) == 0


@pytest.mark.parametrize(("seed", "service"), list(enumerate(["ingest", "gateway", "statussvc", "rabbitmq"], 10)))
def test_a_kill_in_the_middle_of_a_download_only_delays_it(
    stack: Stack, client: Client, seed: int, service: str
) -> None:
    # Given a download under way
    dataset_id = jobs.submit(client, f"http://pictures:8080/slow/{stack.large_picture(seed)}", f"Without {service}")
    jobs.until(client, dataset_id, "DOWNLOADING")
    # When a service is killed and started again
    stack.crash(service)
    # Then the dataset becomes ready by itself
    assert jobs.ready(client, dataset_id)["width"] == 12000


@pytest.mark.parametrize(("seed", "service"), list(enumerate(["tiler", "gateway", "statussvc", "rabbitmq"], 20)))
def test_a_kill_in_the_middle_of_a_tiling_only_delays_it(stack: Stack, client: Client, seed: int, service: str) -> None:
    # Given a tiling under way
    dataset_id = jobs.submit(client, f"http://pictures:8080/{stack.large_picture(seed)}", f"Without {service}")
    jobs.until(client, dataset_id, "TILING", tiles=1)
    # When a service is killed and started again
    stack.crash(service)
    # Then the dataset becomes ready by itself
    assert jobs.ready(client, dataset_id)["width"] == 12000


def test_the_services_end_in_order(stack: Stack) -> None:
    # Given the running stack, when our services are stopped
    stack.compose("stop", *OUR_SERVICES)
    # Then each has ended by itself, before Docker lost its patience
    codes = {service: stack.inspect(service)["State"]["ExitCode"] for service in OUR_SERVICES}
    assert codes == dict.fromkeys(OUR_SERVICES, 0)
