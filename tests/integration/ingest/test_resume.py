"""Runs that go on from what earlier ones fetched: never of two versions, never in a file that another may write."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from ingest.download import resume as journal
from ingest.download import transfer
from ingest.download.byte_ranges import Range
from ingest.download.fetch import Fetch, Fetched
from ingest.download.partial_file import Room
from ingest.download.resume import ASKED_ANEW, SAMPLE, SAMPLES, EarlierDownload, ResumeRecord
from ingest.http.guard import Guard
from ingest.http.validators import Version
from ingest.settings import IngestSettings
from pipeline.errors import StageError, StorageError
from pipeline.sources import Allowed
from tests.support.network import answers
from tests.support.network.answers import asked
from tests.support.network.sources import WAIT_LIMIT, Behaviour, Exchange, SourceServer
from tests.support.rigs.waiting import until

SOURCE = b"\xff\xd8\xff\xe0" + hashlib.shake_128(b"old").digest(3_000_000)
OTHER = b"\xff\xd8\xff\xe0" + hashlib.shake_128(b"new").digest(3_000_000)
LOCAL = Guard(Allowed(["127.0.0.0/8"]))
V1 = Version('"v1"')


@pytest.fixture(autouse=True)
def give_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "RECONNECTS", 0)


class Runs:
    """Runs of one dataset, each with a folder of its own, each after the other."""

    def __init__(self, root: Path, url: str) -> None:
        self._root = root
        self._url = url
        self._numbers = count()
        self.folder = root / "none"
        self.settings: dict[str, object] = {}
        self.kept = 0

    def run(self, room: Room = lambda _: None, connections: int = 1) -> Fetched:
        """Fetches in a new run, which takes over from the one before."""
        self.begin()
        steps: list[int] = []
        self.kept = 0

        def keep(number: int) -> None:
            self.kept = number

        try:
            return Fetch(
                self._url,
                self.folder / "source",
                settings=IngestSettings.model_validate({"source_connections": connections} | self.settings),
                guard=LOCAL,
                room=room,
                progress=lambda done, _: steps.append(done),
                kept=keep,
            ).run()
        finally:
            assert steps == sorted(steps)

    def begin(self) -> Path:
        """The folder of a new run that has taken over and does nothing else."""
        earlier, self.folder = self.folder, self._root / str(next(self._numbers))
        self.folder.mkdir()
        EarlierDownload.adopt(earlier, self.folder, self._url)
        return self.folder

    def fail(self, code: str = "source_incomplete") -> None:
        with pytest.raises(StageError) as failure:
            self.run()
        assert (failure.value.code, failure.value.retryable) == (code, True)

    @property
    def got(self) -> bytes:
        return (self.folder / "source").read_bytes()

    def leave(self, data: bytes, there: list[Range], version: Version = V1, length: int = len(SOURCE)) -> Path:
        """As if an earlier run had fetched these ranges; elsewhere its file holds something else."""
        folder = self.begin()
        file = bytearray(b"\xee" * len(data))
        for first, end in there:
            file[first:end] = data[first:end]
        (folder / "source").write_bytes(file)
        ResumeRecord(self._url, length, version, tuple(there)).write(folder / "source.json")
        return folder


@pytest.fixture
def runs(tmp_path: Path, server: SourceServer) -> Runs:
    return Runs(tmp_path, server.url("/x.jpg"))


def firsts(server: SourceServer) -> list[int]:
    """Where each request began."""
    return [(asked(headers) or (0,))[0] for headers in server.headers["/x.jpg"]]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def short_of_breath(data: bytes, breath: int = 1_000_000) -> Behaviour:
    """Hangs up after some bytes, and answers nothing to the next request: each run gets so far and fails."""
    turns = count()

    def answer(exchange: Exchange) -> None:
        if next(turns) % 2:
            exchange.hang_up()
        else:
            answers.breaking(data, breath)(exchange)

    return answer


def test_run_by_run_the_file_becomes_whole_and_no_byte_is_fetched_twice(server: SourceServer, runs: Runs) -> None:
    # Given a server from which each run gets a million bytes
    server.on("/x.jpg", short_of_breath(SOURCE))
    # When one comes after the other
    for _ in range(3):
        runs.fail()
    fetched = runs.run()
    # Then the last one has all of it, and each went on where the one before had stopped
    assert (fetched.sha256, fetched.bytes) == (sha256(SOURCE), len(SOURCE))
    assert runs.got == SOURCE
    assert firsts(server) == [0, 1_000_000, 1_000_000, 2_000_000, 2_000_000, 3_000_000, 3_000_000]
    # And it asked for the rest of this version only
    assert [headers["If-Range"] for headers in server.headers["/x.jpg"]] == [None, *['"v1"'] * 6]
    # And nothing of the earlier runs is left beside it
    assert {path.name for path in runs.folder.iterdir()} == {"source", "source.json"}


@pytest.mark.parametrize("there", [[(0, 1000)], [(0, 1000), (5000, 2_000_000)], [(700, 3_000_004)]])
def test_only_what_is_missing_is_asked_for(server: SourceServer, runs: Runs, there: list[Range]) -> None:
    # Given an earlier run that has fetched some ranges, and left nonsense elsewhere
    runs.leave(SOURCE, there)
    server.on("/x.jpg", answers.ranges(SOURCE))
    # When the next one runs
    assert runs.run().sha256 == sha256(SOURCE)
    # Then it has asked for the first gap, and for nothing that was there
    gaps = [(end, first) for (_, end), (first, _) in zip([(0, 0), *there], [*there, (len(SOURCE), 0)], strict=True)]
    assert firsts(server) == [first for first, end in gaps if first < end]
    assert runs.got == SOURCE
    # And it says how much that was
    assert runs.kept == sum(end - first for first, end in there)


def test_a_slow_connection_gets_help_from_others_in_a_later_run_too(server: SourceServer, runs: Runs) -> None:
    # Given a server that limits each connection, and an earlier run that has the file's beginning
    runs.leave(SOURCE, [(0, 500_000)])
    server.on("/x.jpg", answers.limited(SOURCE, 1_000_000))
    # When the next one runs, and may use several connections
    assert runs.run(connections=4).sha256 == sha256(SOURCE)
    # Then others have shared the rest with the first
    assert firsts(server)[0] == 500_000
    assert len(firsts(server)) > 2


def careless(exchange: Exchange) -> None:
    del exchange.headers["If-Range"]
    answers.ranges(OTHER, '"v2"')(exchange)


CHANGES: list[tuple[str, Behaviour]] = [
    ("another version", answers.ranges(OTHER, '"v2"')),
    ("another version whose server ignores If-Range", careless),
    ("the same ETag with another length", answers.ranges(OTHER + b"more")),
    ("no version any more", answers.ranges(OTHER, etag="")),
    ("a weak version", answers.ranges(OTHER, 'W/"v1"')),
    ("a shorter file", answers.ranges(OTHER[:500_000], '"v2"')),
    ("no ranges any more", answers.whole(OTHER)),
    ("a server that takes If-Range for If-Match", answers.sequence(answers.status(412), answers.ranges(OTHER, '"v2"'))),
]


@pytest.mark.parametrize("changed", [case[1] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_file_that_has_changed_is_fetched_anew_as_a_whole(
    server: SourceServer, runs: Runs, changed: Behaviour
) -> None:
    # Given an earlier run's ranges, and a file that is another one now
    runs.leave(SOURCE, [(0, 1_000_000), (2_000_000, 2_500_000)])
    server.on("/x.jpg", changed)
    # When the next one runs
    fetched = runs.run()
    # Then every byte is of the new one
    assert fetched.sha256 == sha256(runs.got)
    assert OTHER.startswith(runs.got[: len(OTHER)])
    # And nothing of the old one is left
    assert not list(runs.folder.glob("earlier*"))


def test_a_file_that_an_earlier_run_has_as_a_whole_is_asked_for_its_end(server: SourceServer, runs: Runs) -> None:
    runs.leave(SOURCE, [(0, len(SOURCE))])
    server.on("/x.jpg", answers.ranges(SOURCE))
    assert runs.run().sha256 == sha256(SOURCE)
    assert firsts(server) == [len(SOURCE) - ASKED_ANEW]


def test_a_run_that_gets_no_answer_hands_on_what_it_took_over(server: SourceServer, runs: Runs) -> None:
    # Given what an earlier run has fetched, and two runs that find the server busy, by a range and plainly
    runs.leave(SOURCE, [(0, 2_000_000)])
    busy = answers.status(503, {"Retry-After": "1"})
    server.on("/x.jpg", answers.sequence(busy, busy, busy, busy, answers.ranges(SOURCE)))
    runs.fail("source_unavailable")
    runs.fail("source_unavailable")
    # When a third one gets through, then it goes on from the first
    assert runs.run().sha256 == sha256(SOURCE)
    assert firsts(server) == [2_000_000, 0, 2_000_000, 0, 2_000_000]


def test_a_run_that_died_while_it_copied_leaves_both(server: SourceServer, runs: Runs) -> None:
    # Given a run that had copied some of what it took over, and fetched something else, when it was killed
    runs.leave(SOURCE, [(0, 1_000_000), (1_500_000, 2_000_000)])
    folder = runs.leave(SOURCE, [(0, 400_000), (2_500_000, 3_000_000)])
    assert (folder / "earlier-0").exists()
    server.on("/x.jpg", answers.ranges(SOURCE))
    # When the next one runs, then it has what either had
    assert runs.run().sha256 == sha256(SOURCE)
    assert firsts(server) == [1_000_000, 2_000_000, 3_000_000]


def test_of_several_versions_the_one_with_most_is_gone_on_from(server: SourceServer, runs: Runs) -> None:
    runs.leave(OTHER, [(0, 2_000_000)], Version('"v0"'))
    runs.leave(SOURCE, [(0, 1_000_000)])
    server.on("/x.jpg", answers.ranges(OTHER, '"v0"'))
    assert runs.run().sha256 == sha256(OTHER)
    assert firsts(server) == [2_000_000]


def test_a_run_that_was_only_asleep_cannot_write_into_its_successors_file(server: SourceServer, runs: Runs) -> None:
    # Given a run that is asleep, its file open, and another that has taken over
    earlier = runs.leave(SOURCE, [(0, 1_000_000)])
    descriptor = os.open(earlier / "source", os.O_RDWR)

    # When it wakes in the middle, writes on, and notes more
    def wake_up() -> None:
        os.pwrite(descriptor, OTHER[1_000_000:], 1_000_000)
        record = ResumeRecord(server.url("/x.jpg"), len(SOURCE), V1, ((0, len(SOURCE)),))
        record.write(earlier / "source.json")

    server.on("/x.jpg", answers.gated_part(SOURCE, wake_up))
    fetched = runs.run()
    os.close(descriptor)
    # Then the other's file has its own bytes only
    assert fetched.sha256 == sha256(SOURCE)
    assert runs.got == SOURCE
    assert (earlier / "source").stat().st_ino != (runs.folder / "source").stat().st_ino


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "source.json").write_text("{"),
        lambda folder: (folder / "source.json").write_text('{"url": 1}'),
        lambda folder: (folder / "source").unlink(),
        lambda folder: os.truncate(folder / "source", 999_999),
        lambda folder: (folder / "source.json").write_text(
            (folder / "source.json").read_text().replace("[0, 1000000]", "[-5, 1000000]")
        ),
    ],
    ids=["half a note", "another note", "no file", "a file that is too short", "a range that cannot be"],
)
def test_damaged_notes_are_not_relied_on(server: SourceServer, runs: Runs, damage: Callable[[Path], object]) -> None:
    damage(runs.leave(SOURCE, [(0, 1_000_000)]))
    server.on("/x.jpg", answers.ranges(SOURCE))
    assert runs.run().sha256 == sha256(SOURCE)
    assert firsts(server) == [0]


def test_a_server_that_now_refuses_ranges_sends_the_whole_file_past_what_is_there(
    server: SourceServer, runs: Runs
) -> None:
    # Given gaps between what an earlier run has fetched, and a server that refuses ranges now
    runs.leave(SOURCE, [(0, 500_000), (1_000_000, 1_500_000), (2_900_000, len(SOURCE))])
    whole = answers.whole(SOURCE, {"ETag": '"v1"'})
    server.on("/x.jpg", lambda exchange: (answers.status(403) if "Range" in exchange.headers else whole)(exchange))
    # When it is fetched, then one plain response fills them
    assert runs.run(connections=4).sha256 == sha256(SOURCE)
    assert runs.got == SOURCE
    assert runs.kept == 500_000 + 500_000 + len(SOURCE) - 2_900_000
    assert firsts(server) == [500_000, 0]


def elsewhere(server: SourceServer, folder: Path) -> None:
    """As if what is in the folder had been fetched from another URL."""
    notes = json.loads((folder / "source.json").read_text())
    (folder / "source.json").write_text(json.dumps(notes | {"url": server.url("/y.jpg")}))


def test_another_urls_bytes_are_gone_on_from_if_it_is_the_same_file(server: SourceServer, runs: Runs) -> None:
    # Given what came from one link, when another link leads to the same file
    elsewhere(server, runs.leave(SOURCE, [(0, 1_000_000), (2_000_000, 2_500_000)]))
    server.on("/x.jpg", answers.ranges(SOURCE))
    # Then only samples of it are received once more
    assert runs.run().sha256 == sha256(SOURCE)
    assert runs.kept == 1_500_000
    first, *samples, _, _ = server.headers["/x.jpg"]
    assert first["Range"] == "bytes=1000000-"
    lengths = [last - at + 1 for headers in samples for at, last in [asked(headers) or (0, 0)] if last is not None]
    assert lengths == [SAMPLE] * SAMPLES
    assert not list(runs.folder.glob("earlier*"))


@pytest.mark.parametrize(
    ("data", "etag"), [(OTHER, '"v1"'), (OTHER, '"v2"'), (SOURCE + b"x", '"v1"')], ids=["bytes", "version", "length"]
)
def test_another_file_behind_a_new_url_is_never_mixed_in(
    server: SourceServer, runs: Runs, data: bytes, etag: str
) -> None:
    # Given a new link to a file of another content, even with the same length and ETag
    elsewhere(server, runs.leave(SOURCE, [(0, 1_000_000)]))
    server.on("/x.jpg", answers.ranges(data, etag))
    # When it is fetched, then all of it is the new one's
    assert runs.run().sha256 == sha256(data)
    assert runs.kept == 0


def test_a_new_url_that_only_drips_is_left_in_time(server: SourceServer, runs: Runs) -> None:
    # Given a new link whose server sends the samples byte by byte
    elsewhere(server, runs.leave(SOURCE, [(0, 1_000_000)]))
    drips = answers.sending(SOURCE, drip)
    server.on("/x.jpg", answers.sequence(answers.ranges(SOURCE), drips))
    # When it is fetched, then that ends, and what has arrived is kept
    runs.settings = {"source_answer_timeout": 0.3}
    runs.fail("source_timeout")
    runs.settings = {}
    server.on("/x.jpg", answers.ranges(SOURCE))
    assert runs.run().sha256 == sha256(SOURCE)
    assert runs.kept == 1_000_000


def drip(exchange: Exchange, body: bytes) -> None:
    for first in range(len(body)):
        exchange.body(body[first : first + 1])
        if exchange.source_server.closing.wait(0.05):
            break
    exchange.hang_up()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_link_that_expires_before_the_rest_leaves_what_has_arrived(
    server: SourceServer, runs: Runs, status: int
) -> None:
    # Given a link that has expired when a later run, or a later part, is to go on
    runs.leave(SOURCE, [(0, 1_000_000)])
    server.on("/x.jpg", answers.sequence(answers.breaking(SOURCE, 500_000), answers.status(status)))
    for _ in range(2):
        with pytest.raises(StageError) as failure:
            runs.run()
        assert (failure.value.code, failure.value.retryable) == ("source_expired", False)
        assert "`url`" in failure.value.message
    # When a link works again, then only what is missing is asked for
    del server.headers["/x.jpg"]
    server.on("/x.jpg", answers.ranges(SOURCE))
    assert runs.run().sha256 == sha256(SOURCE)
    assert firsts(server) == [1_500_000]


def test_where_both_do_not_fit_the_file_is_fetched_anew(server: SourceServer, runs: Runs) -> None:
    # Given a disk with no room for a file beside what an earlier run has fetched
    runs.leave(SOURCE, [(0, 1_000_000)])
    server.on("/x.jpg", answers.ranges(SOURCE))

    def room(needed: int) -> None:
        if list(runs.folder.glob("earlier-*")):
            raise StageError("out_of_disk", "There is no room.")

    # When the next one runs, then it gives that up
    assert runs.run(room).sha256 == sha256(SOURCE)
    assert firsts(server) == [1_000_000, 0]


@pytest.mark.parametrize(
    "behaviour",
    [answers.cut(SOURCE, 1_000_000), answers.breaking(SOURCE, 1_000_000, etag="")],
    ids=["no ranges", "no version"],
)
def test_what_cannot_be_gone_on_from_is_not_noted(server: SourceServer, runs: Runs, behaviour: Behaviour) -> None:
    server.on("/x.jpg", behaviour)
    runs.fail()
    assert {path.name for path in runs.folder.iterdir()} == {"source"}
    assert len(firsts(server)) == 1


def test_what_is_there_is_noted_while_the_download_goes_on(
    server: SourceServer, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a download that is held up after a million bytes
    monkeypatch.setattr(journal, "INTERVAL", 0.01)
    noted = ResumeRecord(server.url("/x.jpg"), len(SOURCE), V1, ((0, 1_000_000),))
    looked: list[str] = []

    def look() -> None:
        until(lambda: ResumeRecord.read(runs.folder / "source.json") == noted, "a note of that million")
        looked.append("in time")

    server.on("/x.jpg", answers.gated_part(SOURCE, look))
    # When it is looked at meanwhile, then a killed worker's successor would find that million
    assert runs.run().sha256 == sha256(SOURCE)
    assert looked == ["in time"]


def test_bytes_that_are_lost_while_the_download_goes_on_end_it_and_are_never_noted(
    server: SourceServer, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that loses bytes, which the kernel tells once
    monkeypatch.setattr(journal, "INTERVAL", 0.01)
    told = threading.Event()

    def sync(_: int) -> None:
        if not told.is_set():
            told.set()
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(journal, "sync", sync)

    def look() -> None:
        told.wait(WAIT_LIMIT)

    server.on("/x.jpg", answers.gated_part(SOURCE, look))
    # When it is told of bytes on their way, then the download has failed, though the next sync says that all is well
    with pytest.raises(StorageError):
        runs.run()
    # And no later run relies on what is there
    assert ResumeRecord.read(runs.folder / "source.json") is None
