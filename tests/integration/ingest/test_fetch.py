"""How a fetch ends, for each thing a real server does."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.download import partial_file
from ingest.download.fetch import Fetch, Fetched
from ingest.download.partial_file import ROOM_INTERVAL
from ingest.http.guard import Guard
from ingest.settings import IngestSettings
from pipeline.errors import StageError, Stopped
from pipeline.sources import Allowed
from tests.support.network import answers
from tests.support.network.sources import Behaviour, Exchange, SourceServer, serve

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(22_000))
SVG = b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"></svg>'
LOCAL = Guard(Allowed(["127.0.0.0/8"]))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SourceServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "x.jpg").write_bytes(JPEG)
    with serve(folder) as running:
        yield running


def fetch(url: str, path: Path, guard: Guard = LOCAL, **settings: object) -> Fetched:
    made = IngestSettings.model_validate({"source_read_timeout": 20.0} | settings)
    return Fetch(url, path, settings=made, guard=guard, progress=lambda done, total: None).run()


def test_a_file_arrives_whole_with_its_hash_and_its_progress(server: SourceServer, tmp_path: Path) -> None:
    # Given a file on a server
    steps: list[tuple[int, int | None]] = []
    settings = IngestSettings(source_contact="https://example.org/bot")
    # When it is fetched
    job = Fetch(
        server.url("/x.jpg"),
        tmp_path / "got",
        settings=settings,
        guard=LOCAL,
        progress=lambda done, total: steps.append((done, total)),
    )
    fetched = job.run()
    # Then all of it is there
    assert (tmp_path / "got").read_bytes() == JPEG
    assert (fetched.sha256, fetched.bytes) == (hashlib.sha256(JPEG).hexdigest(), len(JPEG))
    # And the progress went from nothing to all of it
    assert steps[0] == (0, len(JPEG))
    assert steps[-1] == (len(JPEG), len(JPEG))
    assert steps == sorted(steps)
    # And the server was asked once, plainly, by someone who can be asked back
    (headers,) = server.headers["/x.jpg"]
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("Tilewright/")
    assert headers["User-Agent"].endswith(" (+https://example.org/bot)")


ONE_CHUNK = b"3\r\n\xff\xd8\xff\r\n0\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    ("behaviour", "body"),
    [
        (answers.chunked(JPEG), JPEG),
        (answers.chunked(JPEG[:3000], chunk=1), JPEG[:3000]),
        (
            answers.raw(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b%x\r\n%b\r\n%b\r\n\r\n"
                % (b"0" * 30, len(JPEG), JPEG, b"0" * 30)
            ),
            JPEG,
        ),
        (answers.unknown_length(JPEG), JPEG),
        (answers.whole(JPEG, {"Content-Type": "text/html"}), JPEG),
        (answers.whole(JPEG, {"Content-Encoding": "identity"}), JPEG),
        (answers.whole(SVG), SVG),
        (answers.whole(b"P3\n1 1\n255\n0 0 0\n"), b"P3\n1 1\n255\n0 0 0\n"),
        (answers.status(203, data=JPEG), JPEG),
        (answers.raw(b"HTTP/1.0 200 OK\r\n\r\n" + JPEG), JPEG),
        (answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n\xff\xd8\xff"), b"\xff\xd8\xff"),
        (answers.raw(b"HTTP/1.1 200 OK\nTransfer-Encoding: CHUNKED \t\n\n" + ONE_CHUNK), b"\xff\xd8\xff"),
        (answers.raw(HINTS * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xd8\xff"), b"\xff\xd8\xff"),
    ],
    ids=[
        "chunked",
        "bytewise",
        "zeros-before-a-size",
        "unknown-length",
        "wrong-type",
        "identity",
        "svg",
        "ppm",
        "203",
        "http-1.0",
        "same-length-twice",
        "blanks-behind-a-header",
        "interim-answers",
    ],
)
def test_a_right_answer_is_taken(server: SourceServer, tmp_path: Path, behaviour: Behaviour, body: bytes) -> None:
    assert fetch(server.on("/a", behaviour), tmp_path / "got").sha256 == hashlib.sha256(body).hexdigest()
    assert (tmp_path / "got").read_bytes() == body


WRONG_ANSWERS: list[tuple[str, Behaviour, str, bool]] = [
    ("202", answers.status(202, {"Retry-After": "60"}), "source_pending", True),
    ("202 with a challenge", answers.status(202, {"x-amzn-waf-action": "challenge"}), "source_forbidden", False),
    ("403 with a challenge", answers.status(403, {"cf-mitigated": "challenge"}), "source_forbidden", False),
    ("204", answers.status(204), "source_protocol_error", True),
    ("300", answers.status(300), "source_protocol_error", True),
    ("302 without Location", answers.status(302), "source_protocol_error", True),
    ("304", answers.status(304), "source_protocol_error", True),
    ("400", answers.status(400), "source_refused", False),
    ("401", answers.status(401), "source_forbidden", False),
    ("403", answers.status(403), "source_forbidden", False),
    ("404", answers.status(404), "source_not_found", False),
    ("408", answers.status(408), "source_unavailable", True),
    ("410", answers.status(410), "source_not_found", False),
    ("418", answers.status(418), "source_refused", False),
    ("425", answers.status(425), "source_unavailable", True),
    ("429", answers.status(429), "source_unavailable", True),
    ("451", answers.status(451), "source_refused", False),
    ("500", answers.status(500), "source_unavailable", True),
    ("503", answers.status(503), "source_unavailable", True),
    ("599", answers.status(599), "source_unavailable", True),
    ("a page", answers.page(), "not_an_image", False),
    ("a page as jpeg", answers.whole(b"\n <HTML lang=en>", {"Content-Type": "image/jpeg"}), "not_an_image", False),
    ("json", answers.whole(b'{"error": "expired"}'), "not_an_image", False),
    ("an empty file", answers.whole(b""), "not_an_image", False),
    ("an empty body without length", answers.unknown_length(b""), "not_an_image", False),
    ("cut", answers.cut(JPEG, 300_000), "source_incomplete", True),
    ("cut before the body", answers.cut(JPEG, 0), "source_incomplete", True),
    ("cut chunks", answers.chunked(JPEG, complete=False), "source_incomplete", True),
    ("length too long", answers.lying_length(JPEG, str(len(JPEG) + 1)), "source_incomplete", True),
    ("length with a NUL", answers.lying_length(JPEG, f"{len(JPEG)}\0"), "source_protocol_error", True),
    (
        "a coding that is chunked but for a control",
        answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\x01\r\n\r\n3\r\n\xff\xd8\xff\r\n0\r\n\r\n"),
        "source_protocol_error",
        True,
    ),
    ("negative length", answers.lying_length(JPEG, "-1"), "source_protocol_error", True),
    ("length with a sign", answers.lying_length(JPEG, f"+{len(JPEG)}"), "source_protocol_error", True),
    ("length with an underscore", answers.lying_length(JPEG, "700_012"), "source_protocol_error", True),
    ("hexadecimal length", answers.lying_length(JPEG, "0xff"), "source_protocol_error", True),
    ("two lengths", answers.lying_length(JPEG, "3, 4"), "source_protocol_error", True),
    ("huge length", answers.lying_length(JPEG, "9" * 5000), "source_protocol_error", True),
    ("damaged gzip", answers.whole(b"\x1f\x8b" + JPEG, {"Content-Encoding": "gzip"}), "source_protocol_error", True),
    ("cut gzip", answers.whole(gzip.compress(JPEG)[:-9], {"Content-Encoding": "gzip"}), "source_incomplete", True),
    ("a coding of old", answers.status(200, {"Content-Encoding": "compress"}, JPEG), "source_protocol_error", True),
    ("thrice packed", answers.gzipped(JPEG, "br, gzip, gzip"), "source_protocol_error", True),
    ("a part unasked", answers.partial_unasked(JPEG[:10], f"bytes 0-9/{len(JPEG)}"), "source_protocol_error", True),
    (
        "length and chunks",
        answers.status(200, {"Transfer-Encoding": "chunked"}, b"3\r\n\xff\xd8\xff\r\n0\r\n\r\n"),
        "source_protocol_error",
        True,
    ),
    (
        "an unknown transfer coding",
        answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        "source_protocol_error",
        True,
    ),
    (
        "a chunk's length that is none",
        answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        "source_protocol_error",
        True,
    ),
    (
        "a chunk that is longer than its size",
        answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\xff\xd8\xffXX0\r\n\r\n"),
        "source_protocol_error",
        True,
    ),
    (
        "chunks with bytes between them",
        answers.raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\xff\xd8\xffXX3\r\n\xff\xd8\xff\r\n0\r\n\r\n"
        ),
        "source_protocol_error",
        True,
    ),
    (
        "a chunk's first line that is too long",
        answers.raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;" + b"a" * 5000 + b"\r\n\xff\xd8\xff\r\n0\r\n\r\n"
        ),
        "source_protocol_error",
        True,
    ),
    (
        "a negative chunk",
        answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n\xff\xd8\xff\r\n0\r\n\r\n"),
        "source_protocol_error",
        True,
    ),
    (
        "a length behind a line that is no header",
        answers.raw(b"HTTP/1.1 200 OK\r\nA: b\r\nno header\r\nContent-Length: 9\r\n\r\n\xff\xd8\xff"),
        "source_protocol_error",
        True,
    ),
    (
        "a length with a space before its colon",
        answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length : 9\r\n\r\n\xff\xd8\xff"),
        "source_protocol_error",
        True,
    ),
    (
        "chunks by a name that is not quite theirs",
        answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n" + ONE_CHUNK),
        "source_protocol_error",
        True,
    ),
    (
        "chunks in a list",
        answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: , chunked\r\n\r\n" + ONE_CHUNK),
        "source_protocol_error",
        True,
    ),
    ("headers that are cut", answers.raw(b"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Le"), "source_incomplete", True),
    ("headers without an end", answers.raw(b"HTTP/1.1 200 OK\r\nETag: x\r\n"), "source_incomplete", True),
    ("another protocol from here on", answers.raw(b"HTTP/1.1 101 OK\r\n\r\n"), "source_protocol_error", True),
    ("no answer", answers.raw(b""), "source_incomplete", True),
    ("no HTTP", answers.raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "source_protocol_error", True),
    (
        "too many headers",
        answers.raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"),
        "source_protocol_error",
        True,
    ),
    (
        "a header too long",
        answers.raw(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n"),
        "source_protocol_error",
        True,
    ),
    ("endless redirects", answers.endless_redirects(), "source_too_many_redirects", False),
    ("a redirect to a file", answers.redirect("file:///etc/passwd"), "source_invalid_url", False),
    ("a redirect to ftp", answers.redirect("ftp://example.org/"), "source_invalid_url", False),
    ("a redirect with a password", answers.redirect("http://a:b@example.org/"), "source_invalid_url", False),
    ("a malformed redirect", answers.redirect("http://[::1/"), "source_invalid_url", False),
    ("a redirect of no characters", answers.redirect("http://\xff\xfe/"), "source_invalid_url", False),
    ("a redirect to metadata", answers.redirect("http://169.254.169.254/"), "source_forbidden_address", False),
    ("a redirect to a spelling of it", answers.redirect("http://0xa9fea9fe/", 307), "source_forbidden_address", False),
    (
        "a redirect to the private net",
        answers.redirect("http://[::ffff:10.0.0.1]/", 301),
        "source_forbidden_address",
        False,
    ),
]


@pytest.mark.parametrize(
    ("behaviour", "code", "retryable"), [case[1:] for case in WRONG_ANSWERS], ids=[case[0] for case in WRONG_ANSWERS]
)
def test_a_wrong_answer_ends_with_its_code_and_a_sentence(
    server: SourceServer, tmp_path: Path, behaviour: Behaviour, code: str, retryable: bool
) -> None:
    with pytest.raises(StageError) as failure:
        fetch(server.on("/a", behaviour), tmp_path / "got")
    assert failure.value.code == code
    assert failure.value.retryable is retryable
    assert failure.value.message.endswith(".")
    if code != "source_invalid_url" and "169" not in failure.value.message:
        assert "127.0.0.1" in failure.value.message


def test_the_sentence_names_host_answer_and_remedy(server: SourceServer, tmp_path: Path) -> None:
    with pytest.raises(StageError) as failure:
        fetch(server.url("/nothing.jpg"), tmp_path / "got")
    assert failure.value.message == (
        "127.0.0.1 answered 404 Not Found: there is nothing at this address. Open the URL in a browser and check it."
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("9" * 5000, 604800.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
    ],
)
def test_retry_after_is_passed_on(server: SourceServer, tmp_path: Path, value: str, seconds: float | None) -> None:
    with pytest.raises(StageError) as failure:
        fetch(server.on("/busy", answers.status(503, {"Retry-After": value})), tmp_path / "got")
    assert failure.value.retry_after == seconds


def test_a_cookie_of_a_file_is_not_brought_back(server: SourceServer, tmp_path: Path) -> None:
    # Given a server that breaks every answer off, and sets one more cookie each time
    number = itertools.count()

    def breaking(exchange: Exchange) -> None:
        cookie = {"Set-Cookie": f"a{next(number)}={'x' * 2000}"}
        answers.breaking(JPEG, 100_000, headers=cookie)(exchange)

    url = server.on("/a", breaking)
    # When the file is fetched, then no request has a cookie, in particular not all of them
    assert fetch(url, tmp_path / "got").bytes == len(JPEG)
    assert server.requests["/a"] > 3
    assert not any("Cookie" in headers for headers in server.headers["/a"])


def test_a_redirect_is_not_shown_in_the_log(
    server: SourceServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a redirect to a signed URL, whose answer has a line among its headers that is none
    server.on("/b", answers.raw(b"HTTP/1.1 200 OK\r\nA: b\r\nno header\r\n\r\n\xff\xd8\xff"))
    url = server.on("/a", answers.redirect("/b?signature=secret"))
    # When it is fetched, then what signs it is neither in the sentence nor in the log
    with caplog.at_level(logging.INFO), pytest.raises(StageError) as failure:
        fetch(url, tmp_path / "got")
    assert "secret" not in failure.value.message + caplog.text


def test_redirects_are_followed_to_the_file(server: SourceServer, tmp_path: Path) -> None:
    # Given five redirects, relative and absolute, of all kinds
    server.on("/1", answers.redirect("/2", 301))
    server.on("/2", answers.redirect("3?a=b c", 302))
    server.on("/3", answers.redirect(server.url("/4", "localhost"), 303))
    server.on("/4", answers.redirect("/5", 307))
    server.on("/5", answers.redirect("/x.jpg", 308))
    # When the first is fetched, then the file is there
    assert fetch(server.url("/1"), tmp_path / "got", Guard(Allowed(["127.0.0.1", "localhost"]))).bytes == len(JPEG)
    # And one more is too many
    server.on("/0", answers.redirect("/1"))
    with pytest.raises(StageError, match="redirects more than 5 times"):
        fetch(server.url("/0"), tmp_path / "got", Guard(Allowed(["127.0.0.1", "localhost"])))


def test_the_body_of_a_redirect_is_not_read(server: SourceServer, tmp_path: Path) -> None:
    # Given a redirect whose body never ends
    server.on("/1", answers.redirecting_endlessly("/x.jpg"))
    # When it is fetched, then the file is there all the same
    assert fetch(server.url("/1"), tmp_path / "got").bytes == len(JPEG)


@pytest.mark.parametrize(
    "behaviour", [answers.endless(), answers.whole(JPEG), answers.chunked(JPEG)], ids=["endless", "declared", "chunked"]
)
def test_a_file_larger_than_accepted_is_refused(server: SourceServer, tmp_path: Path, behaviour: Behaviour) -> None:
    with pytest.raises(StageError) as failure:
        fetch(server.on("/a", behaviour), tmp_path / "got", max_source_bytes=600_000)
    assert failure.value.code == "source_too_large"
    assert not failure.value.retryable
    got = tmp_path / "got"
    assert not got.exists() or got.stat().st_size <= 600_000


def test_a_page_is_refused_before_all_of_it_has_arrived(server: SourceServer, tmp_path: Path) -> None:
    # Given a page of which only the beginning ever comes
    gate = threading.Event()
    server.on("/a", answers.gated(b"<!DOCTYPE html><html>" + bytes(10**6), first=21, gate=gate))
    # When it is fetched, then it is refused while the rest is still held back
    with pytest.raises(StageError, match="sent a web page"):
        fetch(server.url("/a"), tmp_path / "got")
    assert not gate.is_set()


@pytest.mark.parametrize(
    "behaviour",
    [
        answers.silent(threading.Event()),
        answers.gated(JPEG, 5000, threading.Event()),
    ],
    ids=["no answer", "no more body"],
)
def test_a_server_that_falls_silent_is_given_up(server: SourceServer, tmp_path: Path, behaviour: Behaviour) -> None:
    with pytest.raises(StageError) as failure:
        fetch(server.on("/a", behaviour), tmp_path / "got", source_read_timeout=0.2)
    assert failure.value.code == "source_timeout"
    assert "127.0.0.1" in failure.value.message


@pytest.mark.parametrize(
    ("start", "limit"),
    [
        (b"HTTP/1.1 200 OK\r\n", "source_answer_timeout"),
        (b"HTTP/1.1 200 OK\r\nA: ", "source_answer_timeout"),
        (b"HTTP/1.1 200 OK\r\n", "source_time_limit"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n\xff\xd8\xff", "source_time_limit"),
        (b"HTTP/1.1 200 OK\r\n\r\n\xff\xd8\xff", "source_time_limit"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n\xff\xd8\xff", "source_time_limit"),
    ],
)
def test_a_deadline_holds_against_drops(server: SourceServer, tmp_path: Path, start: bytes, limit: str) -> None:
    # Given a server that sends a drop well within every read's timeout, for ever
    server.on("/a", answers.dripping(start, b"x"))
    # When it is fetched, then the deadline ends it
    with pytest.raises(StageError) as failure:
        fetch(server.url("/a"), tmp_path / "got", LOCAL, **{limit: 0.4})
    assert failure.value.code == "source_timeout"


def test_a_refused_connection_is_unreachable(tmp_path: Path) -> None:
    # Given a port where nobody listens
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    # When it is fetched
    with pytest.raises(StageError) as failure:
        fetch(f"http://127.0.0.1:{port}/x.jpg", tmp_path / "got")
    # Then the sentence says so
    assert failure.value.code == "source_unreachable"
    assert failure.value.retryable
    assert f"127.0.0.1 could not be reached on port {port}: Connection refused." in failure.value.message


def test_a_wrong_url_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(StageError) as failure:
        fetch("ftp://127.0.0.1/x.jpg", tmp_path / "got")
    assert failure.value.code == "source_invalid_url"


def test_a_full_disk_is_told(server: SourceServer, tmp_path: Path) -> None:
    # Given a disk that is full
    (tmp_path / "got").symlink_to("/dev/full")
    with pytest.raises(StageError) as failure:
        fetch(server.url("/x.jpg"), tmp_path / "got")
    # Then the code says it
    assert failure.value.code == "out_of_disk"
    assert failure.value.retryable


@pytest.mark.parametrize(("path", "asked"), [("/x.jpg", [len(JPEG)]), ("/unknown.jpg", [ROOM_INTERVAL])])
def test_a_file_that_does_not_fit_is_refused_before_it_is_written(
    server: SourceServer, tmp_path: Path, path: str, asked: list[int]
) -> None:
    server.on("/unknown.jpg", answers.unknown_length(JPEG))
    needed: list[int] = []

    # Given a disk that has no room, neither for what is declared nor for what is not
    def no_room(count: int) -> None:
        needed.append(count)
        raise StageError("out_of_disk", "There is no room.")

    job = Fetch(
        server.url(path),
        tmp_path / "got",
        settings=IngestSettings(),
        guard=LOCAL,
        progress=lambda done, total: None,
        room=no_room,
    )
    with pytest.raises(StageError) as failure:
        job.run()
    assert failure.value.code == "out_of_disk"
    assert needed == asked
    assert not (tmp_path / "got").exists()


def test_a_disk_that_others_fill_ends_the_download(
    server: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_file, "ROOM_INTERVAL", 100_000)
    needed: list[int] = []

    # Given a disk that is short of room a while after the start
    def less_and_less(count: int) -> None:
        needed.append(count)
        if len(needed) > 2:
            raise StageError("out_of_disk", "There is no room.")

    job = Fetch(
        server.on("/y.jpg", answers.whole(JPEG)),
        tmp_path / "got",
        settings=IngestSettings(),
        guard=LOCAL,
        progress=lambda done, total: None,
        room=less_and_less,
    )
    with pytest.raises(StageError) as failure:
        job.run()
    # Then it is asked about what is still to come, and the download ends
    assert failure.value.code == "out_of_disk"
    assert needed == sorted(needed, reverse=True)
    assert needed[0] == len(JPEG) > needed[1] > needed[2] > 0


def stopped_while(start: Callable[[Fetch], None], job: Fetch) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            job.run()
        except Exception as error:  # noqa: BLE001  handed to the test's thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    start(job)
    thread.join(30)
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [Stopped]


@pytest.mark.parametrize(
    "behaviour",
    [
        answers.silent(threading.Event()),
        answers.gated(JPEG, 5000, threading.Event()),
        answers.endless(),
        answers.dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"\xff"),
    ],
    ids=["before the headers", "in a blocked body", "in a running body", "in a body without length"],
)
def test_close_ends_a_fetch_at_once(server: SourceServer, tmp_path: Path, behaviour: Behaviour) -> None:
    # Given a fetch that would go on for ever
    job = Fetch(
        server.on("/a", behaviour),
        tmp_path / "got",
        settings=IngestSettings(),
        guard=LOCAL,
        progress=lambda done, total: None,
    )

    # When it is cancelled from another thread, then it ends with Stopped
    def cancel(job: Fetch) -> None:
        server.wait_for("/a")
        job.cancel()

    stopped_while(cancel, job)


def test_cancelling_ends_a_fetch_that_waits_for_a_name(tmp_path: Path) -> None:
    # Given a name service that does not answer
    asked, answer = threading.Event(), threading.Event()

    def resolve(host: str, port: int) -> list[object]:
        asked.set()
        answer.wait(30)
        return []

    job = Fetch(
        "http://source.test/",
        tmp_path / "got",
        settings=IngestSettings(),
        guard=Guard(Allowed(), resolve),  # type: ignore[arg-type]  # an empty answer of any type
        progress=lambda done, total: None,
    )

    # When the fetch is cancelled, then it ends with Stopped
    def cancel(job: Fetch) -> None:
        assert asked.wait(30)
        job.cancel()

    stopped_while(cancel, job)
    answer.set()


def test_a_fetch_cancelled_before_it_runs_asks_for_nothing(server: SourceServer, tmp_path: Path) -> None:
    job = Fetch(
        server.url("/x.jpg"),
        tmp_path / "got",
        settings=IngestSettings(),
        guard=LOCAL,
        progress=lambda done, total: None,
    )
    job.cancel()
    with pytest.raises(Stopped):
        job.run()
    assert server.requests.total() == 0


def test_the_environment_is_not_obeyed(server: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a proxy and a password for the source's host in the environment
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    # When a file is fetched, then the proxy is not used and the password not sent
    assert fetch(server.url("/x.jpg"), tmp_path / "got").bytes == len(JPEG)
    assert server.headers["/x.jpg"][0]["Authorization"] is None
