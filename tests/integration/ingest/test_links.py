"""Links as people paste them: what is requested for them, byte for byte, and where redirects lead."""

from __future__ import annotations

from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path

import pytest
from pydantic import ValidationError

from ingest.download import link_answers
from ingest.download.fetch import Fetch, Fetched
from ingest.http.guard import Guard
from ingest.settings import IngestSettings
from pipeline.errors import StageError
from pipeline.sources import Allowed
from tests.support.network import answers
from tests.support.network.sources import Behaviour, Exchange, serve

IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(1000)


def fetch(url: str, path: Path, **settings: object) -> Fetched:
    """Fetches with every name leading to this machine."""
    guard = Guard(Allowed(["127.0.0.0/8"]), lambda host, port: [ip_address("127.0.0.1")])
    made = IngestSettings.model_validate(settings)
    return Fetch(url, path, settings=made, guard=guard, progress=lambda done, total: None).run()


@pytest.mark.parametrize(
    ("written", "requested"),
    [
        # Encoded already: not a byte may change, because a signature is made of them
        ("/a/%7Ejoe%2dx.tif?sig=%2babc%2f", "/a/%7Ejoe%2dx.tif?sig=%2babc%2f"),
        ("/%e9%E9%zz%?a=%&b=%2", "/%e9%E9%zz%?a=%&b=%2"),
        ("/a+b%20c;d=e,f!g'h(i)*j:@k$l&m?n+o%2B%20'p", "/a+b%20c;d=e,f!g'h(i)*j:@k$l&m?n+o%2B%20%27p"),
        ("//a//b.tif?", "//a//b.tif?"),
        ("/?X-Amz-Signature=0a&X-Amz-Credential=A%2f1%2fs3", "/?X-Amz-Signature=0a&X-Amz-Credential=A%2f1%2fs3"),
        # Not encoded: as a browser encodes it
        ('/a b[1]|{2}^`"<>.tif', "/a%20b[1]|%7B2%7D%5E%60%22%3C%3E.tif"),
        ('/Zürich/é.tif?q=é {}|[]"<>`^', "/Z%C3%BCrich/%C3%A9.tif?q=%C3%A9%20{}|[]%22%3C%3E`^"),
        ("/東京😀.tif", "/%E6%9D%B1%E4%BA%AC%F0%9F%98%80.tif"),
        ("/a/./b/../c.tif", "/a/c.tif"),
        ("/a/%2e%2E/c.tif", "/c.tif"),
        ("\\a\\b.tif", "/a/b.tif"),
        ("/a\r\n  b.tif\t", "/a%20%20b.tif"),
        ("/a.tif#page=2", "/a.tif"),
        ("?a", "/?a"),
        ("", "/"),
    ],
)
def test_a_target_goes_out_as_a_browser_sends_it(written: str, requested: str, tmp_path: Path) -> None:
    with serve() as server:
        server.answer_all = answers.ranges(IMAGE)
        assert fetch(f" {server.url(written, 'Source.test')}", tmp_path / "got").bytes == len(IMAGE)
        assert server.targets == [requested]
        ((headers,),) = server.headers.values()
        assert headers["Host"] == f"source.test:{server.port}"


@pytest.mark.parametrize(
    ("host", "sent"),
    [("münchen.test", "xn--mnchen-3ya.test"), ("例え。テスト", "xn--r8jz45g.xn--zckzah")],
)
def test_a_host_in_any_script_is_asked_by_its_ascii_name(host: str, sent: str, tmp_path: Path) -> None:
    with serve() as server:
        server.on("/a", answers.ranges(IMAGE))
        assert fetch(server.url("/a", host), tmp_path / "got").bytes == len(IMAGE)
        assert server.headers["/a"][0]["Host"] == f"{sent}:{server.port}"


@pytest.mark.parametrize(
    ("location", "requested"),
    [
        (b"/caf\xe9.tif", "/caf%E9.tif"),  # Latin-1, as some servers write it
        ("/café.tif".encode(), "/caf%C3%A9.tif"),  # UTF-8
        (b"/\xff\xfe\x80", "/%FF%FE%80"),  # neither
        (b"x y|{}.tif", "/dir/x%20y|%7B%7D.tif"),
        (b"%7Ejoe%2dx.tif?sig=%2babc%2f", "/dir/%7Ejoe%2dx.tif?sig=%2babc%2f"),
        (b"?q", "/dir/start?q"),
        (b"../x", "/x"),
        (b"../../../x", "/x"),
        (b"./x/../y", "/dir/y"),
        (b"/a#b", "/a"),
        (b"//other.test:PORT/p", "/p"),
        (b"\\\\other.test:PORT\\p", "/p"),
        (b"http:p", "/dir/p"),
        (b"http:///other.test:PORT/p", "/p"),
        ("//bücher.test:PORT/p".encode(), "/p"),
        (b"  /p\t", "/p"),
    ],
)
def test_a_redirect_leads_where_a_browser_goes(location: bytes, requested: str, tmp_path: Path) -> None:
    with serve() as server:
        to = location.replace(b"PORT", b"%d" % server.port)
        server.answer_all = answers.ranges(IMAGE)
        server.on("/dir/start", answers.sequence(redirect_to(to), answers.ranges(IMAGE)))
        assert fetch(server.url("/dir/start?old", "source.test"), tmp_path / "got").bytes == len(IMAGE)
        assert server.targets == ["/dir/start?old", requested]
        hosts = [headers["Host"] for path in server.headers.values() for headers in path]
        assert f"source.test:{server.port}" in hosts
        assert any(host in hosts for host in expected_hosts(location, server.port))


