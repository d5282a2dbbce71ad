"""The server: embedded in a process with other work, and as a process of its own."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.support.rigs import gateway_rig, status_rig
from tests.support.rigs.gateway_rig import Gateway
from tests.support.rigs.servers import free_port
from tests.support.rigs.status_rig import Status

LIMIT = 60.0
"""Seconds after which a test gives up what it waits for."""

NEW = {"name": "Earth", "url": "https://example.org/earth.jpg"}


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Status]:
    with status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as rig:
        yield rig


def test_a_busy_port_is_named(status: Status, tmp_path: Path) -> None:
    # Given a port that another program listens on
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        # When a gateway is to have it, then the error says which, and what to do
        finished = run_to_its_end(status.address, tmp_path, port)
    assert finished.returncode == 1
    assert f"Port {port} on 127.0.0.1 is not available" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_host_that_is_none_of_ours_is_named(status: Status, tmp_path: Path) -> None:
    finished = run_to_its_end(status.address, tmp_path, 0, TILEWRIGHT_HOST="192.0.2.1")
    assert finished.returncode == 1
    assert "192.0.2.1" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TILEWRIGHT_ALLOW_SOURCES", "10.0.0.1/8"),
        ("TILEWRIGHT_PUBLIC_URL", "tiles.example.org"),
        ("TILEWRIGHT_PORT", "65536"),
        ("TILEWRIGHT_MAX_WAIT", "long"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, name: str, value: str) -> None:
    finished = run_to_its_end("127.0.0.1:1", tmp_path, 0, **{name: value})
    assert finished.returncode == 2
    assert finished.stderr.startswith(f"{name}: ")
    assert "Traceback" not in finished.stderr


def test_a_stop_answers_those_who_wait(status: Status, tmp_path: Path) -> None:
    # Given a post that would wait for minutes
    answers: list[requests.Response] = []
    with gateway_rig.serving(status.address, tmp_path / "storage") as gateway:
        waiting = start_waiting(gateway, answers)
        # When the gateway is stopped
        gateway.stop()
        waiting.join(LIMIT)
    # Then the post is answered as one that is not finished yet
    assert [answer.status_code for answer in answers] == [202]


def test_a_stop_refuses_a_post_that_is_still_being_sent(
    status: Status, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with gateway_rig.serving(status.address, tmp_path / "storage", stop_timeout=60) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.server.port), LIMIT) as connection:
            # Given a post whose body is awaited
            connection.sendall(
                b"POST /api/datasets HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
            )
            answer = connection.makefile("rb")
            assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert answer.readline() == b"\r\n"
            connection.sendall(b'{"name":')
            # When the gateway is stopped, then it is told to send it again, and nobody waits for the rest
            gateway.stop()
            told = answer.read()
    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: " in told
    assert not any(record.exc_info for record in caplog.records)


class Posts(logging.Handler):
    """Notes when a POST has come to its end: the log has a line of it then."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("POST "):
            self.ended.set()


@pytest.fixture
def posts() -> Iterator[Posts]:
    """The end of POSTs, of any gateway in this process."""
    handler, logger = Posts(), logging.getLogger("gateway.http.access_log")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_client_that_goes_away_is_waited_for_no_longer(status: Status, tmp_path: Path, posts: Posts) -> None:
    with gateway_rig.serving(status.address, tmp_path / "storage") as gateway:
        # Given a post that waits
        with socket.create_connection(("127.0.0.1", gateway.server.port)) as connection:
            body = json.dumps(NEW).encode()
            connection.sendall(
                b"POST /api/datasets HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=300\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            wait_for_a_dataset(gateway)
            assert not posts.ended.is_set()
        # When its client hangs up, then it comes to its end, long before the time it asked for
        assert posts.ended.wait(LIMIT)


def start_waiting(gateway: Gateway, answers: list[requests.Response]) -> threading.Thread:
    """Make a post that waits, and return once its dataset is there."""

    def post() -> None:
        url = f"{gateway.url}/api/datasets"
        answers.append(requests.post(url, json=NEW, headers={"Prefer": "wait=300"}, timeout=LIMIT))

    thread = threading.Thread(target=post)
    thread.start()
    wait_for_a_dataset(gateway)
    return thread


def wait_for_a_dataset(gateway: Gateway) -> None:
    """Return once there is one."""
    while not gateway.get("/api/datasets").json()["datasets"]:
        pass


@contextmanager
def process(status_address: str, folder: Path, port: int, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m gateway`, killed at the end if it still runs."""
    environment = {
        "PATH": os.environ["PATH"],
        "TILEWRIGHT_STATUS_ADDRESS": status_address,
        "TILEWRIGHT_STORAGE": str(folder / "storage"),
        "TILEWRIGHT_RABBITMQ_URL": f"amqp://guest:guest@127.0.0.1:{free_port()}/",
        "TILEWRIGHT_PORT": str(port),
        **variables,
    }
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", "gateway"]
    with subprocess.Popen(
        command, env=environment, cwd=Path(__file__).parents[3], stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def run_to_its_end(status_address: str, folder: Path, port: int, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a gateway that is to end by itself."""
    with process(status_address, folder, port, **variables) as running:
        _, errors = running.communicate(timeout=LIMIT)
    return subprocess.CompletedProcess(running.args, running.returncode, stderr=errors)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(status: Status, tmp_path: Path, number: signal.Signals) -> None:
    # Given a gateway as a process of its own, that logs for machines, with a post that waits
    with process(status.address, tmp_path, 0, TILEWRIGHT_LOG_JSON="true") as running:
        assert running.stderr is not None
        log = [json.loads(running.stderr.readline())]
        while not log[-1]["message"].startswith("listening on "):
            log.append(json.loads(running.stderr.readline()))
        url = log[-1]["message"].removeprefix("listening on ")
        answers: list[requests.Response] = []
        waiting = threading.Thread(
            target=lambda: answers.append(
                requests.post(f"{url}/api/datasets", json=NEW, headers={"Prefer": "wait=300"}, timeout=LIMIT)
            )
        )
        waiting.start()
        while not requests.get(f"{url}/api/datasets", timeout=LIMIT).json()["datasets"]:
            pass
        # And it has found that the broker is away
        while all(line["level"] != "WARNING" for line in log):
            log.append(json.loads(running.stderr.readline()))
        # When it gets the signal
        running.send_signal(number)
        _, rest = running.communicate(timeout=LIMIT)
        waiting.join(LIMIT)
    # Then it answers what is open, and ends well
    assert running.returncode == 0, rest
    assert answers[0].status_code == 202
    log += [json.loads(line) for line in rest.splitlines()]
    assert log[-1]["message"] == "stopped"
    assert {line["service"] for line in log} == {"gateway"}
    # And the broker that was away all the time is said once, without its password
    away = [line["message"] for line in log if line["level"] == "WARNING"]
    assert len(away) == 1
    assert "cannot be reached" in away[0]
    assert "guest" not in rest
