"""IIIF services that do not send an image as a whole: all of it is fetched as tiles, a few at once."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from ingest.download import EarlierDownload, Fetch, Fetched
from ingest.http.guard import Guard
from ingest.http.hosts import Hosts
from ingest.preflight import read_header
from ingest.settings import IngestSettings
from pipeline.errors import StageError
from pipeline.formats.tile_sets import MOST_TILE_BYTES, TileSet, entry, read_head, read_tiles
from pipeline.sources import Allowed
from tests.support.network import answers
from tests.support.network.iiif_service import IiifService
from tests.support.network.sources import Behaviour, Exchange, SourceServer

WIDTH, HEIGHT, EDGE = 1000, 700, 256
TILES = 12
CAP = {"maxWidth": 500}
LOCAL = Guard(Allowed(["127.0.0.0/8"]))
WHOLE = b"\xff\xd8\xff\xe0" + bytes(5000)


def tile(x: int, y: int, width: int, height: int) -> bytes:
    """Begins like a JPEG; no two are alike."""
    return b"\xff\xd8\xff\xe0" + hashlib.shake_128(f"{x},{y}".encode()).digest(3000 + x + y)


def service(server: SourceServer, **options: object) -> IiifService:
    return IiifService(server, "1", (WIDTH, HEIGHT), EDGE, tile, **({"cap": CAP} | options))  # type: ignore[arg-type]


def job(url: str, folder: Path, hosts: Hosts | None = None, **settings: object) -> Fetch:
    folder.mkdir(exist_ok=True)
    made = IngestSettings.model_validate(settings)
    return Fetch(url, folder / "source", settings=made, guard=LOCAL, hosts=hosts, progress=lambda done, total: None)


def fetch(url: str, folder: Path, hosts: Hosts | None = None, **settings: object) -> Fetched:
    return job(url, folder, hosts, **settings).run()


def expected(of: IiifService) -> bytes:
    return TileSet(WIDTH, HEIGHT, EDGE, EDGE).head() + b"".join(map(entry, of.data))


@pytest.mark.parametrize(("version", "level", "cap"), [(2, 2, CAP), (3, 2, CAP), (2, 0, {}), (3, 0, {}), (3, 1, {})])
def test_the_listed_tiles_are_fetched_by_their_canonical_addresses(
    server: SourceServer, tmp_path: Path, version: int, level: int, cap: dict[str, int]
) -> None:
    iiif = service(server, version=version, level=level, cap=cap)
    fetched = fetch(iiif.url, tmp_path)
    # Then the file has the bytes of all tiles as they were sent, in their order
    stored = (tmp_path / "source").read_bytes()
    assert stored == expected(iiif)
    assert (fetched.sha256, fetched.bytes) == (hashlib.sha256(stored).hexdigest(), len(stored))
    assert not fetched.version
    # And each was requested once, without a range, and nothing else was
    assert len(iiif.tiles) == TILES
    paths = [target for target in server.targets if not target.endswith("info.json")]
    assert sorted(paths) == sorted(iiif.tiles)
    assert {headers["Range"] for path in server.headers if "default" in path for headers in server.headers[path]} == {
        None
    }
    with (tmp_path / "source").open("rb") as file:
        assert [data for _, data in read_tiles(file, read_head(file))] == iiif.data


@pytest.mark.parametrize(
    ("cap", "most", "note"),
    [
        ({}, 10_000, ""),
        ({"maxWidth": WIDTH, "maxHeight": HEIGHT}, 10_000, ""),
        (CAP, TILES - 1, "It lists 12 tiles, more than are joined."),
        (CAP, 0, "sends at most 500 x 350 of this image's 1,000 x 700 pixels in one request."),
        ({"maxWidth": EDGE - 1}, 10_000, "sends at most 255 x 178"),
    ],
)
def test_an_image_is_fetched_at_once_where_that_is_all_of_it_or_the_tiles_are_too_many(
    server: SourceServer, tmp_path: Path, cap: dict[str, int], most: int, note: str
) -> None:
    iiif = service(server, cap=cap)
    path = "/iiif/3/1/full/max/0/default.jpg"
    server.answer_all = answers.whole(WHOLE)
    one = job(iiif.url, tmp_path, source_max_tiles=most)
    one.run()
    assert (tmp_path / "source").read_bytes() == WHOLE
    assert server.targets[1:] == [path]
    assert one.remote_file.link is not None
    assert (one.remote_file.link.note == "") == (note == "")
    assert note in one.remote_file.link.note


class Counted:
    """Counts the tiles that are being sent, and lets them go when so many are, or no more come."""

    def __init__(self, expected: int) -> None:
        self.most = self._now = 0
        self._expected = expected
        self._changed = threading.Condition()

    def answer(self, data: bytes) -> Behaviour:
        def send(exchange: Exchange) -> None:
            with self._changed:
                self._now += 1
                self.most = max(self.most, self._now)
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self.most >= self._expected, 30)
            answers.whole(data)(exchange)
            with self._changed:
                self._now -= 1

        return send


@pytest.mark.parametrize(("hosts", "most"), [(Hosts(8), 4), (Hosts(2), 2), (Hosts(8).without_additional(), 1)])
def test_a_few_tiles_are_fetched_at_once_within_the_places_of_the_host(
    server: SourceServer, tmp_path: Path, hosts: Hosts, most: int
) -> None:
    counted = Counted(most)
    iiif = service(server, answer=counted.answer)
    fetch(iiif.url, tmp_path, hosts)
    assert counted.most == most
    assert (tmp_path / "source").read_bytes() == expected(iiif)


def test_additional_connections_that_are_refused_do_not_come_back(server: SourceServer, tmp_path: Path) -> None:
    # Given a host that sends one tile at a time
    lock = threading.Lock()

    def one_at_a_time(data: bytes) -> Behaviour:
        def send(exchange: Exchange) -> None:
            if not lock.acquire(blocking=False):
                answers.status(429)(exchange)
                return
            try:
                answers.limited(data, 100_000)(exchange)
            finally:
                lock.release()

        return send

    iiif = service(server, answer=one_at_a_time)
    # Then all tiles come, unless the first connection was the one that was refused: then the dataset waits for its host
    try:
        fetch(iiif.url, tmp_path)
    except StageError as error:
        assert (error.code, error.refused) == ("source_unavailable", True)  # noqa: PT017
    else:
        assert (tmp_path / "source").read_bytes() == expected(iiif)
    # And the host refused few requests
    assert len(server.targets) <= 1 + TILES + 4


@pytest.mark.parametrize("failure", ["503", "cut"])
def test_a_later_run_goes_on_with_the_tiles_that_are_missing(
    server: SourceServer, tmp_path: Path, failure: str
) -> None:
    # Given a run that ends in the middle
    iiif = service(server)
    bad = answers.status(503) if failure == "503" else answers.cut(iiif.data[7], 100)
    server.on(iiif.tiles[7], bad)
    with pytest.raises(StageError) as raised:
        fetch(iiif.url, tmp_path / "1", source_connections=1)
    assert raised.value.retryable
    assert "The tile at 768, 256" in raised.value.message
    assert raised.value.refused == (failure == "503")
    # When its file ends in the middle of a tile, as after a crash, and another run goes on
    record = tmp_path / "1" / "source.json"
    assert record.exists()
    server.on(iiif.tiles[7], answers.whole(iiif.data[7]))
    asked = len(server.targets)
    (tmp_path / "2").mkdir()
    EarlierDownload.adopt(tmp_path / "1", tmp_path / "2", iiif.url)
    kept: list[int] = []
    one = Fetch(
        iiif.url,
        tmp_path / "2" / "source",
        settings=IngestSettings(source_connections=1),
        guard=LOCAL,
        progress=lambda done, total: None,
        kept=kept.append,
    )
    fetched = one.run()
    # Then only the missing ones are requested, and the file is the same
    assert server.targets[asked + 1 :] == iiif.tiles[7:]
    assert kept == [len(b"".join(map(entry, iiif.data[:7]))) + len(TileSet(WIDTH, HEIGHT, EDGE, EDGE).head())]
    assert (tmp_path / "2" / "source").read_bytes() == expected(iiif)
    assert fetched.sha256 == hashlib.sha256(expected(iiif)).hexdigest()
    assert not list((tmp_path / "2").glob("earlier-*"))


def test_tiles_of_another_image_are_not_gone_on_from(server: SourceServer, tmp_path: Path) -> None:
    iiif = service(server)
    server.on(iiif.tiles[7], answers.status(503))
    with pytest.raises(StageError):
        fetch(iiif.url, tmp_path / "1", source_connections=1)
    # When info.json describes other tiles meanwhile
    other = IiifService(server, "1", (WIDTH, HEIGHT + 1), EDGE, tile, cap=CAP)
    (tmp_path / "2").mkdir()
    EarlierDownload.adopt(tmp_path / "1", tmp_path / "2", iiif.url)
    asked = len(server.targets)
    fetch(iiif.url, tmp_path / "2", source_connections=1)
    assert server.targets[asked + 1 :] == other.tiles


WRONG: dict[str, tuple[Behaviour, str]] = {
    "a page": (answers.page(), "not_an_image"),
    "a text about a limit": (answers.whole(b"Download limit exceeded, try again later.\n"), "source_unavailable"),
    "another kind of file": (answers.whole(b"GIF89a" + bytes(3000)), "not_an_image"),
    "nothing": (answers.whole(b""), "not_an_image"),
    "missing": (answers.status(404), "source_not_found"),
    "huge": (answers.endless(), "source_too_large"),
}


@pytest.mark.parametrize(("behaviour", "code"), WRONG.values(), ids=WRONG)
def test_what_is_no_tile_is_not_stored(server: SourceServer, tmp_path: Path, behaviour: Behaviour, code: str) -> None:
    iiif = service(server)
    server.on(iiif.tiles[5], behaviour)
    with pytest.raises(StageError) as raised:
        fetch(iiif.url, tmp_path, source_connections=1)
    assert raised.value.code == code
    assert (tmp_path / "source").stat().st_size < MOST_TILE_BYTES


def test_a_tile_may_not_lead_to_a_forbidden_address(server: SourceServer, tmp_path: Path) -> None:
    iiif = service(server)
    server.on(iiif.tiles[3], answers.redirect("http://169.254.169.254/latest/meta-data"))
    with pytest.raises(StageError) as raised:
        fetch(iiif.url, tmp_path, source_connections=1)
    assert raised.value.code == "source_forbidden_address"


def test_all_tiles_together_keep_to_the_limit_of_a_source(server: SourceServer, tmp_path: Path) -> None:
    iiif = service(server)
    with pytest.raises(StageError) as raised:
        fetch(iiif.url, tmp_path, max_source_bytes=20_000)
    assert raised.value.code == "source_too_large"
    assert (tmp_path / "source").stat().st_size <= 20_000


@pytest.mark.parametrize(
    ("page", "most", "code"), [(None, 10**9, None), (1, 10**9, "page_not_found"), (0, 1000, "image_too_large")]
)
def test_the_size_is_known_before_the_first_tile(
    server: SourceServer, tmp_path: Path, page: int | None, most: int, code: str | None
) -> None:
    iiif = service(server)
    one = job(iiif.url, tmp_path)
    one.open()
    seen = read_header(one, settings=IngestSettings(max_pixels=most), page=page, folder=tmp_path)
    one.close()
    assert seen.header is not None
    assert (seen.header.width, seen.header.height) == (WIDTH, HEIGHT)
    assert (seen.refused.code if seen.refused else None) == code
    assert len(server.targets) == 1


def test_a_cancelled_download_ends_at_once(server: SourceServer, tmp_path: Path) -> None:
    gate = threading.Event()
    iiif = service(server, answer=lambda data: answers.gated(data, 100, gate))
    one = job(iiif.url, tmp_path)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            one.run()
        except Exception as error:  # noqa: BLE001  looked at below
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    server.wait_for(iiif.tiles[0])
    one.cancel()
    thread.join(30)
    gate.set()
    assert not thread.is_alive()
    assert [type(error).__name__ for error in raised] == ["Stopped"]
