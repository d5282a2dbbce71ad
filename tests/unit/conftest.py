"""Keep tests/unit pure: no process, no server, no connection, no sleep. So all of it runs in seconds."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest


def _refusing(what: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        pytest.fail(f"a unit test {what}: move it to tests/integration", pytrace=False)

    return refuse


@pytest.fixture(autouse=True)
def _is_pure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess.Popen, "__init__", _refusing("starts a process"))
    monkeypatch.setattr(os, "fork", _refusing("starts a process"))
    monkeypatch.setattr(socket.socket, "listen", _refusing("starts a server"))
    monkeypatch.setattr(socket.socket, "connect", _refusing("opens a connection"))
    monkeypatch.setattr(time, "sleep", _refusing("sleeps"))
