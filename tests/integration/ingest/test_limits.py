"""What a download may cost and how it behaves towards hosts: rates, places, headers, redirects, memory, stops."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from pathlib import Path

import pytest

from ingest.download import parallelism as sharing
from ingest.download import transfer
from ingest.download.fetch import Fetch, Fetched
from ingest.http.guard import Guard
from ingest.http.hosts import Hosts
from ingest.settings import IngestSettings
from pipeline.errors import StageError, Stopped
from pipeline.sources import Allowed
from tests.support.network import answers
from tests.support.network.sources import Exchange, SourceServer, serve

DATA = b"\xff\xd8\xff\xe0" + hashlib.shake_128(b"limits").digest(12 * 1024**2)
LOCAL = Guard(Allowed(["127.0.0.0/8"]))
SLOW = 4 * 1024**2


def job(url: str, path: Path, hosts: Hosts | None = None, **settings: object) -> Fetch:
    path.mkdir(exist_ok=True)
    made = IngestSettings.model_validate(settings)
    return Fetch(url, path / "got", settings=made, guard=LOCAL, hosts=hosts, progress=lambda done, total: None)


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n\xff\xd8\xff",
        b"HTTP/1.1 200 OK\r\n\r\n\xff\xd8\xff",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n\xff\xd8\xff",
        b'HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9999999/10000000\r\nETag: "a"\r\n\r\n\xff\xd8\xff',
    ],
    ids=["declared", "unknown", "chunked", "by ranges"],
)
def test_a_source_that_only_drips_is_too_slow(server: SourceServer, tmp_path: Path, start: bytes) -> None:
    # Given a server that sends a few bytes a second, for ever, each well within the time that a read may take
    url = server.on("/a", answers.dripping(start, b"x"))
    # When a thousand a second are asked of it
    with pytest.raises(StageError) as failure:
        job(url, tmp_path, source_min_rate=1000, source_rate_window=0.4).run()
    # Then it is given up, and may be tried again
    assert (failure.value.code, failure.value.retryable) == ("source_too_slow", True)
    assert failure.value.message.startswith("127.0.0.1 sent less than 1000 bytes a second")


def test_headers_have_a_limit_in_all(server: SourceServer, tmp_path: Path) -> None:
    # Given headers each of which is short enough, and not too many
    many = b"".join(b"A%d: %b\r\n" % (number, b"x" * 1000) for number in range(90))
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" + many + b"\r\n\xff\xd8\xff"
    url = server.on("/a", answers.raw(head))
    # When they have more bytes than accepted, then they are refused by a sentence that names the setting
    with pytest.raises(StageError, match="SOURCE_MAX_HEADER_BYTES") as failure:
        job(url, tmp_path).run()
    assert failure.value.code == "source_protocol_error"
    # And else they are taken
    assert job(url, tmp_path, source_max_header_bytes=100_000).run().bytes == 3


def test_headers_behind_the_last_chunk_are_headers_too(server: SourceServer, tmp_path: Path) -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\xff\xd8\xff\r\n0\r\n"
    # Given a server that ends a body, and then sends header after header
    url = server.on("/a", answers.dripping(start, b"a: b\r\n" * 1000, pause=0.001))
    # When it is fetched, then it is given up, and does not have its connection for the rest of the minute
    with pytest.raises(StageError) as failure:
        job(url, tmp_path).run()
    assert failure.value.code == "source_protocol_error"
    assert "TILEWRIGHT_SOURCE_MAX_HEADER_BYTES" in failure.value.message
    # And a few are read over
    few = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\xff\xd8\xff\r\n0\r\nA: b\r\n\r\n"
    assert job(server.on("/b", answers.raw(few)), tmp_path).run().bytes == 3


def test_interim_answers_without_end_are_headers_too(server: SourceServer, tmp_path: Path) -> None:
    url = server.on("/a", answers.dripping(b"", b"HTTP/1.1 100 Continue\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 0.001))
    with pytest.raises(StageError) as failure:
        job(url, tmp_path).run()
    assert failure.value.code == "source_protocol_error"


@pytest.mark.parametrize(("most", "code"), [(0, "source_too_many_redirects"), (1, None)])
def test_redirects_have_a_limit(server: SourceServer, tmp_path: Path, most: int, code: str | None) -> None:
    server.on("/b", answers.ranges(DATA))
    url = server.on("/a", answers.redirect("/b"))
    if code is None:
        assert job(url, tmp_path, source_max_redirects=most).run().bytes == len(DATA)
        return
    with pytest.raises(StageError, match="redirects more than 0 times") as failure:
        job(url, tmp_path, source_max_redirects=most).run()
    assert failure.value.code == code


@pytest.mark.parametrize(
    "declared", [{"Content-Length": "700000000000"}, {"Content-Range": "bytes 0-699999999999/700000000000"}]
)
def test_a_file_too_large_is_refused_before_its_body(
    server: SourceServer, tmp_path: Path, declared: dict[str, str]
) -> None:
    # Given a server that declares too much, for all of it or in a part's place, and sends nothing yet
    gate = threading.Event()

    def declare(exchange: Exchange) -> None:
        exchange.head(206 if "Content-Range" in declared else 200, declared)
        exchange.wait(gate)

    url = server.on("/a", declare)
    # When it is fetched, then it is refused while the body is still held back
    with pytest.raises(StageError) as failure:
        job(url, tmp_path).run()
    assert (failure.value.code, failure.value.retryable) == ("source_too_large", False)
    assert not gate.is_set()


def run_in_thread(fetch: Fetch, results: list[Fetched | Exception]) -> threading.Thread:
    def run() -> None:
        try:
            results.append(fetch.run())
        except Exception as error:  # noqa: BLE001  handed to the test's thread
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_download_with_several_connections_gives_one_to_another_that_has_none(
    server: SourceServer, tmp_path: Path
) -> None:
    # Given a host of two places, both taken by one download that would go on for very long
    hosts = Hosts(2)
    results: list[Fetched | Exception] = []
    long = job(server.on("/long", answers.limited(DATA, 100_000)), tmp_path / "long", hosts)
    thread = run_in_thread(long, results)
    server.wait_for("/long", 2)
    # When another one begins at the same host, then it gets through
    server.on("/short", answers.whole(DATA))
    assert job(server.url("/short"), tmp_path / "short", hosts).run().bytes == len(DATA)
    # And the first is still at work
    assert results == []
    long.cancel()
    thread.join(30)
    assert [type(result) for result in results] == [Stopped]


def test_a_stop_ends_all_connections_at_once(server: SourceServer, tmp_path: Path) -> None:
    # Given a download over several connections
    results: list[Fetched | Exception] = []
    long = job(server.on("/long", answers.limited(DATA, 100_000)), tmp_path, source_connections=3)
    thread = run_in_thread(long, results)
    server.wait_for("/long", 3)
    # When it is stopped, then it ends, and what is there can be gone on with
    long.cancel()
    thread.join(30)
    assert [type(result) for result in results] == [Stopped]
    assert long.is_resumable


def test_what_is_plainly_no_image_is_refused_before_all_of_it_has_come(server: SourceServer, tmp_path: Path) -> None:
    # Given a large PDF of which only the beginning comes
    gate = threading.Event()
    url = server.on("/a", answers.gated(b"%PDF-1.7\n" + bytes(10**7), first=3000, gate=gate))
    with pytest.raises(StageError) as failure:
        job(url, tmp_path).run()
    assert failure.value.code == "unsupported_format"
    assert failure.value.message.startswith("127.0.0.1 sent a PDF document, not an image. Convert it to")
    assert not gate.is_set()


def test_memory_does_not_grow_with_the_file(
    server: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a file of 200 MB, by one connection and by four
    monkeypatch.setattr(sharing, "JOIN_AFTER", 0.0)
    monkeypatch.setattr(transfer, "WORTH_JOINING", 0.0)
    monkeypatch.setattr(transfer, "FAST_ENOUGH", float("inf"))
    (tmp_path / "served").mkdir()
    with (tmp_path / "served" / "large.jpg").open("wb") as file:
        for _ in range(200):
            file.write(DATA[: 10**6])
    with serve(tmp_path / "served") as files:
        for connections in (1, 4):
            fetch = job(files.url("/large.jpg"), tmp_path / "got", source_connections=connections)
            # When it is fetched, with every allocation of Python's counted
            tracemalloc.start()
            assert fetch.run().bytes == 200 * 10**6
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            # Then no more is held at a time than some blocks for each connection
            assert peak < 20 * 1024**2


def test_bytes_can_be_read_before_the_file_is_fetched(server: SourceServer, tmp_path: Path) -> None:
    # Given a server with ranges
    url = server.on("/a", answers.ranges(DATA))
    fetch = job(url, tmp_path)
    # When some bytes are looked at
    assert fetch.read(0, 8192) == DATA[:8192]
    assert fetch.remote_file.is_divisible
    assert fetch.remote_file.length == len(DATA)
    assert fetch.read(len(DATA) - 1000, len(DATA) + 1000) == DATA[-1000:]
    assert fetch.read(100, 20_000) == DATA[100:20_000]
    # Then the file comes all the same, and its beginning was sent once
    assert fetch.run().sha256 == hashlib.sha256(DATA).hexdigest()
    first, part = server.headers["/a"]
    assert (first["Range"], part["Range"]) == ("bytes=0-", f"bytes={len(DATA) - 1000}-{len(DATA) - 1}")
    # And the part was of that version
    assert part["If-Range"] == '"v1"'


def test_a_server_without_ranges_lets_its_beginning_be_read(server: SourceServer, tmp_path: Path) -> None:
    fetch = job(server.on("/a", answers.whole(DATA)), tmp_path)
    assert fetch.read(0, 100) == DATA[:100]
    assert fetch.read(50, 5000) == DATA[50:5000]
    assert not fetch.remote_file.gives_parts
    assert fetch.run().sha256 == hashlib.sha256(DATA).hexdigest()
    assert server.requests["/a"] == 1


def test_a_fetch_that_was_only_looked_at_leaves_no_connection(server: SourceServer, tmp_path: Path) -> None:
    hosts = Hosts(1)
    fetch = job(server.on("/a", answers.limited(DATA, SLOW)), tmp_path, hosts)
    assert fetch.read(0, 4) == DATA[:4]
    assert not hosts.try_enter("127.0.0.1")
    fetch.close()
    assert hosts.try_enter("127.0.0.1")


def test_a_body_of_one_byte_chunks_arrives_whole_and_is_handled_in_blocks(server: SourceServer, tmp_path: Path) -> None:
    # Given a server that sends each byte as a chunk of its own
    data = DATA[:40_000]
    url = server.on("/a", answers.chunked(data, 1))
    told: list[int] = []
    fetch = Fetch(
        url,
        tmp_path / "got",
        settings=IngestSettings(),
        guard=LOCAL,
        progress=lambda done, _: told.append(done),
    )
    # When it is fetched, then it is whole, and was not written byte by byte
    assert fetch.run().sha256 == hashlib.sha256(data).hexdigest()
    assert len(told) < 2000
