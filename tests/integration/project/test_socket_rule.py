"""The rule that no test leaves this machine."""

from __future__ import annotations

import socket

import pytest

from tests.conftest import SocketRule


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1"])
def test_a_connection_to_another_machine_is_stopped_and_noted(host: str, stay_on_this_machine: SocketRule) -> None:
    # Given a socket
    with socket.socket() as out:
        # When it connects to anything but the loopback, then it is refused at once
        with pytest.raises(ConnectionRefusedError, match="must not leave this machine"):
            out.connect((host, 80))
    # Then the test would fail though the error is caught here
    assert stay_on_this_machine.broken == [f"socket.connect {(host, 80)!r}"]
    stay_on_this_machine.broken.clear()


def test_a_datagram_to_another_machine_is_stopped_and_noted(stay_on_this_machine: SocketRule) -> None:
    # Given a datagram socket
    with socket.socket(type=socket.SOCK_DGRAM) as out:
        # When it sends without connecting, then it is refused just so
        with pytest.raises(ConnectionRefusedError):
            out.sendto(b"hello", ("192.0.2.1", 53))
    # Then the test would fail as well
    assert len(stay_on_this_machine.broken) == 1
    stay_on_this_machine.broken.clear()


def test_the_loopback_is_open(stay_on_this_machine: SocketRule) -> None:
    # Given a server on this machine
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        # When a client connects, then nothing is noted
        client.connect(("localhost", server.getsockname()[1]))
    assert stay_on_this_machine.broken == []
