"""What the project uses of libraries' private parts: fails when a library changes, so that somebody reads it again."""

from __future__ import annotations

import hashlib
import http.client
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import urllib3
import uvicorn
from urllib3.connection import HTTPConnection, HTTPSConnection
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


def digest(*parts: Callable[..., Any] | type) -> str:
    """Hash the source of functions or classes."""
    return hashlib.sha256("".join(inspect.getsource(part) for part in parts).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("where", "library", "read", "parts", "expected"),
    [
        (
            "ingest/http/adapter.py",
            urllib3,
            "2.8.0",
            (HTTPConnection._new_conn, HTTPConnection.connect, HTTPSConnection.connect, HTTPConnection.getresponse),
            "254bb5e7cd22b7bb",
        ),
        (
            "gateway/http/limited_protocol.py",
            uvicorn,
            "0.54.0",
            (HttpToolsProtocol, RequestResponseCycle, FlowControl),
            "1f0ad26f71ba02a7",
        ),
    ],
    ids=["urllib3", "uvicorn"],
)
def test_a_library_is_as_it_was_when_its_insides_were_read(
    where: str, library: Any, read: str, parts: tuple[Callable[..., Any], ...], expected: str
) -> None:
    found = digest(*parts)
    assert found == expected, (
        f"{library.__name__} {library.__version__} differs from {read}: read what {where} uses of it, run the tests, "
        f"then put {library.__version__} and {found} here"
    )


@pytest.mark.parametrize(
    "name",
    ["_read_status", "_get_chunk_left", "_safe_read", "_read_next_chunk_size", "_read_and_discard_trailer", "begin"],
)
def test_the_standard_library_has_what_strict_response_overrides(name: str) -> None:
    assert inspect.isfunction(getattr(http.client.HTTPResponse, name))
