"""The header before the download: what the status shows of it, and what is refused before it is fetched."""

from __future__ import annotations

import gzip
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ingest import preflight
from ingest.actor import ingest
from ingest.dependencies import Dependencies
from ingest.settings import IngestSettings
from pipeline.errors import StageError, Stopped
from pipeline.run import Run
from pipeline.storage.directory import DirectoryStorage
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.images import animations, pictures, raws, tiffs
from tests.support.network import answers
from tests.support.network.sources import Behaviour, Exchange, SourceServer, asked_range, serve


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 900 x 800 pixels and some two megabytes, and what is none."""
    folder = tmp_path_factory.mktemp("files")
    noise = pictures.noise(900, 800)
    pictures.save(noise, folder / "a.jpg", "srgb", Q=100)
    pictures.save(noise, folder / "a.png")
    pictures.save(noise, folder / "strips.tif")
    pictures.save(noise, folder / "pyramid.tif", "srgb", tile=True, pyramid=True)
    pages = [Image.fromarray(pictures.noise(900 - n, 800, seed=n)) for n in range(2)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    (folder / "small.png").write_bytes(pictures.save(pictures.scene(90, 80), folder / "s.png").read_bytes())
    (folder / "rubbish.img").write_bytes(b"\1\2" + np.random.default_rng(1).bytes(2 << 20))
    strips = (folder / "strips.tif").read_bytes()
    (folder / "cut.tif").write_bytes(strips[: len(strips) * 2 // 3])
    tiffs.write(folder / "jpeg2000.tif", noise, compression=34712, tile=256)
    raws.RAWS["nef"][0](folder / "raw.nef")
    with (folder / "raw.nef").open("ab") as file:
        file.write(bytes(2 << 20))
    zips = {"stored.zip": ["strips.tif"], "deflated.zip": ["a.jpg"], "two.zip": ["a.png", "a.jpg"]}
    for name, inside in zips.items():
        with zipfile.ZipFile(
            folder / name, "w", zipfile.ZIP_STORED if "stored" in name else zipfile.ZIP_DEFLATED
        ) as archive:
            archive.writestr("README.txt", "Noise.")
            for one in inside:
                archive.write(folder / one, one)
    (folder / "a.jpg.gz").write_bytes(gzip.compress((folder / "a.jpg").read_bytes()))
    for name in ("cut.bmp", "cut.ppm", "cut.tga"):
        Image.fromarray(noise).save(folder / name)
        (folder / name).write_bytes((folder / name).read_bytes()[: 3 << 19])
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2 << 20))
    return folder


@pytest.fixture
def server(files: Path) -> Iterator[SourceServer]:
    with serve(files) as running:
        yield running


class Work:
    """One run of the ingest stage without a statussvc."""

    def __init__(
        self, url: str, tmp_path: Path, *, page: int = 0, member: str = "", accept: bool = False, **settings: object
    ) -> None:
        self.storage = DirectoryStorage(tmp_path / "storage")
        damage = pb.DAMAGE_ACCEPT if accept else pb.DAMAGE_UNSPECIFIED
        options = pb.TileOptions(page=page, member=member, damage=damage)
        grant = pb.Grant(url=url, source_key="sources/custom_00000000/1", options=options)
        wake_up = pb.WakeUp(dataset_id="custom_00000000", attempt=1, stage=pb.STAGE_INGEST)
        self.run = Run("1" * 32, wake_up, grant)
        made = IngestSettings.model_validate({"storage": self.storage.root, "allow_sources": "127.0.0.0/8"} | settings)
        self._means = Dependencies.of(made, self.storage)

    def __call__(self) -> pb.IngestResult:
        return ingest(self.run, self._means)

    @property
    def source(self) -> tuple[str, int, int, int] | None:
        """What the next beat says of the header."""
        beat, _ = self.run.snapshot()
        said = beat.source
        return (said.format, said.width, said.height, said.pages) if beat.HasField("source") else None

    @property
    def stored(self) -> bytes:
        return self.storage.get_range("sources/custom_00000000/1", 0, 1 << 30)

    @property
    def leftovers(self) -> list[str]:
        return [key for key in self.storage.list_prefix("scratch") if key.rstrip("/") != "scratch"]


def refusal(work: Work) -> str:
    with pytest.raises(StageError) as caught:
        work()
    assert not caught.value.retryable
    assert work.leftovers == []
    return caught.value.code


def held_back(data: bytes) -> Behaviour:
    """Ranges, of which no answer goes on for more than 300 kB."""

    def send(exchange: Exchange, body: bytes) -> None:
        exchange.body(body[:300_000])
        if len(body) > 300_000:
            exchange.wait(threading.Event())
            exchange.hang_up()

    return answers.sending(data, send)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.jpg", ("jpeg", 900, 800, 1)),
        ("a.png", ("png", 900, 800, 1)),
        ("strips.tif", ("tiff", 900, 800, 1)),
        ("pyramid.tif", ("tiff", 900, 800, 4)),
        ("stored.zip", ("tiff", 900, 800, 1)),
        ("deflated.zip", ("jpeg", 900, 800, 1)),
        ("a.jpg.gz", ("jpeg", 900, 800, 1)),
    ],
)
def test_the_status_shows_what_a_source_is_before_it_is_there(
    name: str, source: tuple[str, int, int, int], server: SourceServer, files: Path, tmp_path: Path
) -> None:
    # Given a picture of megabytes at a server with ranges
    work = Work(server.url(f"/{name}"), tmp_path)
    seen: list[object] = []
    report = work.run.report

    def note(**progress: object) -> None:
        report(**progress)  # type: ignore[arg-type]  # handed on as it is
        seen.extend(["source"] if "source" in progress else ["bytes"] if progress.get("bytes_downloaded") else [])

    work.run.report = note  # type: ignore[method-assign]  # to see in which order things are told
    # When it is fetched
    result = work()
    # Then its header was told of first
    assert work.source == source
    assert seen[0] == "source"
    assert "bytes" in seen
    # And the file is whole
    assert work.stored == (files / name).read_bytes()
    assert result.bytes == len(work.stored)
    assert work.leftovers == []


def test_looking_costs_few_requests_and_none_where_the_beginning_is_enough(
    server: SourceServer, tmp_path: Path
) -> None:
    Work(server.url("/a.jpg"), tmp_path / "1", source_connections=1)()
    assert server.requests["/a.jpg"] == 1
    Work(server.url("/strips.tif"), tmp_path / "2", source_connections=1)()
    assert server.requests["/strips.tif"] == 2


def test_a_small_source_is_simply_fetched(
    server: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("a child was started")

    # Given small files, with a length and without one
    monkeypatch.setattr(preflight, "probe", never)
    tiny = pictures.save(pictures.scene(20, 20), tmp_path / "t.png").read_bytes()
    urls = [server.url("/small.png"), server.on("/chunked.png", answers.unknown_length(tiny))]
    for number, url in enumerate(urls):
        # When they are fetched, then nothing else is done
        work = Work(url, tmp_path / str(number))
        work()
        assert work.source is None


@pytest.mark.parametrize("behaviour", [answers.whole, answers.unknown_length])
def test_a_server_without_ranges_shows_it_where_the_beginning_is_enough(
    behaviour: Callable[[bytes], Behaviour], server: SourceServer, files: Path, tmp_path: Path
) -> None:
    # Given a server that only sends the whole file
    for name, source in (("a.jpg", ("jpeg", 900, 800, 1)), ("strips.tif", None)):
        data = (files / name).read_bytes()
        url = server.on(f"/plain/{name}", behaviour(data))
        # When it is fetched
        work = Work(url, tmp_path / name)
        work()
        # Then a JPEG's header was told of, and no header was missed where it is at the end
        assert work.source == source
        # And all came by one request
        assert server.requests[f"/plain/{name}"] == 1
        assert work.stored == data


@pytest.mark.parametrize(
    ("name", "code", "settings"),
    [
        ("a.jpg", "image_too_large", {"max_pixels": 719_999}),
        ("strips.tif", "image_too_large", {"max_pixels": 719_999}),
        ("a.jpg", "image_too_large", {"decode_memory_bytes": 10**7}),
        ("rubbish.img", "unsupported_format", {}),
        ("cut.tif", "image_truncated", {}),
        ("cut.bmp", "image_truncated", {}),
        ("broken.png", "image_corrupt", {}),
        ("jpeg2000.tif", "unsupported_format", {}),
        ("raw.nef", "unsupported_format", {}),
        ("two.zip", "member_not_found", {}),
        ("two.zip", "member_not_found", {"member": "none.tif"}),
        ("stored.zip", "image_too_large", {"max_pixels": 719_999}),
        ("a.jpg.gz", "image_too_large", {"max_pixels": 719_999}),
        ("a.jpg", "member_not_found", {"member": "a.jpg"}),
    ],
)
def test_what_cannot_be_tiled_is_refused_before_it_is_fetched(
    name: str, code: str, settings: dict[str, object], server: SourceServer, files: Path, tmp_path: Path
) -> None:
    # Given a server that would never send it all
    url = server.on("/big", held_back((files / name).read_bytes()))
    # When it is looked at, then that is its end
    assert refusal(Work(url, tmp_path, **settings)) == code  # type: ignore[arg-type]  # names of settings
    # And one further part was asked for at most, or the directory of an archive and the beginnings of its files
    assert server.requests["/big"] <= (4 if name.endswith("zip") else 2)


@pytest.mark.parametrize("name", ["cut.bmp", "cut.ppm", "cut.tga", "cut.tif", "broken.png"])
def test_a_damaged_source_is_fetched_if_damage_is_accepted_and_the_tiler_decides(
    name: str, server: SourceServer, files: Path, tmp_path: Path
) -> None:
    work = Work(server.url(f"/{name}"), tmp_path, accept=True)
    work()
    assert work.stored == (files / name).read_bytes()


def test_damage_that_is_accepted_hides_no_other_reason(server: SourceServer, tmp_path: Path) -> None:
    assert refusal(Work(server.url("/jpeg2000.tif"), tmp_path, accept=True)) == "unsupported_format"


def test_an_animation_that_asks_for_too_much_before_a_page_is_refused_before_it_is_fetched(
    server: SourceServer, tmp_path: Path
) -> None:
    data = animations.gif(10_000, 10_000, 200)
    url = server.on("/long.gif", answers.whole(data))
    assert refusal(Work(url, tmp_path, page=199, preflight_min_bytes=0)) == "decoder_too_slow"
    # And its first page is nothing of the kind
    work = Work(url, tmp_path, preflight_min_bytes=0)
    work()
    assert (work.source, work.stored) == (("gif", 10_000, 10_000, 200), data)


def test_a_limit_is_that_of_the_tiler_to_the_pixel(server: SourceServer, tmp_path: Path) -> None:
    work = Work(server.url("/a.jpg"), tmp_path, max_pixels=720_000)
    work()
    assert work.source == ("jpeg", 900, 800, 1)


def test_the_page_asked_for_counts(server: SourceServer, tmp_path: Path) -> None:
    # Given a file of two pages, when its second is asked for, then that one is shown
    work = Work(server.url("/pages.tif"), tmp_path / "1", page=1)
    work()
    assert work.source == ("tiff", 899, 800, 2)
    # And there is no third
    assert refusal(Work(server.url("/pages.tif"), tmp_path / "2", page=2)) == "page_not_found"


def test_the_member_asked_for_counts(server: SourceServer, tmp_path: Path) -> None:
    # Given an archive of two images, when one is asked for, then that one is shown
    work = Work(server.url("/two.zip"), tmp_path / "1", member="a.png")
    work()
    assert work.source == ("png", 900, 800, 1)
    work = Work(server.url("/two.zip"), tmp_path / "2", member="a.jpg")
    work()
    assert work.source == ("jpeg", 900, 800, 1)


def test_of_an_archive_at_a_server_without_ranges_only_the_beginning_is_known(
    server: SourceServer, files: Path, tmp_path: Path
) -> None:
    for name, source in (("deflated.zip", None), ("two.zip", None), ("a.jpg.gz", ("jpeg", 900, 800, 1))):
        data = (files / name).read_bytes()
        for behaviour in (answers.whole, answers.unknown_length):
            work = Work(server.on(f"/plain/{name}", behaviour(data)), tmp_path / behaviour.__name__ / name)
            work()
            assert (work.source, work.stored) == (source, data), name


def test_a_page_of_the_web_is_refused_in_its_own_words(server: SourceServer, tmp_path: Path) -> None:
    html = b"<!DOCTYPE html><html><body>" + b"x" * (2 << 20)
    work = Work(server.on("/x.jpg", answers.ranges(html)), tmp_path)
    with pytest.raises(StageError, match="sent a web page, not an image") as caught:
        work()
    assert caught.value.code == "not_an_image"


def test_a_server_that_gives_other_bytes_for_a_range_does_not_decide(
    server: SourceServer, files: Path, tmp_path: Path
) -> None:
    # Given a server whose ranges are rubbish, but for the one from the beginning
    data = (files / "strips.tif").read_bytes()

    def lie(exchange: Exchange) -> None:
        span = asked_range(exchange.headers, len(data), '"v1"')
        answers.ranges(data if span is None or span.start == 0 else bytes(len(data)))(exchange)

    # When the file is fetched by one connection, then it is there: the tiler may decide
    work = Work(server.on("/lies.tif", lie), tmp_path, source_connections=1)
    work()
    assert work.source is None
    assert work.stored == data


def test_a_server_that_refuses_further_ranges_is_fetched_from_all_the_same(
    server: SourceServer, files: Path, tmp_path: Path
) -> None:
    # Given a server that has an answer for the first request only
    data = (files / "strips.tif").read_bytes()
    count = 0

    def once(exchange: Exchange) -> None:
        nonlocal count
        count += 1
        (answers.ranges(data) if count == 1 else answers.status(429))(exchange)

    work = Work(server.on("/once.tif", once), tmp_path, source_connections=1)
    work()
    assert work.stored == data


def test_a_child_that_cannot_be_had_harms_nothing(
    server: SourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(preflight, "probe", fail)
    work = Work(server.url("/a.jpg"), tmp_path)
    work()
    assert work.source is None


def test_a_source_that_cannot_be_had_fails_as_ever(server: SourceServer, tmp_path: Path) -> None:
    work = Work(server.url("/missing.jpg"), tmp_path)
    with pytest.raises(StageError) as caught:
        work()
    assert caught.value.code == "source_not_found"
    assert [headers["Range"] for headers in server.headers["/missing.jpg"]] == ["bytes=0-", None]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WITHOUT_LENGTH = b"HTTP/1.1 200 OK\r\n\r\n"


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pictures.noise(900, 800)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


JPEG = _jpeg()


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (answers.raw(CHUNKED), "source_incomplete"),
        (answers.raw(CHUNKED + b"zz\r\n" + JPEG[:1000]), "source_protocol_error"),
        (answers.raw(CHUNKED + b"0x5\r\n" + JPEG[:5] + b"\r\n"), "source_protocol_error"),
        (answers.raw(CHUNKED + b"00000400\r\n" + JPEG[:1024] + b"\r\n000"), "source_incomplete"),
        (answers.raw(CHUNKED + b"400\r\n" + JPEG[:1024] + b"\r\n0\r\n"), "source_incomplete"),
        (answers.raw(CHUNKED + b"280000\r\n" + JPEG[:1000]), "source_incomplete"),
        (answers.raw(CHUNKED + b"280000\r\n" + JPEG[:40_000]), "source_incomplete"),
        (answers.reset(CHUNKED), "source_incomplete"),
        (answers.reset(WITHOUT_LENGTH), "source_incomplete"),
        (answers.dripping(CHUNKED, b"", pause=10), "source_timeout"),
        (answers.dripping(CHUNKED + b"280000\r\n" + JPEG[:1000], b"", pause=10), "source_timeout"),
        (answers.dripping(WITHOUT_LENGTH, b"", pause=10), "source_timeout"),
    ],
    ids=[
        "lost before the first byte",
        "invalid chunk",
        "a size that only Python reads",
        "lost within a size that begins with zeros",
        "lost within the last line",
        "lost after a kilobyte",
        "lost after 40 kilobytes",
        "reset before the first byte",
        "reset before the first byte, no chunks",
        "silent before the first byte",
        "silent after a kilobyte",
        "silent, no chunks",
    ],
)
def test_an_error_early_in_a_body_is_not_the_end_of_the_file(
    behaviour: Behaviour, code: str, server: SourceServer, tmp_path: Path
) -> None:
    work = Work(server.on("/early.jpg", behaviour), tmp_path, source_read_timeout=0.3)
    with pytest.raises(StageError) as caught:
        work()
    assert (caught.value.code, caught.value.retryable) == (code, True)
    assert list(work.storage.list_prefix("sources")) == []


def test_bytes_behind_a_block_that_is_too_long_are_not_taken_for_the_file(server: SourceServer, tmp_path: Path) -> None:
    # Given a range in three chunks: the second goes on behind the range's end, the third is as long as the second
    # should have been
    data = pictures.save(pictures.scene(30, 20), tmp_path / "small.png").read_bytes()
    rest = len(data) - 1000
    assert 0 < rest < 2000
    chunks = (data[:1000], data[1000:] + bytes(30), bytes(rest), b"")
    head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-%d/%d\r\n" % (len(data) - 1, len(data))
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    url = server.on("/overlong.png", answers.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + body))
    # When its header is looked at and it is fetched, then the answer counts as invalid
    with pytest.raises(StageError) as caught:
        Work(url, tmp_path, preflight_min_bytes=0)()
    assert caught.value.code == "source_protocol_error"


def test_a_broken_first_answer_is_made_up_for_by_ranges(server: SourceServer, files: Path, tmp_path: Path) -> None:
    # Given a server with ranges whose first answer breaks off within the header
    data = (files / "a.jpg").read_bytes()
    work = Work(server.on("/once.jpg", answers.sequence(answers.breaking(data, 100), answers.ranges(data))), tmp_path)
    # When it is fetched, then it is there without a retry of the stage
    work()
    assert work.stored == data


def test_a_stop_reaches_it_while_a_range_is_waited_for(server: SourceServer, files: Path, tmp_path: Path) -> None:
    # Given a server that holds back the range with the directory
    data = (files / "strips.tif").read_bytes()
    gate, asked = threading.Event(), threading.Event()

    def hold(exchange: Exchange) -> None:
        span = asked_range(exchange.headers, len(data), '"v1"')
        if span is not None and span.start > 0:
            asked.set()
            exchange.wait(gate)
        answers.ranges(data)(exchange)

    work = Work(server.on("/held.tif", hold), tmp_path)

    def stop() -> None:
        asked.wait()
        work.run.stop("cancelled")

    # When the run is told to stop
    threading.Thread(target=stop).start()
    # Then it does, while the server still holds back
    with pytest.raises(Stopped):
        work()
    assert not gate.is_set()
    assert work.leftovers == []
