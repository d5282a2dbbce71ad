"""compose.yaml held against the settings and the rules that its numbers come from (bringing it up: tests/compose)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import GatewaySettings
from ingest.settings import IngestSettings
from pipeline.settings import Settings, WorkerSettings
from statussvc.settings import StatusSettings
from tiler.settings import TilerSettings

ROOT = Path(__file__).parents[3]
COMPOSE = (ROOT / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
SETTINGS: dict[str, type[Settings]] = {
    "gateway": GatewaySettings,
    "ingest": IngestSettings,
    "statussvc": StatusSettings,
    "tiler": TilerSettings,
}
WORKERS = ["ingest", "tiler"]


def _option(service: str, name: str) -> int:
    command = SERVICES[service]["command"]
    return int(command[command.index(name) + 1])


def _seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_a_health_check_a_memory_limit_and_comes_back(service: str) -> None:
    # Given a service, when its rules are read, then each is there
    rules = SERVICES[service]
    assert rules["healthcheck"]["test"][0] == "CMD"
    assert rules["mem_limit"]
    assert rules["restart"] == "unless-stopped"
    # And it starts only after what it needs is healthy
    assert {need["condition"] for need in rules.get("depends_on", {}).values()} <= {"service_healthy"}


@pytest.mark.parametrize("service", SETTINGS)
def test_our_services_run_without_rights(service: str) -> None:
    # Given a service of ours, when its rules are read, then it may not change its image nor gain a right
    rules = SERVICES[service]
    assert rules["read_only"] is True
    assert rules["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in rules["security_opt"]
    # And an init reaps what its children leave behind
    assert rules["init"] is True


@pytest.mark.parametrize("service", SERVICES)
def test_every_port_is_published_on_the_loopback(service: str) -> None:
    # Given the ports a service publishes, when nothing is set, then no other machine reaches them
    for port in SERVICES[service].get("ports", []):
        assert re.match(r"127\.0\.0\.1:|\$\{GATEWAY_ADDRESS:-127\.0\.0\.1\}:", port)


@pytest.mark.parametrize("service", SETTINGS)
def test_what_compose_sets_is_a_setting(service: str) -> None:
    # Given the variables that one of our services gets
    given: Mapping[str, str] = SERVICES[service]["environment"]
    known = {f"TILEWRIGHT_{name.upper()}" for kind in SETTINGS.values() for name in kind.model_fields}
    # When they are held against the settings, then none is misspelt
    assert {name for name in given if name.startswith("TILEWRIGHT_")} <= known


def test_each_service_is_told_what_has_no_right_default_in_a_container() -> None:
    # Given the settings whose defaults mean "on this very machine"
    local = {"database_url", "grpc_host", "host", "rabbitmq_url", "status_address", "storage"}
    for service, kind in SETTINGS.items():
        # When a service has such a setting, then compose sets it
        wanted = {f"TILEWRIGHT_{name.upper()}" for name in local & kind.model_fields.keys()}
        assert wanted <= SERVICES[service]["environment"].keys()


def test_each_service_gets_what_the_operator_sets() -> None:
    # Given the settings that the head of compose.yaml offers, among them the contact that some sources require
    offered = set(re.findall(r"TILEWRIGHT_[A-Z_]+", COMPOSE.partition("\nname:")[0]))
    assert "TILEWRIGHT_SOURCE_CONTACT" in offered
    # When one is set, then each service that has it gets it
    kinds: dict[str, type[Settings]] = {**SETTINGS, "inspect": IngestSettings}
    for service, kind in kinds.items():
        for name in offered & {f"TILEWRIGHT_{field.upper()}" for field in kind.model_fields}:
            given = SERVICES[service]["environment"].get(name, "")
            assert given.startswith(f"${{{name}:-"), (service, name)


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_takes_no_more_messages_than_it_works_on(worker: str) -> None:
    # Given a worker, when its prefetch is read, then it is the number of its threads
    assert int(SERVICES[worker]["environment"]["dramatiq_queue_prefetch"]) == _option(worker, "--threads")
    assert _option(worker, "--processes") == 1


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_may_end_in_order_before_docker_kills_it(worker: str) -> None:
    # Given how long Dramatiq waits for its actors (milliseconds), when Docker's patience is read, then it is longer
    patience = _seconds(SERVICES[worker]["stop_grace_period"])
    assert patience > _option(worker, "--worker-shutdown-timeout") / 1000


def test_the_broker_lets_a_worker_hold_its_message_longer_than_any_stage_may_run() -> None:
    # Given RabbitMQ's limit (milliseconds) and a stage's (seconds)
    found = re.search(r"(?m)^consumer_timeout = (\d+)$", (ROOT / "deploy" / "rabbitmq.conf").read_text())
    assert found is not None
    # When they are compared, then a stage ends first, with room for what waited before it in the worker
    assert int(found[1]) / 1000 >= 2 * WorkerSettings().stage_time_limit


def test_docker_waits_longer_for_the_gateway_than_its_open_requests_may_take() -> None:
    # Given what open requests have on a stop, when Docker's patience is read, then it is longer
    assert _seconds(SERVICES["gateway"]["stop_grace_period"]) > GatewaySettings().stop_timeout
