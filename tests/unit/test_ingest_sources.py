"""Which URLs and addresses may be fetched: the pure decisions of pipeline/sources.py."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from pipeline.errors import StageError
from pipeline.sources import Allowed, check_literal_host, check_url, is_public, literal_address
from pipeline.urls import DEFAULT_PORTS

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "168.63.129.15",  # the neighbour of Azure's wire server
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
    "::ffff:8.8.8.8",  # mapped
    "64:ff9b::8.8.8.8",  # NAT64
    "2606:4700::5efe:808:808",  # ISATAP of 8.8.8.8
]

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104  an address to refuse, not one to listen on
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",  # CGNAT
    "100.100.100.200",  # Alibaba's metadata
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",  # AWS's, GCP's and Azure's metadata
    "168.63.129.16",  # Azure's wire server
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.192",  # Oracle's metadata
    "192.0.2.1",  # documentation
    "192.88.99.1",  # 6to4 relay
    "192.168.1.1",
    "198.18.0.1",  # benchmarking
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",  # multicast
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # compatible
    "::10.0.0.1",
    "::ffff:127.0.0.1",  # mapped
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",  # translated
    "64:ff9b::127.0.0.1",  # NAT64
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::8.8.8.8",  # local NAT64
    "64:ff9b:1::127.0.0.1",
    "2002:808:808::1",  # 6to4 of 8.8.8.8: global to Python 3.11, not to 3.13
    "2002:7f00:1::1",  # 6to4 of 127.0.0.1
    "2002:a9fe:a9fe::1",
    "2002:a00:1::",
    "2001:0:808:808::1",  # Teredo
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2606:4700::5efe:127.0.0.1",  # ISATAP
    "2606:4700::200:5efe:a00:1",
    "fe80::5efe:8.8.8.8",
    "100::1",  # discard only
    "100:0:0:1::1",
    "2001:db8::1",  # documentation
    "2001:20::1",  # ORCHID
    "3fff::1",
    "5f00::1",  # segment routing
    "fc00::1",
    "fd00:ec2::254",  # AWS's metadata
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0", "0.0.0.0"),  # noqa: S104  an address to refuse, not one to listen on
        ("0xa9fea9fe", "169.254.169.254"),
        ("127.0.0.1.", "127.0.0.1"),
        ("１２７．０．０．１", "127.0.0.1"),  # noqa: RUF001  the full-width spelling is the case
        ("127。0。0。1", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
    ],
)
def test_every_spelling_of_an_address_is_read(host: str, address: str) -> None:
    assert literal_address(host) == ip_address(address)


@pytest.mark.parametrize("host", ["example.org", "localhost", "1.2.3.4.5", "256.1.1.1.example", "0x7f.example", "a"])
def test_a_name_is_no_address(host: str) -> None:
    assert literal_address(host) is None


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://example.org/a.jpg", ("https", "example.org", 443, "/a.jpg")),
        ("http://example.org", ("http", "example.org", 80, "/")),
        ("HTTP://EXAMPLE.ORG:8080/a?b=c#d", ("http", "example.org", 8080, "/a?b=c")),
        ("https://example.org:80/", ("https", "example.org", 80, "/")),
        ("http://example.org:/", ("http", "example.org", 80, "/")),
        ("http://[2606:4700::1111]:65535/", ("http", "2606:4700::1111", 65535, "/")),
        ("https://my_bucket.example.org/", ("https", "my_bucket.example.org", 443, "/")),
        ("https://example.org/100%25/@user", ("https", "example.org", 443, "/100%25/@user")),
        # Hosts: IDNA by UTS 46, percent-encoded names, numbers, a final dot
        ("https://münchen.example/", ("https", "xn--mnchen-3ya.example", 443, "/")),
        ("https://faß.example/", ("https", "xn--fa-hia.example", 443, "/")),
        ("https://EXAMPLE。org/", ("https", "example.org", 443, "/")),
        ("http://exa%6dple.org/", ("http", "example.org", 80, "/")),
        ("http://1.1/", ("http", "1.0.0.1", 80, "/")),
        ("http://example.org./a", ("http", "example.org.", 80, "/a")),
        # Targets: encoded where the standard says so, and left alone where they are encoded already
        ("http://h.example/a b.tif", ("http", "h.example", 80, "/a%20b.tif")),
        ("http://h.example/a[1]|{2}^`.tif", ("http", "h.example", 80, "/a[1]|%7B2%7D%5E%60.tif")),
        ("http://h.example/é/ü?q=é|{}[] '", ("http", "h.example", 80, "/%C3%A9/%C3%BC?q=%C3%A9|{}[]%20%27")),
        ("http://h.example/%7Ejoe%2dx.tif?sig=%2babc%2f", ("http", "h.example", 80, "/%7Ejoe%2dx.tif?sig=%2babc%2f")),
        ("http://h.example/%E9%zz%?%", ("http", "h.example", 80, "/%E9%zz%?%")),
        ("http://h.example//a//b", ("http", "h.example", 80, "//a//b")),
        ("http://h.example/a/./b/../c/%2e%2E/d", ("http", "h.example", 80, "/a/d")),
        ("http://h.example\\a\\b", ("http", "h.example", 80, "/a/b")),
        ("  http://h.example/a\r\n b\t ", ("http", "h.example", 80, "/a%20b")),
        ("http://h.example?a b", ("http", "h.example", 80, "/?a%20b")),
        # Surprises that no parser may read differently
        ("http://example.org\\@127.0.0.1/", ("http", "example.org", 80, "/@127.0.0.1/")),
        ("http://example.org/\r\nHost: localhost", ("http", "example.org", 80, "/Host:%20localhost")),
        ("http:///example.org/a", ("http", "example.org", 80, "/a")),
        ("http://:@example.org/", ("http", "example.org", 80, "/")),
    ],
)
def test_a_url_is_read_as_browsers_read_it(url: str, parts: tuple[str, str, int, str]) -> None:
    found = check_url(url)
    assert (found.scheme, found.host, found.port, found.target) == parts
    # And what is requested is read the same way again, here and by the HTTP library below
    assert check_url(found.href) == replace(found, fragment="")
    below = parse_url(found.href)
    assert (below.scheme, (below.host or "").strip("[]"), below.port or DEFAULT_PORTS[found.scheme]) == parts[:3]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/a.jpg",
        "//example.org/a.jpg",
        "ftp://example.org/a.jpg",
        "file:///etc/passwd",
        "gopher://example.org/",
        "javascript:alert(1)",
        "http://",
        "http://user@example.org/",
        "http://user:password@example.org/",
        "http://:password@example.org/",
        "http://user:@example.org/",
        "http://example.org:22/",
        "http://example.org:0/",
        "https://example.org:1023/",
        "http://example.org:65536/",
        "http://example.org:http/",
        "http://example.org:-80/",
        "http://exa mple.org/",
        "http://exa%20mple.org/",
        "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/",
        "http://example.org/\x00",
        "http://example.org/\x1b[2J",
        "http://example.org/\x9b2J",
        "http://127.0.0.1%2f@example.org/",
        "http://127.0.0.1%00.example.org/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://[127.0.0.1]/",
        "http://[example.org]/",
        "http://-example.org/",
        "http://a..b/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://0x100000000/",
        "http://a*b.example/",
        "http://<script>/",
        "http://" + "a" * 64 + ".org/",
        "http://" + "a." * 127 + "org/",
        "http://example.org/" + "a" * 8000,
        "http://example.org/" + "é" * 2000,
        "http://example.org/\udc80",
    ],
)
def test_a_wrong_url_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(StageError) as refusal:
        check_url(url)
    assert refusal.value.code == "source_invalid_url"
    assert not refusal.value.retryable
    assert refusal.value.message.endswith(".")
    assert "password@" not in refusal.value.message


_PIECES = st.sampled_from(
    [
        *"/\\?#@:.%[]{}|^`<>'\"&=;, \t\n\r0179ax-_~é。①٠",
        *("127.0.0.1", "example.org", "[::1]", "%2f", "%40", "%00", "http:", "xn--"),
    ]
)


@given(st.lists(_PIECES, max_size=12).map("".join))
@example("//a@b\\c")
@settings(max_examples=600, deadline=None)
def test_no_url_is_read_in_two_ways(text: str) -> None:
    """Whatever somebody submits is refused, or all parsers agree about the host, the port and the target."""
    try:
        found = check_url(f"http://{text}")
    except StageError:
        return
    assert check_url(found.href).href == found.href
    below, standard = parse_url(found.href), urlsplit(found.href)
    assert (below.host or "").strip("[]") == standard.hostname == found.host
    assert (below.port or 80) == (standard.port or 80) == found.port
    assert below.auth is None
    assert re.fullmatch(r"/[\x21-\x7e]*", found.target)


def test_only_what_the_operator_named_is_permitted() -> None:
    allowed = Allowed(
        ["nas.example", "cache.example:8080", "10.0.0.0/8", "192.168.1.5:9000", "[fd00::5]:8080", "fd01::/16"]
    )

    def permits(host: str, address: str, port: int = 80) -> bool:
        return allowed.permits(host, ip_address(address), port)

    assert permits("nas.example", "192.168.7.7", 81)
    assert permits("NAS.example.", "192.168.7.7")
    assert not permits("x.nas.example", "192.168.7.7")
    assert permits("cache.example", "127.0.0.1", 8080)
    assert not permits("cache.example", "127.0.0.1", 8081)
    assert permits("any.example", "10.9.8.7")
    assert permits("any.example", "::ffff:10.9.8.7")
    assert not permits("any.example", "64:ff9b::10.9.8.7")
    assert permits("192.168.1.5", "192.168.1.5", 9000)
    assert not permits("192.168.1.5", "192.168.1.5", 80)
    assert permits("fd00::5", "fd00::5", 8080)
    assert not permits("fd00::5", "fd00::5", 8081)
    assert permits("any.example", "fd01::9")
    assert permits("example.org", "1.1.1.1", 443)


def test_the_operators_names_are_compared_as_they_are_requested() -> None:
    allowed = Allowed(["münchen.example", "STRASSE.example:8080"])
    assert allowed.names(check_url("http://xn--mnchen-3ya.example/").host, 80)
    assert allowed.names(check_url("http://MÜNCHEN.example./").host, 80)
    assert allowed.names(check_url("http://strasse.example:8080/").host, 8080)
    assert not allowed.names(check_url("http://straße.example:8080/").host, 8080)  # another name since IDNA 2008


@pytest.mark.parametrize(
    "entry", ["", "10.0.0.1/8", "http://nas.example", "nas.example/24", "nas:0", "*", "x:99999", "a?b", "u@n", "n%2e"]
)
def test_an_entry_that_names_no_source_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        Allowed([entry])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1:8080/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:8000/",
        "http://LOCALHOST./",
        "http://a.localhost/",
        "http://ｌocalhost/",  # noqa: RUF001  the full-width letter is the case
        "http://%6cocalhost/",
        "http://loc\u00adalhost/",
        "http://local\nhost/",
        "http://127%2e0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://127。0。0。1/",
        "http://0x7f000001./",
        "http://017700000001/",
        "http:127.0.0.1/",
        "http:\\\\127.0.0.1\\a",
        "http:////127.0.0.1/",
        "http://10.1/",
        "http://[0:0::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[::7f00:1]:8080/",
        "http://127.0.0.1:80#@example.org/",
        "http://127.0.0.1:80?@example.org/",
    ],
)
def test_a_literal_private_host_is_refused_before_anything_is_looked_up(url: str) -> None:
    with pytest.raises(StageError) as refusal:
        check_literal_host(url, Allowed())
    assert refusal.value.code == "source_forbidden_address"
    assert not refusal.value.retryable


@pytest.mark.parametrize(
    ("url", "entries"),
    [
        ("http://example.org/", []),
        ("http://1.1.1.1/", []),
        ("http://127.0.0.1:8000/", ["127.0.0.0/8"]),
        ("http://127.1:8000/", ["127.0.0.1:8000"]),
        ("http://localhost:8000/", ["localhost"]),
        ("http://localhost:8000/", ["127.0.0.1"]),
        ("http://localhost:8000/", ["::1"]),
    ],
)
def test_a_literal_host_passes_where_it_is_public_or_named(url: str, entries: list[str]) -> None:
    check_literal_host(url, Allowed(entries))
