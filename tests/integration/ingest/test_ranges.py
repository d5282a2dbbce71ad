"""Downloads by parts: several connections at once, some that break, servers that say one thing and do another."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.download import parallelism as sharing
from ingest.download import transfer
from ingest.download.fetch import Fetch, Fetched
from ingest.http.guard import Guard
from ingest.settings import IngestSettings
from pipeline.errors import StageError
from pipeline.sources import Allowed
from tests.support.network import answers
from tests.support.network.answers import asked
from tests.support.network.sources import Behaviour, Exchange, SourceServer

MEGABYTE = 1024**2
JPEG = b"\xff\xd8\xff\xe0" + hashlib.shake_128(b"picture").digest(12 * MEGABYTE)
SHA256 = hashlib.sha256(JPEG).hexdigest()
LOCAL = Guard(Allowed(["127.0.0.0/8"]))
SLOW = 4 * MEGABYTE
"""Bytes a second of one connection: the file takes three seconds by one, and others join."""


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.01)


def fetch(url: str, path: Path, guard: Guard = LOCAL, **settings: object) -> Fetched:
    """Fetches by one connection, unless the settings say another number."""
    made = IngestSettings.model_validate({"source_connections": 1} | settings)
    return Fetch(url, path, settings=made, guard=guard, progress=lambda done, total: None).run()


def spans(server: SourceServer, path: str) -> list[tuple[int, int | None]]:
    """What each request asked for."""
    return [span for headers in server.headers[path] if (span := asked(headers)) is not None]


def test_a_slow_connection_gets_help_from_others(server: SourceServer, tmp_path: Path) -> None:
    # Given a server that limits each connection, and counts those at work
    at_work: set[int] = set()
    most = 0
    lock = threading.Lock()
    slowly = answers.limited(JPEG, SLOW)

    def counted(exchange: Exchange) -> None:
        nonlocal most
        with lock:
            at_work.add(threading.get_ident())
            most = max(most, len(at_work))
        try:
            slowly(exchange)
        finally:
            with lock:
                at_work.discard(threading.get_ident())

    # When a file is fetched, with progress
    steps: list[tuple[int, int | None]] = []
    job = Fetch(
        server.on("/x.jpg", counted),
        tmp_path / "got",
        settings=IngestSettings(),
        guard=LOCAL,
        progress=lambda done, total: steps.append((done, total)),
    )
    fetched = job.run()
    # Then four connections shared it (the server may not have noticed yet that the first was left), and it is whole
    assert 4 <= most <= 5
    assert (fetched.sha256, fetched.bytes, fetched.version.etag) == (SHA256, len(JPEG), '"v1"')
    assert (tmp_path / "got").read_bytes() == JPEG
    # And the first request was for all of it, the others for parts of the same version
    first, *others = server.headers["/x.jpg"]
    assert (first["Range"], first["If-Range"]) == ("bytes=0-", None)
    assert {headers["If-Range"] for headers in others} == {'"v1"'}
    # And the progress never went back
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == ((0, len(JPEG)), (len(JPEG), len(JPEG)))


def test_a_setting_says_how_many_connections_there_may_be(server: SourceServer, tmp_path: Path) -> None:
    url = server.on("/x.jpg", answers.limited(JPEG, 3 * SLOW))
    assert fetch(url, tmp_path / "got").sha256 == SHA256
    assert spans(server, "/x.jpg") == [(0, None)]


def test_a_fast_connection_is_left_alone(server: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a connection that is as fast as can be used
    monkeypatch.setattr(transfer, "FAST_ENOUGH", SLOW / 2)
    url = server.on("/x.jpg", answers.limited(JPEG, 2 * SLOW))
    # When a file is fetched, then no other joins
    assert fetch(url, tmp_path / "got", source_connections=4).sha256 == SHA256
    assert spans(server, "/x.jpg") == [(0, None)]


@pytest.mark.parametrize(
    "behaviour",
    [answers.whole(JPEG, {"ETag": '"v1"', "Accept-Ranges": "bytes"}), answers.chunked(JPEG)],
    ids=["with a length", "chunked"],
)
def test_a_server_that_ignores_ranges_is_asked_once(
    server: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour
) -> None:
    # Given a server that sends all of the file, whatever it is asked for, and a download that others would join
    monkeypatch.setattr(sharing, "JOIN_AFTER", 0.0)
    monkeypatch.setattr(transfer, "WORTH_JOINING", 0.0)
    # When it is fetched, then its first answer is the file
    assert fetch(server.on("/x.jpg", behaviour), tmp_path / "got", source_connections=4).sha256 == SHA256
    assert server.requests["/x.jpg"] == 1


def test_a_file_of_no_version_comes_by_one_connection(
    server: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "JOIN_AFTER", 0.0)
    monkeypatch.setattr(transfer, "WORTH_JOINING", 0.0)
    url = server.on("/x.jpg", answers.ranges(JPEG, etag=""))
    assert fetch(url, tmp_path / "got", source_connections=4).sha256 == SHA256
    assert server.requests["/x.jpg"] == 1


@pytest.mark.parametrize(
    "headers",
    [{"ETag": '"v1"'}, {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}],
    ids=["by ETag", "by Last-Modified"],
)
def test_a_connection_that_breaks_goes_on_where_it_stopped(
    server: SourceServer, tmp_path: Path, headers: dict[str, str]
) -> None:
    # Given a server that hangs up after each five megabytes
    etag = headers.get("ETag", "")
    behaviour = answers.breaking(JPEG, 5 * MEGABYTE, etag, headers)

    def dated(exchange: Exchange) -> None:
        # This server's If-Range by date, which is equality (RFC 9110 §13.1.5)
        if not etag and exchange.headers.get("If-Range") == headers["Last-Modified"]:
            del exchange.headers["If-Range"]
        behaviour(exchange)

    # When the file is fetched, then it is whole
    assert fetch(server.on("/x.jpg", dated), tmp_path / "got").sha256 == SHA256
    # And no byte was asked for twice
    assert [first for first, _ in spans(server, "/x.jpg")] == [0, 5 * MEGABYTE, 10 * MEGABYTE]


def test_a_connection_that_breaks_over_and_over_is_given_up(server: SourceServer, tmp_path: Path) -> None:
    # Given a server that after a while sends headers only
    url = server.on("/x.jpg", answers.sequence(answers.breaking(JPEG, MEGABYTE), answers.breaking(JPEG, 0)))
    # When the file is fetched
    with pytest.raises(StageError) as failure:
        fetch(url, tmp_path / "got")
    # Then it was asked a few times more, and what came is kept for a later run
    assert (failure.value.code, failure.value.retryable) == ("source_incomplete", True)
    assert server.requests["/x.jpg"] == 2 + transfer.RECONNECTS
    assert (tmp_path / "got.json").exists()


def without_ranges(exchange: Exchange) -> None:
    del exchange.headers["Range"]
    answers.ranges(JPEG)(exchange)


def part(where: str, data: bytes = b"ab", **headers: str) -> Behaviour:
    """A 206 with two bytes, of whatever place and whatever else."""
    given = {"ETag": '"v1"', "Content-Range": f"bytes {where}"} | {
        name.replace("_", "-"): headers[name] for name in headers
    }
    return answers.status(206, {name: value for name, value in given.items() if value}, data)


TOTAL = len(JPEG)
M = MEGABYTE
LATER_ANSWERS: list[tuple[str, Behaviour, str]] = [
    ("another version", answers.ranges(JPEG, '"v2"'), "source_incomplete"),
    ("a part of another version", part(f"{M}-{M + 1}/{TOTAL}", ETag='"v2"'), "source_incomplete"),
    ("a part of no version", part(f"{M}-{M + 1}/{TOTAL}", ETag=""), "source_incomplete"),
    ("a part of another length", part(f"{M}-{M + 1}/{TOTAL + 1}"), "source_incomplete"),
    ("an unsatisfiable range", answers.status(416), "source_incomplete"),
    ("a failed precondition", answers.status(412), "source_incomplete"),
    ("another part", part(f"0-1/{TOTAL}"), "source_protocol_error"),
    ("a part further on", part(f"{M + 1}-{M + 2}/{TOTAL}"), "source_protocol_error"),
    ("a part without its place", answers.status(206, {"ETag": '"v1"'}, b"ab"), "source_protocol_error"),
    ("a part beyond the end", part(f"{M}-{TOTAL}/{TOTAL}"), "source_protocol_error"),
    ("a backward part", part(f"{M}-5/{TOTAL}"), "source_protocol_error"),
    ("several parts", part("", Content_Type="multipart/byteranges; boundary=x"), "source_protocol_error"),
    ("two lengths", part(f"{M}-{M + 3}/{TOTAL}"), "source_protocol_error"),
    ("a compressed part", part(f"{M}-{M + 1}/{TOTAL}", Content_Encoding="gzip"), "source_protocol_error"),
    ("not found", answers.status(404), "source_expired"),
    ("a challenge", answers.status(403, {"cf-mitigated": "challenge"}), "source_forbidden"),
    ("busy for long", answers.status(503, {"Retry-After": "120"}), "source_unavailable"),
]


@pytest.mark.parametrize(
    ("later", "code"), [case[1:] for case in LATER_ANSWERS], ids=[case[0] for case in LATER_ANSWERS]
)
def test_a_wrong_answer_to_a_later_request_is_never_mixed_in(
    server: SourceServer, tmp_path: Path, later: Behaviour, code: str
) -> None:
    # Given a connection that breaks after a megabyte, and then a wrong answer
    url = server.on("/x.jpg", answers.sequence(answers.breaking(JPEG, MEGABYTE), later))
    # When the file is fetched, then it fails with a code of its own
    with pytest.raises(StageError) as failure:
        fetch(url, tmp_path / "got")
    assert failure.value.code == code
    assert failure.value.message.endswith(".")
    # And nothing but the file's own first bytes was written
    assert (tmp_path / "got").read_bytes() == JPEG[: (tmp_path / "got").stat().st_size]
    # And where only the range may have been refused, the file was requested once more without one
    plain = [headers for headers in server.headers["/x.jpg"] if headers["Range"] is None]
    assert len(plain) == (code in ("source_protocol_error", "source_expired"))
    assert server.requests["/x.jpg"] == 2 + len(plain)


def plainly(first: Behaviour) -> Behaviour:
    return answers.sequence(first, answers.whole(JPEG))


SEVERAL = answers.status(206, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x--")
FIRST_ANSWERS: list[tuple[str, Behaviour, str | None]] = [
    ("another part", answers.partial_unasked(b"\xff\xd8", f"bytes 1-2/{TOTAL}"), "source_protocol_error"),
    ("no place", answers.status(206, data=JPEG), "source_protocol_error"),
    ("a malformed place", answers.partial_unasked(b"\xff\xd8", "bytes zero-one/two"), "source_protocol_error"),
    ("several parts", SEVERAL, "source_protocol_error"),
    ("too large", answers.partial_unasked(b"\xff\xd8", f"bytes 0-1/{10**17}"), "source_too_large"),
    ("a short part of no version", plainly(answers.partial_unasked(JPEG[:10], f"bytes 0-9/{TOTAL}")), None),
    ("a part of who knows what", plainly(answers.partial_unasked(JPEG[:10], "bytes 0-9/*")), None),
    ("unsatisfiable", plainly(answers.status(416)), None),
    ("a failed precondition", plainly(answers.status(412)), None),
]


@pytest.mark.parametrize(
    ("first", "code"), [case[1:] for case in FIRST_ANSWERS], ids=[case[0] for case in FIRST_ANSWERS]
)
def test_a_strange_first_answer_is_refused_or_asked_for_plainly(
    server: SourceServer, tmp_path: Path, first: Behaviour, code: str | None
) -> None:
    url = server.on("/x.jpg", first)
    if code is None:
        assert fetch(url, tmp_path / "got").sha256 == SHA256
        assert [headers["Range"] for headers in server.headers["/x.jpg"]] == ["bytes=0-", None]
        return
    with pytest.raises(StageError) as failure:
        fetch(url, tmp_path / "got")
    assert failure.value.code == code


def test_a_server_may_give_less_than_it_was_asked_for(server: SourceServer, tmp_path: Path) -> None:
    # Given a server that gives five megabytes at most in one answer
    def by_pieces(exchange: Exchange) -> None:
        first, last = asked(exchange.headers) or (0, None)
        last = min(first + 5 * MEGABYTE - 1, TOTAL - 1 if last is None else last)
        exchange.headers.replace_header("Range", f"bytes={first}-{last}")
        answers.ranges(JPEG)(exchange)

    # When the file is fetched, then it is whole
    assert fetch(server.on("/x.jpg", by_pieces), tmp_path / "got").sha256 == SHA256
    assert [first for first, _ in spans(server, "/x.jpg")] == [0, 5 * MEGABYTE, 10 * MEGABYTE]


REFUSALS: list[tuple[str, Callable[[Exchange], None]]] = [
    ("busy", answers.status(503, {"Retry-After": "60"})),
    ("forbidden", answers.status(403)),
    ("all of it", without_ranges),
    ("nothing", lambda exchange: exchange.hang_up()),
]


@pytest.mark.parametrize("refusal", [case[1] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_a_server_that_wants_one_connection_only_gets_one(
    server: SourceServer, tmp_path: Path, refusal: Behaviour
) -> None:
    # Given a server that refuses any connection beside the first
    only = threading.Lock()
    slowly = answers.limited(JPEG, 2 * SLOW)

    def jealous(exchange: Exchange) -> None:
        if not only.acquire(blocking=False):
            refusal(exchange)
            return
        try:
            slowly(exchange)
        finally:
            only.release()

    # When a file is fetched, then the first connection brings it, and the others are not tried over and over
    assert fetch(server.on("/x.jpg", jealous), tmp_path / "got", source_connections=4).sha256 == SHA256
    # And the first one never had to be made again
    assert server.requests["/x.jpg"] == 2


def test_later_requests_go_where_the_redirect_led_until_that_expires(server: SourceServer, tmp_path: Path) -> None:
    # Given a redirect to a signed address that is good for one answer, which breaks
    server.on("/x.jpg", answers.sequence(answers.redirect("/signed-1"), answers.redirect("/signed-2")))
    server.on("/signed-1", answers.sequence(answers.breaking(JPEG, MEGABYTE), answers.status(403)))
    server.on("/signed-2", answers.ranges(JPEG))
    # When the file is fetched, then it goes on by a new one
    assert fetch(server.url("/x.jpg"), tmp_path / "got").sha256 == SHA256
    assert dict(server.requests) == {"/x.jpg": 2, "/signed-1": 2, "/signed-2": 1}


@pytest.mark.parametrize("chunk", [1000, 100_000])
def test_a_part_may_be_chunked(server: SourceServer, tmp_path: Path, chunk: int) -> None:
    # Given a server that sends its parts by chunks
    def by_chunks(exchange: Exchange) -> None:
        where = {"Transfer-Encoding": "chunked", "ETag": '"v1"', "Content-Range": f"bytes 0-{TOTAL - 1}/{TOTAL}"}
        exchange.head(206, where)
        for first in range(0, TOTAL, chunk):
            piece = JPEG[first : first + chunk]
            exchange.body(b"%x\r\n%b\r\n" % (len(piece), piece))
        exchange.body(b"0\r\n\r\n")

    assert fetch(server.on("/x.jpg", by_chunks), tmp_path / "got").sha256 == SHA256