def expected_hosts(location: bytes, port: int) -> set[str]:
    name = "other.test" if b"other" in location else "xn--bcher-kva.test" if b"b\xc3" in location else "source.test"
    return {f"{name}:{port}"}


def redirect_to(location: bytes, *more: bytes) -> Behaviour:
    """A redirect whose Location is any bytes."""

    def answer(exchange: Exchange) -> None:
        lines = b"".join(b"Location: %b\r\n" % value for value in (location, *more))
        exchange.wfile.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n%b\r\n" % lines)

    return answer


def test_two_different_locations_are_an_error_and_two_equal_ones_are_one(tmp_path: Path) -> None:
    with serve() as server:
        server.on("/p", answers.ranges(IMAGE))
        url = server.on("/two", redirect_to(b"/p", b"/q"))
        with pytest.raises(StageError, match="redirects to several URLs at once") as failure:
            fetch(url, tmp_path / "got")
        assert failure.value.code == "source_protocol_error"
        url = server.on("/same", redirect_to(b"/p", b"/p"))
        assert fetch(url, tmp_path / "got").bytes == len(IMAGE)


@pytest.mark.parametrize(
    ("location", "code"),
    [
        (b"http://user:password@source.test/", "source_invalid_url"),
        (b"http://source.test:22/", "source_invalid_url"),
        (b"//a b/", "source_invalid_url"),
        (b"//1.2.3.4.5/", "source_invalid_url"),
        (b"javascript:alert(1)", "source_invalid_url"),
        (b"file:///etc/passwd", "source_invalid_url"),
        (b"/" + b"\xe9" * 3000, "source_invalid_url"),  # too long once it is encoded
        (b"//10.1/", "source_forbidden_address"),
        (b"//%31%30.1/", "source_forbidden_address"),
        ("//１０.1/".encode(), "source_forbidden_address"),  # noqa: RUF001  the full-width digits are the case
        (b"\\/169.254.169.254\\latest", "source_forbidden_address"),
    ],
)
def test_a_redirect_may_lead_nowhere_else(location: bytes, code: str, tmp_path: Path) -> None:
    with serve() as server:
        server.on("/start", redirect_to(location))
        with pytest.raises(StageError) as failure:
            fetch(server.url("/start", "source.test"), tmp_path / "got")
        assert failure.value.code == code
        assert "password" not in failure.value.message.replace("user name or password", "")
        assert server.targets == ["/start"]


@pytest.mark.parametrize("start", [b"<", b"{", b"\n", b'{"@context": "http://iiif.io/api/image/3", "a": "'])
def test_an_answer_that_drips_is_too_slow_whatever_it_may_be(
    start: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server that never says what its answer is, and less time to find out
    monkeypatch.setattr(link_answers, "PAGE_TIME", 0.1)
    monkeypatch.setattr(link_answers, "DOCUMENT_TIME", 0.1)
    with serve() as server:
        url = server.on("/a", answers.dripping(b"HTTP/1.1 200 OK\r\n\r\n" + start, b" "))
        # When it is fetched, then the rate ends it, as with any other
        with pytest.raises(StageError) as failure:
            fetch(url, tmp_path / "got", source_rate_window=0.3, source_time_limit=20)
        assert failure.value.code == "source_too_slow"


@pytest.mark.parametrize("contact", ["a\nX-Injected: 1", "(nested)", "back\\slash", "bücher@example.org", "x" * 201])
def test_a_contact_that_a_header_cannot_carry_is_refused_at_the_start(contact: str) -> None:
    with pytest.raises(ValidationError, match="source_contact"):
        IngestSettings(source_contact=contact)
    two = "https://example.org/bot; ops@example.org"
    assert IngestSettings(source_contact=two).source_contact == two


@pytest.mark.parametrize("status", [403, 429])
def test_a_server_that_may_want_a_contact_is_named_with_the_setting(status: int, tmp_path: Path) -> None:
    # Given a server that answers only those who say who they are, by an address of their own
    def picky(exchange: Exchange) -> None:
        is_known = "example.org/me" in exchange.headers["User-Agent"]
        (answers.ranges(IMAGE) if is_known else answers.status(status))(exchange)

    with serve() as server:
        url = server.on("/a", picky)
        # When no contact is set, then the message says what the operator can do
        with pytest.raises(StageError, match="TILEWRIGHT_SOURCE_CONTACT"):
            fetch(url, tmp_path / "got")
        # And the request named the program and its version, and no address that leads nowhere
        assert server.headers["/a"][0]["User-Agent"] == f"Tilewright/{version('tilewright')}"
        # When one is set, then the file is there; and where that did not help, the setting is not named again
        assert fetch(url, tmp_path / "got", source_contact="https://example.org/me").bytes == len(IMAGE)
        with pytest.raises(StageError) as failure:
            fetch(url, tmp_path / "got", source_contact="https://example.org/you")
        assert "TILEWRIGHT_SOURCE_CONTACT" not in failure.value.message
