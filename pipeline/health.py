"""Whether a service on this machine is healthy: `python -m pipeline.health`, for the health checks of containers.

    grpc HOST:PORT   grpc.health.v1 answers SERVING
    http URL         the URL answers 200
    worker           this container holds a connection to the broker

Exits 0 where that is so, else 1 with a sentence on standard error. The worker's check opens no port and sends nothing:
RabbitMQ and the worker both close a connection on which the other's heart-beats stop, so one that is there is alive.
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
"""Seconds a service may take to answer; below the time-out of compose's health checks, so that its reason is seen."""

TCP_ESTABLISHED = "01"
"""Linux: include/net/tcp_states.h."""


class UnhealthyError(Exception):
    """Raised when a service is not healthy; says why."""


def check_grpc(address: str) -> None:
    """Ask HOST:PORT by grpc.health.v1. Raises UnhealthyError."""
    import grpc  # noqa: PLC0415 - a fifth of a second that the other checks do without
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
    """Get the URL, straight and not through any proxy. Raises UnhealthyError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=ANSWER_LIMIT).close()
    except OSError as error:
        raise UnhealthyError(f"{url}: {error}") from error


def check_worker(broker_url: str, tables: Path = Path("/proc/net")) -> None:
    """Look for an established connection to the broker. Raises UnhealthyError.

    Parameters
    ----------
    broker_url: amqp://…
    tables: the folder of the kernel's tables `tcp` and `tcp6`, which show the connections of this network namespace.
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
    """Address and port of the other end of each established connection."""
    for name in ("tcp", "tcp6"):
        table = tables / name
        if not table.exists():  # no IPv6 in this kernel
            continue
        for line in table.read_text().splitlines()[1:]:
            _, _, remote, state = line.split()[:4]
            if state == TCP_ESTABLISHED:
                address, port = remote.split(":")
                yield _plain(_decode(address)), int(port, 16)


def _decode(address: str) -> str:
    """An address as /proc/net prints it: 32-bit words, each in the machine's own byte order."""
    words = [int(address[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(address), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def _plain(address: str) -> str:
    """An IPv4 address that is written as an IPv6 one, as what it is."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def main(arguments: list[str]) -> int:
    """Run the check that the arguments name; return the exit code."""
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
