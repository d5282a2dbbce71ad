"""The health checks of containers, against real servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc
import pika
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from pipeline.health import UnhealthyError, check_grpc, check_http, check_worker, main
from tests.support.rigs.servers import free_port


@pytest.fixture
def grpc_server() -> Iterator[tuple[str, health.HealthServicer]]:
    """A server that has nothing but the health service: its address, and the service."""
    servicer = health.HealthServicer()
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", servicer
    server.stop(None).wait()


def test_a_serving_grpc_server_is_healthy(grpc_server: tuple[str, health.HealthServicer]) -> None:
    # Given a server that says it serves
    address, servicer = grpc_server
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    # When it is checked, then all is well
    check_grpc(address)


def test_a_grpc_server_that_does_not_serve_is_unhealthy(grpc_server: tuple[str, health.HealthServicer]) -> None:
    # Given a server that says it does not serve
    address, servicer = grpc_server
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    # When it is checked, then its own word is the reason
    with pytest.raises(UnhealthyError, match="NOT_SERVING"):
        check_grpc(address)


def test_a_grpc_server_that_is_not_there_is_unhealthy() -> None:
    # Given a port on which nothing listens
    address = f"127.0.0.1:{free_port()}"
    # When it is checked, then the reason is gRPC's code
    with pytest.raises(UnhealthyError, match="UNAVAILABLE"):
        check_grpc(address)


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


@pytest.fixture
def http_server() -> Iterator[str]:
    """The URL of a server whose /readyz answers 200, and everything else 503."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ready) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_address_that_answers_200_is_healthy(http_server: str) -> None:
    # Given a server, when its ready address is checked, then all is well
    check_http(f"{http_server}/readyz")


def test_an_address_that_answers_an_error_is_unhealthy(http_server: str) -> None:
    # Given a server, when an address that answers 503 is checked, then the reason says so
    with pytest.raises(UnhealthyError, match="503"):
        check_http(f"{http_server}/elsewhere")


def test_a_worker_is_healthy_while_it_is_connected_to_the_broker() -> None:
    # Given a port of its own (other tests hold connections to the run's RabbitMQ), and no connection to it
    with socket.create_server(("127.0.0.1", 0)) as broker:
        url = f"amqp://guest:guest@127.0.0.1:{broker.getsockname()[1]}/"
        with pytest.raises(UnhealthyError, match="no connection to the broker"):
            check_worker(url)
        # When one is open
        with socket.create_connection(broker.getsockname()), broker.accept()[0]:
            # Then the worker is healthy
            check_worker(url)
        # And when it is closed, the worker is no longer
        with pytest.raises(UnhealthyError):
            check_worker(url)


def test_a_worker_that_is_connected_to_a_real_broker_is_healthy(rabbitmq_url: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)):
        check_worker(rabbitmq_url)


TCP_TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:87A9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 71478 1 0 100 0 0 10 0
   1: 050012AC:B4D2 030012AC:1628 {state} 00000000:00000000 00:00000000 00000000     0        0 71479 1 0 20 4 30 10 -1
"""

TCP6_TABLE = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: B80D0120000000000000000005000000:B4D2 B80D0120000000000000000003000000:1628 01 00000000:00000000
"""


@pytest.mark.parametrize(
    ("broker", "tables"),
    [
        ("amqp://172.18.0.3:5672/", {"tcp": TCP_TABLE.format(state="01"), "tcp6": "header\n"}),
        ("amqp://172.18.0.3/", {"tcp": TCP_TABLE.format(state="01")}),
        ("amqp://[2001:db8::3]:5672/", {"tcp": "header\n", "tcp6": TCP6_TABLE}),
    ],
)
def test_a_connection_is_found_in_the_kernels_tables(tmp_path: Path, broker: str, tables: dict[str, str]) -> None:
    # Given the tables of a little-endian kernel with a connection to the broker
    for name, content in tables.items():
        (tmp_path / name).write_text(content)
    # When the worker is checked, then all is well
    check_worker(broker, tmp_path)


@pytest.mark.parametrize(
    ("broker", "state"),
    [
        ("amqp://172.18.0.3:5672/", "08"),  # CLOSE_WAIT: the broker has hung up
        ("amqp://172.18.0.3:5673/", "01"),  # another port
        ("amqp://172.18.0.4:5672/", "01"),  # another machine
        ("amqp://172.18.0.5:5672/", "01"),  # this end's own address
    ],
)
def test_any_other_connection_does_not_count(tmp_path: Path, broker: str, state: str) -> None:
    # Given a table without an established connection to that broker
    (tmp_path / "tcp").write_text(TCP_TABLE.format(state=state))
    # When the worker is checked, then it is unhealthy
    with pytest.raises(UnhealthyError):
        check_worker(broker, tmp_path)


def test_the_command_exits_by_what_it_found(http_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Given the command's arguments as compose.yaml passes them
    # When all is well, then it exits 0 and says nothing
    assert main(["http", f"{http_server}/readyz"]) == 0
    assert capsys.readouterr() == ("", "")
    # When not, then it exits 1 with the reason
    assert main(["http", f"{http_server}/"]) == 1
    assert "503" in capsys.readouterr().err
    # When it is called wrongly, then it says how to
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
