"""Errors: a page for a browser's window, a problem for all others, also for what is no HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
import requests

from gateway.http.error_page import wants_page
from tests.support.rigs import gateway_rig
from tests.support.rigs.gateway_rig import Gateway

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
"""What Chromium and Firefox send when an address is opened in a window of its own."""

NOBODY = "127.0.0.1:1"
"""An address for a statussvc that is never asked."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_rig.serving(NOBODY, tmp_path_factory.mktemp("storage")) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML ; q=0.5", True),
        ("application/json;q=0.5, text/html", True),
        ("application/json, text/html;q=0.9", False),
        ("application/problem+json, text/html", False),
        ("text/html;q=0", False),
        ("text/html;q=much", False),
        ("*/*", False),
        ("text/*", False),
        ("image/avif,image/webp,*/*", False),
        ("", False),
    ],
)
def test_a_page_is_for_those_who_ask_for_html_by_name(accept: str, expected: bool) -> None:
    assert wants_page("/nonsense", [(b"host", b"x"), (b"accept", accept.encode())]) == expected


@pytest.mark.parametrize("path", ["/nonsense", "/a/b/c", "/tiles/x.dzi", "/assets/none.js", "/view/custom_1/more"])
def test_a_dead_link_opens_a_page_that_says_so_and_leads_back(gateway: Gateway, path: str) -> None:
    # When a browser opens an address that is none
    answer = gateway.get(path, headers={"Accept": BROWSER})
    # Then a person can read what is the matter, and which request it was
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is nothing at this address." in answer.text
    assert answer.headers["X-Request-ID"] in answer.text
    assert "Accept" in answer.headers["Vary"]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    # And its links lead out of that depth, whatever the prefix of a proxy
    up = "../" * (path.count("/") - 1) or "./"
    assert f'<a class="wordmark" href="{up}">' in answer.text
    assert f'href="{up}docs/errors#not_found"' in answer.text
    # And everyone else gets the problem
    plain = gateway.get(path)
    assert (plain.status_code, plain.headers["Content-Type"]) == (404, "application/problem+json")
    assert plain.json()["code"] == "not_found"


def test_a_path_cannot_write_into_the_page(gateway: Gateway) -> None:
    answer = gateway.get("/tiles/<script>alert(1)</script>.dzi", headers={"Accept": BROWSER})
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text


@pytest.mark.parametrize("path", ["/api/nonsense", "/readyz"])
def test_where_programs_speak_a_browser_sees_the_problem_itself(gateway: Gateway, path: str) -> None:
    answer = gateway.get(path, headers={"Accept": BROWSER})
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"what is this\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_with_a_problem_too(gateway: Gateway, request_bytes: bytes) -> None:
    # When a client sends something else on a connection
    with socket.create_connection(("127.0.0.1", gateway.server.port), timeout=30) as connection:
        connection.sendall(request_bytes)
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    # Then it hears so in the words of every other error, and the connection ends
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert lines[0] == "HTTP/1.1 400 Bad Request"
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-length"] == str(len(body))
    assert headers["connection"] == "close"
    problem = json.loads(body)
    assert (problem["status"], problem["code"], problem["success"]) == (400, "invalid_request", False)
    assert "HTTP" in problem["detail"]


def test_a_page_elsewhere_may_read_the_headers_that_say_something(gateway: Gateway) -> None:
    # When a page of another origin reads
    answer = gateway.get("/healthz", headers={"Origin": "https://elsewhere.example"})
    # Then its scripts see these headers beside the few that browsers always show
    exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"ETag", "Location", "Retry-After", "Idempotent-Replayed", "X-Request-ID"} <= exposed


def test_the_page_of_a_problem_has_all_that_it_loads(gateway: Gateway) -> None:
    page = gateway.get("/a/b", headers={"Accept": BROWSER})
    for name in ("images/mark.svg", "css/base.css", "css/errors.css"):
        assert f"../assets/{name}" in page.text
        assert gateway.get(f"/assets/{name}").status_code == requests.codes.ok
