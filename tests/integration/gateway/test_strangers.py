"""Other pages change nothing, other names reach nothing, and what lets a source be fetched is shown to nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.http.cross_site import is_loopback
from tests.support.rigs import gateway_rig, status_rig
from tests.support.rigs.gateway_rig import Gateway
from tests.support.rigs.status_rig import Status

NEW = {"name": "Earth", "url": "https://example.org/earth.jpg"}
OWN, TRUSTED, FOREIGN = "http://127.0.0.1:1", "https://viewer.example", "https://evil.example"


@pytest.fixture(scope="module")
def status(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Status]:
    with status_rig.running(f"sqlite:///{tmp_path_factory.mktemp('rows') / 'rows.sqlite3'}") as rig:
        yield rig


@pytest.fixture
def serve(status: Status, tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(gateway_rig.serving(status.address, tmp_path, **settings))


def changes(gateway: Gateway, dataset_id: str, headers: dict[str, str]) -> list[int]:
    """The status of each request that changes something."""
    path = f"/api/datasets/{dataset_id}"
    return [
        gateway.post("/api/datasets", json=NEW, headers=headers).status_code,
        gateway.post("/api/inspections", json={"url": NEW["url"]}, headers=headers).status_code,
        gateway.call("PATCH", path, json={"name": "Mars"}, headers=headers).status_code,
        gateway.post(f"{path}/cancel", headers=headers).status_code,
        gateway.post(f"{path}/retry", headers=headers).status_code,
        gateway.call("DELETE", path, headers=headers).status_code,
    ]


DONE = [202, 202, 200, 200, 202, 204]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": FOREIGN},
        {"Origin": "null"},
        {"Origin": TRUSTED.replace("https", "http")},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Origin": "null", "Host": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_another_origin_changes_nothing(serve: Any, headers: dict[str, str]) -> None:
    gateway = serve(allowed_origins=(TRUSTED,))
    dataset_id = gateway.submit()
    # When such a page asks for each change, Then none is made
    assert changes(gateway, dataset_id, headers) == [403] * 6
    assert gateway.get(f"/api/datasets/{dataset_id}").json()["name"] == "Earth"
    refused = gateway.post("/api/datasets", json=NEW, headers=headers)
    assert refused.json()["code"] == "forbidden_origin"
    # And reading is as free as ever
    assert gateway.get("/api/datasets", headers=headers).ok


@pytest.mark.parametrize("kind", ["own", "trusted", "program", "behind a proxy"])
def test_our_own_pages_programs_and_trusted_origins_may(serve: Any, kind: str) -> None:
    gateway = serve(allowed_origins=(TRUSTED,), public_url="https://tiles.example")
    headers = {
        "own": {"Origin": gateway.url, "Sec-Fetch-Site": "same-origin"},
        "trusted": {"Origin": TRUSTED, "Sec-Fetch-Site": "cross-site"},
        "program": {},
        "behind a proxy": {"Origin": "https://tiles.example", "Sec-Fetch-Site": "same-origin"},
    }[kind]
    assert changes(gateway, gateway.submit(), headers) == DONE


def test_a_browser_is_told_that_a_trusted_origin_may_submit_and_others_may_not(serve: Any) -> None:
    gateway = serve(allowed_origins=(TRUSTED,))
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,idempotency-key"}
    trusted = gateway.call("OPTIONS", "/api/datasets", headers={"Origin": TRUSTED, **asked})
    assert (trusted.status_code, trusted.headers["Access-Control-Allow-Origin"]) == (200, TRUSTED)
    foreign = gateway.call("OPTIONS", "/api/datasets", headers={"Origin": FOREIGN, **asked})
    assert foreign.status_code == 400
    # And the refusal is a problem, like every other error
    assert foreign.headers["Content-Type"] == "application/problem+json"
    assert foreign.headers["Vary"] == "Origin, Accept"
    told = foreign.json()
    assert (told["status"], told["code"], told["success"]) == (400, "invalid_request", False)
    assert "TILEWRIGHT_ALLOWED_ORIGINS" in told["detail"]


@pytest.mark.parametrize(
    ("host", "settings", "status_code"),
    [
        ("127.0.0.1", {}, 200),
        ("127.0.0.1:8000", {}, 200),
        ("localhost:1", {}, 200),
        ("LOCALHOST", {}, 200),
        ("[::1]:8000", {}, 200),
        ("127.9.9.9", {}, 200),
        ("evil.example", {}, 421),
        ("127.0.0.1.evil.example", {}, 421),
        ("localhost.evil.example", {}, 421),
        ("10.0.0.1", {}, 421),
        ("[::ffff:10.0.0.1]", {}, 421),
        ("[", {}, 400),
        ("a@localhost", {}, 400),
        ("evil.example@127.0.0.1", {}, 400),
        ("127.0.0.1/evil", {}, 400),
        ("127.0.0.1#evil.example", {}, 400),
        ("127.0.0.1?evil.example", {}, 400),
        ("127.0.0.1\\evil.example", {}, 400),
        ("127.0.0.1:80:80", {}, 400),
        ("127.0.0.1:evil", {}, 400),
        ("[::1]evil", {}, 400),
        ("tiles.example", {"allowed_hosts": ("tiles.example",)}, 200),
        ("tiles.example:8443", {"allowed_hosts": ("tiles.example",)}, 200),
        ("other.example", {"allowed_hosts": ("tiles.example",)}, 421),
        ("other.example", {"allowed_hosts": ("*",)}, 200),
        ("[fd00::5]:8000", {"allowed_hosts": ("[fd00::5]",)}, 200),
        ("[fd00::5]:8000", {"allowed_hosts": ("fd00::5",)}, 200),
        ("other.example", {"host": "0.0.0.0", "allowed_hosts": ("127.0.0.1",)}, 421),  # noqa: S104  as in compose
        ("other.example", {"host": "0.0.0.0", "allowed_hosts": ("0.0.0.0",)}, 200),  # noqa: S104  the same, opened
        ("other.example", {"host": "0.0.0.0", "allowed_hosts": ("[::]",)}, 200),  # noqa: S104  the same
        ("tiles.example", {"public_url": "https://tiles.example/maps"}, 200),
        ("evil.example", {"host": "0.0.0.0"}, 200),  # noqa: S104  as a container listens
        ("evil.example", {"host": "0.0.0.0", "allowed_hosts": ("gateway",)}, 421),  # noqa: S104  the same
    ],
)
def test_a_gateway_answers_to_its_own_names(serve: Any, host: str, settings: dict[str, Any], status_code: int) -> None:
    gateway = serve(**settings)
    answer = gateway.get("/api/datasets", headers={"Host": host})
    assert answer.status_code == status_code
    if status_code == 421:
        assert answer.json()["code"] == "wrong_host"
    if status_code == 400:
        assert answer.json()["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("", False),
        ("localhost.", False),
    ],
)
def test_what_a_loopback_name_is(name: str, is_one: bool) -> None:
    assert is_loopback(name) is is_one


def test_a_sources_query_is_shown_to_nobody(serve: Any, status: Status) -> None:
    # Given a dataset whose source is fetched by a signed URL
    gateway = serve()
    signed = "https://bucket.example/earth.tif?X-Amz-Signature=f00ba4&X-Amz-Expires=3600"
    dataset_id = gateway.submit(url=signed)
    # When it is looked at in every way, Then what signs it is nowhere
    for path in (f"/api/datasets/{dataset_id}", "/api/datasets", f"/api/datasets/{dataset_id}/status"):
        answer = gateway.get(path)
        assert answer.ok
        assert "f00ba4" not in answer.text
    assert gateway.get(f"/api/datasets/{dataset_id}").json()["url"] == "https://bucket.example/earth.tif?***"
    made = gateway.post("/api/inspections", json={"url": signed})
    assert "f00ba4" not in made.text + gateway.get(made.json()["inspection_url"]).text
    # And the worker is given it as it was
    assert status.begin(dataset_id, "5" * 32).url == signed
    # And an address without a query is as it was
    plain = gateway.submit(url=NEW["url"])
    assert gateway.get(f"/api/datasets/{plain}").json()["url"] == NEW["url"]


def test_only_the_embedded_view_may_be_framed(serve: Any) -> None:
    gateway = serve()
    for path in ("/", "/view/custom_00000001", "/docs", "/docs/errors"):
        answer = gateway.get(path)
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Frame-Options"] == "DENY"
    embedded = gateway.get("/embed/custom_00000001")
    assert "frame-ancestors *" in embedded.headers["Content-Security-Policy"]
    assert "X-Frame-Options" not in embedded.headers
    # And a snippet that was copied before there was such a page leads there
    framed = gateway.get("/view/custom_00000001", headers={"Sec-Fetch-Dest": "iframe"})
    assert framed.url == f"{gateway.url}/embed/custom_00000001"
