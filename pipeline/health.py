"""Check that a service on this machine is healthy: `python -m pipeline.health`, for the health checks of containers.

    grpc HOST:PORT   grpc.health.v1 answers SERVING
    http URL         the URL answers 200
    worker           this container has a connection to the broker

The exit code is 0 if the service is healthy, else 1, with a message on standard error. The check of a worker opens no
port and sends nothing: RabbitMQ and the worker both close a connection if the other's heartbeats stop, so an open
connection is alive.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.channels import CLIENT_OPTIONS

ANSWER_LIMIT = 3.0
"""Seconds to wait for an answer: less than the timeout of compose's health checks, so that the reason is shown."""

TCP_ESTABLISHED = "01"
"""Linux: include/net/tcp_states.h."""


class UnhealthyError(Exception):
    """Raised if a service is not healthy. Its text says why."""


def check_grpc(address: str) -> None:
    """Call grpc.health.v1 at HOST:PORT. Raises UnhealthyError."""
    import grpc  # noqa: PLC0415 - takes a fifth of a second, and the other checks do not need it
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415 - the same

    from pipeline.status import name_of  # noqa: PLC0415 - it loads gRPC, too

    with grpc.insecure_channel(address, options=CLIENT_OPTIONS) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_LIMIT)
        except grpc.RpcError as error:
            raise UnhealthyError(f"{address}: {error.code().name}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise UnhealthyError(f"{address}: {name_of(health_pb2.HealthCheckResponse.ServingStatus, answer.status)}")


def check_http(url: str) -> None:
    """Get the URL without a proxy. Raises UnhealthyError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=ANSWER_LIMIT).close()
    except OSError as error:
        raise UnhealthyError(f"{url}: {error}") from error


def check_worker(broker_url: str, tables: Path = Path("/proc/net")) -> None:
    """Check that there is an established connection to the broker. Raises UnhealthyError.

    Parameters
    ----------
    broker_url: amqp://…
    tables: folder of the kernel's tables `tcp` and `tcp6`, which list the connections of this network namespace.
    """
    parts = urlsplit(broker_url)
    host, port = parts.hostname or "localhost", parts.port or 5672
    try:
        wanted = {(_plain(str(found[4][0])), port) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise UnhealthyError(f"{host}: {error}") from error
    if wanted.isdisjoint(_connected_to(tables)):
        raise UnhealthyError(f"no connection to the broker at {host}:{port}")


def _connected_to(tables: Path) -> Iterator[tuple[str, int]]:
    """Yield the remote address and port of each established connection."""
    for name in ("tcp", "tcp6"):
        table = tables / name
        if not table.exists():  # a kernel without IPv6
            continue
        for line in table.read_text().splitlines()[1:]:
            _, _, remote, state = line.split()[:4]
            if state == TCP_ESTABLISHED:
                address, port = remote.split(":")
                yield _plain(_decode(address)), int(port, 16)


def _decode(address: str) -> str:
    """Decode an address of /proc/net: 32-bit words, each in the machine's byte order."""
    words = [int(address[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(address), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def _plain(address: str) -> str:
    """Return an IPv4 address that is mapped to IPv6 as an IPv4 address, and others unchanged."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def main(arguments: list[str]) -> int:
    """Run the check named by the arguments, and return the exit code."""
    try:
        match arguments:
            case ["grpc", address]:
                check_grpc(address)
            case ["http", url]:
                check_http(url)
            case ["worker"]:
                check_worker(os.environ["TILEWRIGHT_RABBITMQ_URL"])
            case _:
                sys.stderr.write("usage: python -m pipeline.health grpc HOST:PORT | http URL | worker\n")
                return 2
    except UnhealthyError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
