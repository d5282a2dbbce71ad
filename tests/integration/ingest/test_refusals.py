"""Servers that refuse a range and give the whole file, and servers that send it with content codings."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from pathlib import Path

import brotli
import pytest
from backports import zstd

from ingest.download import transfer
from ingest.download.fetch import Fetch, Fetched
from ingest.download.resume import ResumeRecord
from ingest.http import Cancellation
from ingest.http.guard import Guard
from ingest.http.hosts import Hosts
from ingest.settings import IngestSettings
from pipeline.errors import StageError
from pipeline.sources import Allowed, check_url
from tests.support.network import answers
from tests.support.network.descriptions import presentation_3
from tests.support.network.iiif_service import IiifService, dumped
from tests.support.network.sources import Behaviour, Exchange, SourceServer, serve

MEGABYTE = 1024**2
JPEG = b"\xff\xd8\xff\xe0" + hashlib.shake_128(b"picture").digest(5 * MEGABYTE)
SHA256 = hashlib.sha256(JPEG).hexdigest()
LOCAL = Guard(Allowed(["127.0.0.0/8"]))
WHOLE = answers.whole(JPEG, {"ETag": '"v1"'})


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.01)


def fetch(url: str, path: Path, **settings: object) -> Fetched:
    made = IngestSettings.model_validate({"source_connections": 1} | settings)
    return Fetch(url, path, settings=made, guard=LOCAL, progress=lambda done, total: None).run()


def by_range(refusal: Behaviour, plain: Behaviour = WHOLE) -> Behaviour:
    """Answers requests with a range one way, and others another way."""
    return lambda exchange: (refusal if "Range" in exchange.headers else plain)(exchange)


def ranges(server: SourceServer, path: str = "/x.jpg") -> list[str | None]:
    return [headers["Range"] for headers in server.headers[path]]


REFUSALS: dict[str, Behaviour] = {
    **{str(code): answers.status(code) for code in (400, 403, 404, 405, 406, 410, 500, 501, 502, 503, 504)},
    "206 without a place": answers.status(206, {"ETag": '"v1"'}, JPEG),
    "206 of another place": answers.partial_unasked(JPEG[1:9], f"bytes 1-8/{len(JPEG)}"),
    "206 of several parts": answers.status(206, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x--"),
    "206 with gzip": answers.status(
        206, {"Content-Range": f"bytes 0-9/{len(JPEG)}", "Content-Encoding": "gzip"}, gzip.compress(b"")[:10]
    ),
    "503 for a while": answers.status(503, {"Retry-After": "3600"}),
    "416": answers.status(416),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_server_that_refuses_a_range_is_asked_for_the_whole_file(
    server: SourceServer, tmp_path: Path, refusal: Behaviour
) -> None:
    # Given a server that refuses any request with a range, when a file is fetched, then it comes whole
    assert fetch(server.on("/x.jpg", by_range(refusal)), tmp_path / "got").sha256 == SHA256
    assert ranges(server) == ["bytes=0-", None]


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (answers.status(401), "source_forbidden"),
        (answers.status(407), "source_refused"),
        (answers.status(408), "source_unavailable"),
        (answers.status(429), "source_unavailable"),
        (answers.status(500, {"Retry-After": "60"}), "source_unavailable"),
        (answers.status(403, {"cf-mitigated": "challenge"}), "source_forbidden"),
        (answers.status(405, {"x-amzn-waf-action": "captcha"}), "source_forbidden"),
    ],
    ids=["401", "407", "408", "429", "500 for a while", "Cloudflare", "AWS"],
)
def test_what_is_said_to_the_client_is_not_asked_again(
    server: SourceServer, tmp_path: Path, refusal: Behaviour, code: str
) -> None:
    with pytest.raises(StageError) as failure:
        fetch(server.on("/x.jpg", by_range(refusal)), tmp_path / "got")
    assert failure.value.code == code
    assert ranges(server) == ["bytes=0-"]


@pytest.mark.parametrize("others", [0, 1])
def test_a_503_for_a_while_is_the_hosts_limit_beside_other_connections(
    server: SourceServer, tmp_path: Path, others: int
) -> None:
    # Given a worker that has another connection to the host, or none, and a server that is busy
    hosts = Hosts(8)
    for _ in range(others):
        hosts.enter("127.0.0.1", Cancellation(), lambda: None)
    url = server.on("/x.jpg", answers.status(503, {"Retry-After": "7"}))
    job = Fetch(
        url, tmp_path / "got", settings=IngestSettings(), guard=LOCAL, hosts=hosts, progress=lambda done, total: None
    )
    # Then it is asked once more only if there is none, and both times it is told as a refusal of a connection
    with pytest.raises(StageError) as failure:
        job.run()
    assert (failure.value.refused, failure.value.retry_after) == (True, 7.0)
    assert ranges(server) == (["bytes=0-"] if others else ["bytes=0-", None])


def test_the_answer_without_a_range_is_the_files_own(server: SourceServer, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="410 Gone"):
        fetch(server.on("/x.jpg", by_range(answers.status(400), answers.status(410))), tmp_path / "got")


def test_a_redirect_is_followed_for_the_second_request_too(server: SourceServer, tmp_path: Path) -> None:
    server.on("/x.jpg", answers.redirect("/stored"))
    server.on("/stored", by_range(answers.status(501)))
    assert fetch(server.url("/x.jpg"), tmp_path / "got").sha256 == SHA256
    assert (ranges(server), ranges(server, "/stored")) == (["bytes=0-", None], ["bytes=0-", None])


LATER = {name: refusal for name, refusal in REFUSALS.items() if name not in ("416", "503 for a while")} | {"200": WHOLE}


@pytest.mark.parametrize("refusal", LATER.values(), ids=LATER)
def test_parts_that_are_refused_later_come_by_a_plain_response(
    server: SourceServer, tmp_path: Path, refusal: Behaviour
) -> None:
    # Given a server that breaks off after a megabyte, and then refuses ranges
    server.on("/x.jpg", by_range(answers.sequence(answers.breaking(JPEG, MEGABYTE), refusal)))
    # When the file is fetched, then the rest comes by a response that begins at the start
    steps: list[int] = []
    job = Fetch(
        server.url("/x.jpg"),
        tmp_path / "got",
        settings=IngestSettings(source_connections=1),
        guard=LOCAL,
        progress=lambda done, total: steps.append(done),
    )
    assert job.run().sha256 == SHA256
    assert (tmp_path / "got").read_bytes() == JPEG
    # And the progress never went back
    assert steps == sorted(steps)


def test_a_plain_response_may_say_more_of_its_version(server: SourceServer, tmp_path: Path) -> None:
    # Given a server whose parts have an ETag, and whose whole file has a date too
    dated = {"ETag": '"v1"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    refusing = by_range(
        answers.sequence(answers.breaking(JPEG, MEGABYTE), answers.status(403)), answers.whole(JPEG, dated)
    )
    assert fetch(server.on("/x.jpg", refusing), tmp_path / "got").sha256 == SHA256


def test_a_link_that_expires_for_all_connections_leaves_what_has_arrived(
    server: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given four connections, each of which breaks off, and a link that is good for four answers
    monkeypatch.setattr(transfer, "WORTH_JOINING", 0.0)
    first = answers.breaking(JPEG, MEGABYTE)
    server.on("/x.jpg", answers.sequence(first, first, first, first, answers.status(403)))
    with pytest.raises(StageError) as failure:
        fetch(server.url("/x.jpg"), tmp_path / "got", source_connections=4)
    # Then that is told, and what has arrived can be gone on from
    assert failure.value.code == "source_expired"
    record = ResumeRecord.read(tmp_path / "got.json")
    assert record is not None
    for at, end in record.there:
        assert (tmp_path / "got").read_bytes()[at:end] == JPEG[at:end]
    assert sum(end - at for at, end in record.there) >= MEGABYTE


OTHER = hashlib.shake_128(b"other").digest(len(JPEG))
WRONG: dict[str, tuple[Behaviour, str]] = {
    "another version": (answers.whole(OTHER, {"ETag": '"v2"'}), "source_incomplete"),
    "no version": (answers.whole(OTHER), "source_incomplete"),
    "another length": (answers.whole(JPEG[:-1], {"ETag": '"v1"'}), "source_incomplete"),
    "gzip": (answers.whole(gzip.compress(JPEG), {"ETag": '"v1"', "Content-Encoding": "gzip"}), "source_incomplete"),
    "a refusal": (answers.status(404), "source_expired"),
    "a refusal for now": (answers.status(500), "source_unavailable"),
    "a challenge": (answers.status(403, {"cf-mitigated": "challenge"}), "source_forbidden"),
    "less each time": (answers.breaking(JPEG, MEGABYTE // 2), "source_incomplete"),
}


@pytest.mark.parametrize(("plain", "code"), WRONG.values(), ids=WRONG)
def test_a_wrong_plain_response_is_never_mixed_in(
    server: SourceServer, tmp_path: Path, plain: Behaviour, code: str
) -> None:
    # Given a server that refuses further ranges, and whose plain response does not fit
    server.on("/x.jpg", by_range(answers.sequence(answers.breaking(JPEG, MEGABYTE), answers.status(403)), plain))
    # When the file is fetched, then it fails in a bounded number of requests
    with pytest.raises(StageError) as failure:
        fetch(server.url("/x.jpg"), tmp_path / "got")
    assert failure.value.code == code
    assert (tmp_path / "got").read_bytes() == JPEG[:MEGABYTE]
    assert server.requests["/x.jpg"] <= 1 + 2 * (1 + transfer.RECONNECTS)


def test_other_connections_go_on_where_one_is_refused_its_range(
    server: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server that gives two slow answers by range and refuses others, then breaks off the first
    monkeypatch.setattr(transfer, "WORTH_JOINING", 0.0)
    slow = answers.limited(JPEG, 2 * MEGABYTE)
    server.on("/x.jpg", by_range(answers.sequence(slow, slow, answers.status(403))))
    assert fetch(server.url("/x.jpg"), tmp_path / "got", source_connections=4).sha256 == SHA256
    assert (tmp_path / "got").read_bytes() == JPEG


CODED: dict[str, tuple[str, bytes]] = {
    "gzip": ("gzip", gzip.compress(JPEG)),
    "deflate": ("deflate", zlib.compress(JPEG)),
    "br": ("br", brotli.compress(JPEG, quality=1)),
    "zstd": ("zstd", zstd.compress(JPEG)),
    "aws-chunked": ("aws-chunked", JPEG),
    "UTF-8": ("UTF-8", JPEG),
    "none": ("none", JPEG),
    "binary": ("binary", JPEG),
    "gzip that is none": ("gzip", JPEG),
    "br that is none": ("br", JPEG),
}


@pytest.mark.parametrize(("coding", "body"), CODED.values(), ids=CODED)
@pytest.mark.parametrize("serving", ["whole", "chunked", "by ranges"])
def test_content_codings_are_undone_and_remarks_ignored(
    server: SourceServer, tmp_path: Path, coding: str, body: bytes, serving: str
) -> None:
    # Given a server that names a content coding, with a checksum of what it sends
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    headers = {"Content-Encoding": coding, "x-goog-hash": f"md5={base64.b64encode(digest).decode()}", "ETag": '"c"'}

    def chunked(exchange: Exchange) -> None:
        exchange.head(200, headers | {"Transfer-Encoding": "chunked"})
        for first in range(0, len(body), 100_000):
            piece = body[first : first + 100_000]
            exchange.body(b"%x\r\n%b\r\n" % (len(piece), piece))
        exchange.body(b"0\r\n\r\n")

    makes = {
        "whole": answers.whole(body, headers),
        "chunked": chunked,
        "by ranges": answers.ranges(body, '"c"', headers),
    }
    # When the file is fetched, then it is what was packed
    assert fetch(server.on("/x.jpg", makes[serving]), tmp_path / "got").sha256 == SHA256
    # And a range of coded bytes is never used
    is_coded = coding in ("gzip", "deflate", "br", "zstd")
    assert ranges(server) == ["bytes=0-", None] if is_coded and serving == "by ranges" else ["bytes=0-"]


def test_a_coded_body_that_breaks_is_not_gone_on_from(server: SourceServer, tmp_path: Path) -> None:
    packed = gzip.compress(JPEG)
    headers = {"Content-Encoding": "gzip", "ETag": '"v1"', "Content-Length": str(len(packed))}

    def cut(exchange: Exchange) -> None:
        exchange.head(200, headers)
        exchange.body(packed[: 2 * MEGABYTE])
        exchange.hang_up()

    with pytest.raises(StageError) as failure:
        fetch(server.on("/x.jpg", cut), tmp_path / "got")
    assert (failure.value.code, failure.value.retryable) == ("source_incomplete", True)
    assert [path.name for path in tmp_path.iterdir()] == ["got"]
    assert ranges(server) == ["bytes=0-"]


def test_a_decoded_file_has_the_limits_of_any_other(server: SourceServer, tmp_path: Path) -> None:
    body = b"II*\0" + bytes(10 * MEGABYTE)
    url = server.on("/x.tif", answers.whole(gzip.compress(body), {"Content-Encoding": "gzip"}))
    with pytest.raises(StageError) as failure:
        fetch(url, tmp_path / "got", max_source_bytes=MEGABYTE)
    assert failure.value.code == "source_too_large"
    assert (tmp_path / "got").stat().st_size <= MEGABYTE


def cookie(exchange: Exchange) -> str:
    return exchange.headers.get("Cookie", "")


def test_a_chain_of_redirects_has_cookies_of_its_own(server: SourceServer, tmp_path: Path) -> None:
    # Given a server that sets cookies and redirects, also to the same URL, and wants them back for each part
    parts = answers.breaking(JPEG, 2 * MEGABYTE)

    def stored(exchange: Exchange) -> None:
        (parts if cookie(exchange) == "FedAuth=1; rtFa=2" else answers.status(403))(exchange)

    def wall(exchange: Exchange) -> None:
        if cookie(exchange):
            parts(exchange)
        else:
            exchange.head(302, {"Set-Cookie": "seen=1", "Location": exchange.path, "Content-Length": "0"})

    server.on("/x.jpg", answers.status(302, {"Set-Cookie": "FedAuth=1; path=/; HttpOnly", "Location": "/second"}))
    server.on("/second", answers.status(302, {"Set-Cookie": "rtFa=2; path=/", "Location": "/stored"}))
    server.on("/stored", stored)
    # When a file is fetched by parts, then each part has a chain, which begins without cookies
    assert fetch(server.url("/x.jpg"), tmp_path / "got").sha256 == SHA256
    assert [headers["Cookie"] for headers in server.headers["/x.jpg"]] == [None] * 3
    assert [headers["Cookie"] for headers in server.headers["/stored"]] == ["FedAuth=1; rtFa=2"] * 3
    # And a URL that redirects to itself is followed once
    assert fetch(server.on("/wall.jpg", wall), tmp_path / "got").sha256 == SHA256
    assert [headers["Cookie"] for headers in server.headers["/wall.jpg"]] == [None, "seen=1"] * 3


def test_cookies_go_to_no_other_host_and_do_not_grow(server: SourceServer, tmp_path: Path) -> None:
    # Given a chain over two hosts, both of which set cookies, and back
    with serve() as other:
        other.on("/there", answers.status(302, {"Set-Cookie": "b=2; path=/", "Location": server.url("/back.jpg")}))
        server.on("/x.jpg", answers.status(302, {"Set-Cookie": "a=1; path=/", "Location": other.url("/there")}))
        server.on("/back.jpg", answers.ranges(JPEG))
        # When it is followed, then each host gets its own
        assert fetch(server.url("/x.jpg"), tmp_path / "got").sha256 == SHA256
        assert [headers["Cookie"] for headers in other.headers["/there"]] == [None]
        assert [headers["Cookie"] for headers in server.headers["/back.jpg"]] == ["a=1"]

    # And a server that sets more with each redirect gets a bounded header back
    def more(exchange: Exchange) -> None:
        count = cookie(exchange).count("=")
        given = {"Set-Cookie": f"c{count}={'x' * 3000}", "Location": exchange.path, "Content-Length": "0"}
        exchange.head(302, given)

    with pytest.raises(StageError, match="redirects more than"):
        fetch(server.on("/more.jpg", more), tmp_path / "got", source_max_redirects=30)
    assert max(len(headers.get("Cookie", "")) for headers in server.headers["/more.jpg"]) <= 8192


@pytest.mark.parametrize("way", ["redirect", "manifest", "tiles", "own"])
@pytest.mark.parametrize("refusal", ["503", "429", "text"])
def test_a_refusal_is_reported_with_the_host_that_refused(
    server: SourceServer, tmp_path: Path, way: str, refusal: str
) -> None:
    # Given a URL at one host that leads to another one, or stays there, and a refusal at its end
    refused = {
        "503": answers.status(503, {"Retry-After": "80000"}),
        "429": answers.status(429, {"Retry-After": "80000"}),
        "text": answers.whole(b"Download limit exceeded.\n"),
    }[refusal]
    with serve(host="127.0.0.2") as other:
        other.on("/busy", refused)
        at_other = other.url("/busy", "127.0.0.2")
        made = IiifService(other, "1", (512, 256), 256, lambda *_: JPEG[:99], cap={"maxWidth": 300}, host="127.0.0.2")
        service = {"id": made.base, "type": "ImageService3"}
        for path in made.tiles:
            other.on(path, refused)
        url = server.on(
            "/x.jpg",
            {
                "redirect": answers.redirect(at_other),
                "manifest": answers.whole(dumped(presentation_3({"type": "Image", "id": at_other}))),
                "tiles": answers.whole(dumped(presentation_3({"type": "Image", "id": made.url, "service": [service]}))),
                "own": refused,
            }[way],
        )
        asked: list[str] = []
        settings = IngestSettings(source_connections=1)
        fetching = Fetch(
            url, tmp_path / "got", settings=settings, guard=LOCAL, progress=lambda *_: None, asking=asked.append
        )
        with pytest.raises(StageError) as failure:
            fetching.run()
    # Then the error names that host, in the form in which URLs name it, and it was reported before it was asked
    host = "127.0.0.1" if way == "own" else "127.0.0.2"
    assert (asked[0], asked[-1]) == ("127.0.0.1", host)
    assert failure.value.refused_by == host == check_url(f"http://{host}/").host
    assert host in failure.value.message
    assert failure.value.message.startswith("The tile at 0, 0") == (way == "tiles")
