"""What a source promises of its bytes, which version it shows, how fast it is, and how many places its host has."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest.download.checksums import Checksum, algorithms, from_headers, from_request, verify
from ingest.download.fetch import Fetch, Fetched
from ingest.download.pace import MinimumRate
from ingest.download.parallelism import Parallelism
from ingest.http.cancellation import Cancellation
from ingest.http.guard import Guard
from ingest.http.hosts import Hosts
from ingest.http.validators import Version, version
from ingest.settings import IngestSettings
from pipeline.errors import StageError, Stopped
from pipeline.sources import Allowed
from tests.support.network import answers
from tests.support.network.sources import Behaviour, SourceServer

DATA = b"\xff\xd8\xff\xe0" + bytes(5000)
LOCAL = Guard(Allowed(["127.0.0.0/8"]))


def b64(algorithm: str, data: bytes = DATA) -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def headers(**given: str) -> Callable[[str], Sequence[str]]:
    values = {name.replace("_", "-").lower(): value for name, value in given.items()}
    return lambda name: [values[name.lower()]] if name.lower() in values else []


def fetch(url: str, path: Path, expected: str = "") -> Fetched:
    settings = IngestSettings(source_connections=1)
    progress = lambda done, total: None  # noqa: E731  # nobody listens
    return Fetch(url, path, settings=settings, guard=LOCAL, progress=progress, expected_sha256=expected).run()


OFFERS: list[tuple[str, str]] = [
    ("Repr-Digest", f"sha-256=:{b64('sha256')}:"),
    ("Repr-Digest", f"sha-512=:{b64('sha512')}:, sha-256=:{b64('sha256')}:"),
    ("Content-Digest", f"sha-512=:{b64('sha512')}:"),
    ("Digest", f"SHA-256={b64('sha256')}"),
    ("Digest", f"MD5={b64('md5')},SHA-512={b64('sha512')}"),
    ("Content-MD5", b64("md5")),
    ("Repr-Digest", f"sha-256=:{b64('sha256')}:;by=me"),
    ("x-goog-hash", f"crc32c=AAAAAA==,md5={b64('md5')}"),
]


@pytest.mark.parametrize(("name", "value"), OFFERS, ids=[f"{name}: {value[:8]}" for name, value in OFFERS])
@pytest.mark.parametrize("serving", [answers.ranges, answers.whole], ids=["by ranges", "plainly"])
def test_what_a_server_promises_is_checked(
    server: SourceServer, tmp_path: Path, serving: Callable[..., Behaviour], name: str, value: str
) -> None:
    # Given a server that promises a digest, when the file has it, then it is taken
    server.on("/a", serving(DATA, headers={name: value}))
    assert fetch(server.url("/a"), tmp_path / "got").sha256 == hashlib.sha256(DATA).hexdigest()
    # And when one bit is another, then it is refused
    server.on("/b", serving(DATA[:-1] + b"\1", headers={name: value}))
    with pytest.raises(StageError) as failure:
        fetch(server.url("/b"), tmp_path / "got")
    assert (failure.value.code, failure.value.retryable) == ("source_corrupted", True)
    assert f"but {name} says" in failure.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Repr-Digest", "sha-256=:AAAA:"),
        ("Repr-Digest", "sha-256=?1"),
        ("Repr-Digest", "id-sha-256=:AAAA:, unixsum=30637"),
        ("Digest", "sha-256=not base64!"),
        ("Content-MD5", "d41d8cd98f00b204e9800998ecf8427e"),
        ("Content-MD5", "="),
        ("x-goog-hash", "crc32c=AAAAAA=="),
    ],
)
def test_what_is_no_digest_promises_nothing(name: str, value: str) -> None:
    assert from_headers(headers(**{name.replace("-", "_"): value}), is_whole=True) == ()


def test_a_parts_own_digest_says_nothing_of_the_file() -> None:
    given = headers(Content_Digest=f"md5=:{b64('md5')}:", Content_MD5=b64("md5"), Repr_Digest=f"md5=:{b64('md5')}:")
    assert {checksum.by for checksum in from_headers(given, is_whole=False)} == {"Repr-Digest"}
    assert {checksum.by for checksum in from_headers(given, is_whole=True)} == {
        "Repr-Digest",
        "Content-Digest",
        "Content-MD5",
    }


def test_what_the_request_promises_is_held_whatever_its_case() -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    verify(from_request(digest.upper()), {"sha256": digest}, "example.org")
    assert from_request("") == ()
    assert algorithms([Checksum("md5", "", "")]) == {"md5", "sha256"}


def test_an_expected_hash_is_checked(server: SourceServer, tmp_path: Path) -> None:
    server.on("/a", answers.ranges(DATA))
    assert fetch(server.url("/a"), tmp_path / "got", hashlib.sha256(DATA).hexdigest()).bytes == len(DATA)
    with pytest.raises(StageError, match=f"the request says {'1' * 64}"):
        fetch(server.url("/a"), tmp_path / "got", "1" * 64)


LONG_AGO = "Wed, 21 Oct 2015 07:28:00 GMT"
A_SECOND_LATER = "Wed, 21 Oct 2015 07:28:01 GMT"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (headers(ETag='"a"'), Version('"a"')),
        (headers(ETag='""'), Version('""')),
        (headers(ETag='W/"a"'), Version()),
        (headers(ETag="a"), Version()),
        (headers(ETag='"a" "b"'), Version()),
        (headers(), Version()),
        (headers(Last_Modified=LONG_AGO), Version("", LONG_AGO)),
        (headers(Last_Modified=LONG_AGO, Date=A_SECOND_LATER), Version("", LONG_AGO)),
        (headers(Last_Modified=LONG_AGO, Date=LONG_AGO), Version()),
        (headers(Last_Modified=A_SECOND_LATER, Date=LONG_AGO), Version()),
        (headers(Last_Modified="yesterday"), Version()),
        (headers(ETag='"{}"'.format("a" * 2000)), Version()),
        (headers(Last_Modified=f"{LONG_AGO} ({'x' * 2000})"), Version()),
        (headers(Last_Modified="Wed, 21 Oct 2035 07:28:00 GMT"), Version()),
        (headers(ETag='"a"', Last_Modified=LONG_AGO), Version('"a"', LONG_AGO)),
    ],
)
def test_only_what_tells_every_change_is_a_version(given: Callable[[str], Sequence[str]], found: Version) -> None:
    assert version(given, datetime(2026, 1, 1, tzinfo=UTC)) == found
    assert bool(found) is bool(found.etag or found.last_modified)


def test_a_part_has_to_show_the_version_that_it_is_of() -> None:
    assert Version('"a"').shows_in(headers(ETag='"a"'))
    assert not Version('"a"').shows_in(headers(ETag='"b"'))
    assert not Version('"a"', LONG_AGO).shows_in(headers(Last_Modified=LONG_AGO))
    assert Version("", LONG_AGO).shows_in(headers(Last_Modified=LONG_AGO))
    assert Version("", LONG_AGO).shows_in(headers())
    assert not Version("", LONG_AGO).shows_in(headers(Last_Modified=A_SECOND_LATER))


def test_a_whole_file_is_of_a_version_by_its_etag_else_by_its_date() -> None:
    assert Version('"a"').is_same(Version('"a"', LONG_AGO))
    assert Version('"a"', LONG_AGO).is_same(Version('"a"'))
    assert Version("", LONG_AGO).is_same(Version('"b"', LONG_AGO))
    assert not Version('"a"', LONG_AGO).is_same(Version("", LONG_AGO))
    assert not Version('"a"').is_same(Version('"b"'))
    assert not Version("", LONG_AGO).is_same(Version())
    assert not Version().is_same(Version())


def test_a_pace_is_too_slow_after_a_whole_window_below_the_rate() -> None:
    # Given a least rate of ten bytes a second over four seconds
    pace = MinimumRate(100.0, 10, 4.0)
    # When one window is fast and the next one slow
    told = []
    for second in range(1, 9):
        pace.note(100.0 + second, 40 + second if second > 4 else 11 * second)
        told.append(pace.is_too_slow())
    # Then that is said at the slow one's end
    assert told == [False] * 7 + [True]
    assert pace.rate == pytest.approx(1.0)


def test_a_pace_tells_the_rate_of_late() -> None:
    pace = MinimumRate(0.0, 0, 60.0)
    for tenth in range(1, 31):
        pace.note(tenth / 10, 1000 * tenth if tenth <= 10 else 10_000)
    assert pace.rate == 0.0
    assert not pace.is_too_slow()


def test_connections_that_do_not_help_leave_again() -> None:
    # Given a download that has a hundred bytes a second alone
    told = Parallelism(0.0)
    assert not told.may_begin(0.1, 100.0)
    assert told.may_begin(0.2, 100.0)
    told.begin(0.2, 100.0)
    # When it has less with others, then these leave
    over = []
    for now in (1.0, 1.8):
        told.judge(now, 50.0)
        over.append(told.is_over)
    assert over == [False, True]
    # And do not come back where the first does better alone
    assert not told.may_begin(10.0, 100.0)


def test_connections_come_back_where_the_first_rate_was_a_burst() -> None:
    # Given others that have left, since the first one's burst was faster than all together
    told = Parallelism(0.0)
    told.begin(0.2, 100.0)
    told.judge(2.0, 50.0)
    # When the burst is over, then they join again
    assert not told.may_begin(2.1, 20.0)
    assert told.may_begin(4.0, 20.0)
    told.begin(4.0, 20.0)
    told.judge(6.0, 50.0)
    # And stay, whatever the rate is later
    told.judge(20.0, 1.0)
    assert not told.is_over
    assert told.may_begin(21.0, 1.0)


def test_a_host_has_so_many_places_and_who_waits_comes_first() -> None:
    # Given a host with two places, both taken
    hosts = Hosts(2)
    hosts.enter("a", Cancellation(), lambda: None)
    assert hosts.try_enter("a")
    assert not hosts.try_enter("a")
    assert hosts.try_enter("b")
    assert not hosts.is_wanted("a")
    # When a download waits for one
    waits, came = threading.Event(), threading.Event()

    def wait() -> None:
        hosts.enter("a", Cancellation(), waits.set)
        came.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert waits.wait(30)
    # Then those who have several are told, and the place that is given back is its own
    assert hosts.is_wanted("a")
    hosts.leave("a")
    assert came.wait(30)
    thread.join()
    assert not hosts.is_wanted("a")
    assert not hosts.try_enter("a")


def test_who_waits_for_a_place_can_be_stopped() -> None:
    hosts, cancellation = Hosts(1), Cancellation()
    hosts.enter("a", Cancellation(), lambda: None)
    with pytest.raises(Stopped):
        hosts.enter("a", cancellation, lambda: cancellation.cancel(Stopped()))
    assert not hosts.is_wanted("a")
