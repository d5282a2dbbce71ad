"""Which URLs and addresses may be fetched: the pure decisions of pipeline/sources.py."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from pipeline.errors import StageError
from pipeline.sources import Allowed, Target, check_literal_host, check_url, is_public, literal_address

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
    ("url", "target"),
    [
        ("https://example.org/a.jpg", Target("https", "example.org", 443)),
        ("http://example.org", Target("http", "example.org", 80)),
        ("HTTP://EXAMPLE.ORG:8080/a?b=c#d", Target("http", "example.org", 8080)),
        ("https://example.org:80/", Target("https", "example.org", 80)),
        ("http://example.org:/", Target("http", "example.org", 80)),
        ("http://[2606:4700::1111]:65535/", Target("http", "2606:4700::1111", 65535)),
        ("https://my_bucket.example.org/", Target("https", "my_bucket.example.org", 443)),
        ("https://münchen.example/", Target("https", "münchen.example", 443)),
        ("https://example.org/100%25/@user", Target("https", "example.org", 443)),
    ],
)
def test_a_right_url_is_taken_apart(url: str, target: Target) -> None:
    assert check_url(url) == target


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
        "http:///a.jpg",
        "http://user@example.org/",
        "http://user:password@example.org/",
        "http://:@example.org/",
        "http://example.org:22/",
        "http://example.org:0/",
        "https://example.org:1023/",
        "http://example.org:65536/",
        "http://example.org:http/",
        "http://example.org:-80/",
        "http://exa mple.org/",
        "http://example.org/a b.jpg",
        "http://example.org\\@127.0.0.1/",
        "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/",
        "http://example.org\n/",
        "http://example.org/\r\nHost: localhost",
        "http://example.org/\x00",
        "http://127.0.0.1%2f@example.org/",
        "http://127.0.0.1%00.example.org/",
        "http://exa%6dple.org/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://[127.0.0.1]/",
        "http://[example.org]/",
        "http://-example.org/",
        "http://a..b/",
        "http://<script>/",
        "http://" + "a" * 64 + ".org/",
        "http://example.org/" + "a" * 8000,
    ],
)
def test_a_wrong_url_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(StageError) as refusal:
        check_url(url)
    assert refusal.value.code == "source_invalid_url"
    assert not refusal.value.retryable
    assert refusal.value.message.endswith(".")
    assert "password@" not in refusal.value.message


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


@pytest.mark.parametrize(
    "entry", ["", "10.0.0.1/8", "http://nas.example", "nas.example/24", "nas:0", "*", "a b", "x:99999"]
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
