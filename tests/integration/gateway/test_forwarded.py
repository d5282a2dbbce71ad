"""Absolute addresses behind a proxy, and what pages of other origins may send."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.http import Forwarded
from tests.support.rigs import gateway_rig, status_rig
from tests.support.rigs.gateway_rig import Gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with (
        status_rig.running(f"sqlite:///{folder / 'status.sqlite3'}") as status,
        gateway_rig.serving(status.address, folder / "storage") as rig,
    ):
        yield rig


TRUSTED = [ipaddress.ip_network(entry) for entry in ("127.0.0.0/8", "10.0.0.0/8", "fc00::/7")]


def scheme_of(
    client: str | None, headers: list[tuple[str, str]], *, has_public_url: bool = True
) -> tuple[str, list[str]]:
    """The scheme that the app sees for a request that came by http, and the kinds of warnings."""
    seen: list[str] = []
    warnings: dict[str, str] = {}

    async def app(scope: Any, *_: Any) -> None:
        seen.append(scope["scheme"])

    async def nothing(*_: Any) -> Any:
        return {}

    scope = {
        "type": "http",
        "scheme": "http",
        "client": (client, 1) if client else None,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    middleware = Forwarded(app, TRUSTED, warnings, has_public_url=has_public_url)
    asyncio.run(middleware(scope, nothing, nothing))
    return seen[0], list(warnings)


@pytest.mark.parametrize(
    "headers",
    [
        [("x-forwarded-proto", "https")],
        [("x-forwarded-proto", "http, HTTPS")],  # the nearest proxy comes last
        [("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")],
        [("forwarded", "for=192.0.2.43;proto=https;by=203.0.113.60")],
        [("forwarded", 'for=192.0.2.43;proto=http, for="[2001:db8::1]";Proto="https"')],
        [("forwarded", "proto=https"), ("x-forwarded-proto", "http")],
    ],
)
def test_a_trusted_proxy_tells_the_scheme(headers: list[tuple[str, str]]) -> None:
    for client in ("127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "fd00::7"):
        assert scheme_of(client, headers) == ("https", [])
    assert scheme_of("127.0.0.1", headers, has_public_url=False) == ("https", ["no public URL"])


@pytest.mark.parametrize("client", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "unix:", None])
def test_a_stranger_does_not(client: str | None) -> None:
    assert scheme_of(client, [("x-forwarded-proto", "https")]) == ("http", ["untrusted proxy"])


@pytest.mark.parametrize(
    "headers", [[], [("x-forwarded-proto", "ftp")], [("forwarded", "for=proto=https")], [("forwarded", "")]]
)
def test_what_names_no_scheme_changes_nothing(headers: list[tuple[str, str]]) -> None:
    assert scheme_of("127.0.0.1", headers, has_public_url=False) == ("http", [])


def test_readiness_warns_of_a_proxy_without_a_public_url(gateway: Gateway) -> None:
    gateway.get("/healthz", headers={"X-Forwarded-Proto": "https"})
    ready = gateway.get("/readyz").json()
    assert ready["status"] == "ok"
    assert "TILEWRIGHT_PUBLIC_URL" in ready["warnings"][0]


@pytest.mark.parametrize(
    "path", ["/api/datasets", f"/tiles/{'a' * 64}.dzi", "/iiif/custom_0a1b2c3d/info.json", "/healthz"]
)
def test_a_page_may_send_what_it_asks_for_with_a_get(gateway: Gateway, path: str) -> None:
    asked = {
        "Origin": "https://viewer.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization, x-requested-with",
    }
    answer = gateway.call("OPTIONS", path, headers=asked)
    assert answer.ok
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert {"authorization", "x-requested-with"} <= {name.strip() for name in allowed.split(",")}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    # What is no list of names is not sent back
    odd = gateway.call("OPTIONS", f"/tiles/{'a' * 64}.dzi", headers=asked | {"Access-Control-Request-Headers": "a b;c"})
    assert odd.headers["Access-Control-Allow-Headers"] == "If-None-Match, Range, X-Request-ID"
