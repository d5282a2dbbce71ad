"""Which cookies a chain of redirects sends back, and to whom."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingest.http.cookies import MOST, MOST_BYTES, ChainCookies

SITE = "https://acme.example/a/b.tif"


def sent(set_by: str, to: str, *values: str) -> str:
    cookies = ChainCookies()
    cookies.take(set_by, values, datetime(2026, 1, 1, tzinfo=UTC))
    return cookies.header(to).get("Cookie", "")


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("FedAuth=77u/PD9=; path=/; SameSite=None; secure; HttpOnly", "FedAuth=77u/PD9="),
        ("a=1", "a=1"),
        ("a = 1 ; Path=/", "a=1"),
        ('a="x y"', 'a="x y"'),
        ("a=", "a="),
        ("a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "a=1"),
        ("a=1; Expires=Wed, 01-Jan-2031 00:00:00 GMT", "a=1"),
        ("a=1; Expires=soon", "a=1"),
        ("a=1; Domain=acme.example", "a=1"),
        ("a=1; Domain=.example", "a=1"),
        ("a=1; Path=/a", "a=1"),
        ("a=1; Path=nonsense", "a=1"),
        ("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ""),
        ("a=1; Max-Age=0", ""),
        ("a=1; Max-Age=-1", ""),
        ("a=1; Path=/a/c", ""),
        ("a=1; Path=/a/b.tif/", ""),
        ("a=1; Path=/a/b", ""),
        ("a=1; Domain=other.example", ""),
        ("a=1; Domain=cme.example", ""),
        ("=1", ""),
        ("no cookie", ""),
        ("a=\u00e9", ""),
        ("a b=1", ""),
    ],
)
def test_a_cookie_goes_back_to_where_it_came_from(value: str, header: str) -> None:
    assert sent(SITE, SITE, value) == header


@pytest.mark.parametrize(
    ("set_by", "to", "is_sent"),
    [
        (SITE, "https://acme.example/a/other", True),
        (SITE, "https://ACME.example/a/", True),
        (SITE, "https://acme.example:443/a/x", True),
        ("http://acme.example/a/b", SITE, True),
        (SITE, "http://acme.example/a/b.tif", False),
        (SITE, "https://acme.example:8443/a/b.tif", False),
        (SITE, "https://www.acme.example/a/b.tif", False),
        ("https://www.acme.example/a/b.tif", SITE, False),
        (SITE, "https://evil.example/a/b.tif", False),
        (SITE, "https://acme.example.evil.example/a/b.tif", False),
        (SITE, "https://acme.example/", False),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8001/", False),
    ],
)
def test_a_cookie_goes_to_nobody_else(set_by: str, to: str, is_sent: bool) -> None:
    # Even where it names a domain above the host's
    assert bool(sent(set_by, to, "a=1; Domain=example")) is is_sent
    assert bool(sent(set_by, to, "a=1")) is is_sent


def test_a_secure_cookie_needs_tls() -> None:
    assert sent("http://acme.example/", "http://acme.example/", "a=1; Secure") == ""
    assert sent("http://acme.example/", "https://acme.example/", "a=1; Secure") == "a=1"


def test_a_later_cookie_replaces_one_of_its_name_and_path() -> None:
    assert sent(SITE, SITE, "a=1", "b=2", "a=3", "a=root; Path=/") == "b=2; a=3; a=root"
    assert sent(SITE, SITE, "a=1", "a=; Max-Age=0") == ""


def test_cookies_are_few_and_small() -> None:
    assert sent(SITE, SITE, *(f"c{number}=1" for number in range(1000))).count("=") == MOST
    assert len(sent(SITE, SITE, *(f"c{number}={'x' * 3000}" for number in range(5)))) <= MOST_BYTES
    assert sent(SITE, SITE, f"a={'x' * MOST_BYTES}", "b=1") == "b=1"
