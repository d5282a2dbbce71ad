"""Small files that ask for much work: they are done with little, or end by their reason at the first try."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvips
import requests

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import LOOK, ready, submit
from tests.support.images import animations, costly, heics, heifs, hostile, tiffs
from tests.support.images.pictures import decode
from tests.support.network.sources import SourceServer, serve
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

LENGTH = 1_000_000


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SourceServer]:
    with serve(tmp_path) as server:
        yield server


def test_a_long_thin_picture_of_two_kilobytes_becomes_few_bytes_of_tiles(
    client: Client, files: SourceServer, command: Command, stack: LaunchedStack, tmp_path: Path
) -> None:
    # Given a white PNG of 1 x 1,000,000 pixels
    white = (pyvips.Image.black(1, LENGTH) + 255).cast("uchar").copy(interpretation="b-w")
    white.pngsave(str(tmp_path / "thin.png"), compression=9)
    assert (tmp_path / "thin.png").stat().st_size < 4000
    # When it is tiled
    dataset_id = submit(client, files.url("/thin.png"))
    info = ready(client, dataset_id)
    # Then every tile that a map asks for is there, in full
    deepest = info["max_zoom"]
    for zoom, y in [(0, 0), (deepest - 1, 0), (deepest, 0), (deepest, 2000), (deepest, (LENGTH - 1) // 256)]:
        address = info["xyz"].format(z=zoom, x=0, y=y)
        answer = requests.get(f"{stack.url}{address}", timeout=60)
        assert answer.status_code == 200, address
        assert decode(answer.content).shape[:2] == (256, 256)
    # And what is stored is whole, and small: it was 32 MB
    found = list(stack.data.glob(f"storage/pyramids/{info['tile_id']}/*/edges.bin"))
    assert len(found) == 1
    assert found[0].stat().st_size < 99_999
    ended = command("verify", dataset_id, "--data", str(stack.data))
    assert ended.code == 0, ended.out + ended.err


def test_a_heic_that_is_put_together_from_far_more_than_it_shows_fails_at_once(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    heics.hoarding(tmp_path / "hoard.heic", edge=1024, count=40)
    dataset_id = submit(client, files.url("/hoard.heic"))
    *seen, last = client.watch(dataset_id, pause=LOOK)
    assert (last["status"], last["error"]["code"]) == ("failed", "decoder_too_slow")
    assert {status["attempt"] for status in seen} == {1}
    # And what merely belongs to a picture, as depths do, costs nothing
    heics.with_auxiliaries(tmp_path / "depths.heic", 128, 128, edge=2048, count=20)
    assert ready(client, submit(client, files.url("/depths.heic")))["width"] == 128


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("a GIF of many frames", 699),
        ("a WebP of many frames", 99),
        ("a PNG of many tiles", 0),
        ("a TIFF of one tile again and again", 0),
        ("an AVIF of many parts", 0),
        ("a TIFF of many bands", 0),
        ("an AVIF that is turned two hundred times", 0),
        ("an AVIF that is turned eight times", 0),
    ],
)
def test_a_few_kilobytes_that_ask_for_minutes_fail_by_name_at_the_first_try(
    client: Client, files: SourceServer, tmp_path: Path, name: str, page: int
) -> None:
    path = tmp_path / "costly"
    match name:
        case "a GIF of many frames":
            path.write_bytes(animations.gif(20_000, 20_000, 700))
        case "a WebP of many frames":
            path.write_bytes(animations.webp(8000, 8000, 100))
        case "a PNG of many tiles":
            path.write_bytes(costly.thin_png(10_000_000))
        case "a TIFF of one tile again and again":
            tiffs.sharing(path, across=17, noise=512)
        case "a TIFF of many bands":
            path.write_bytes(costly.many_bands(32_768, 64))
        case "an AVIF of many parts":
            heics.hoarding_avif(path, 8192, 50)
        case "an AVIF that is turned two hundred times":
            path.write_bytes(heifs.turned(1024, 200))
        case "an AVIF that is turned eight times":
            path.write_bytes(heifs.turned(16_384, 8))
    # When it is posted, then it fails for good, by what it asks for
    dataset_id = str(client.submit(files.url("/costly"), name, page=page)["dataset_id"])
    *seen, last = client.watch(dataset_id, pause=LOOK)
    assert (last["status"], last["error"]["code"], last["error"]["retryable"]) == ("failed", "decoder_too_slow", False)
    assert {status["attempt"] for status in seen} == {1}


def test_what_asks_for_little_of_much_is_tiled(client: Client, files: SourceServer, tmp_path: Path) -> None:
    # Given the first frame of many, and a picture with thousands of others below it
    (tmp_path / "frames.gif").write_bytes(animations.gif(3000, 2000, 700))
    (tmp_path / "frames.webp").write_bytes(animations.webp(3000, 2000, 100))
    (tmp_path / "below.tif").write_bytes(costly.below(30_000, 3000))
    (tmp_path / "animated.png").write_bytes(costly.apng(3000, 2000, 50))
    ids = [submit(client, files.url(f"/{path.name}")) for path in tmp_path.iterdir()]
    assert {ready(client, dataset_id)["width"] for dataset_id in ids} == {3000}


def test_a_picture_that_asks_for_minutes_is_refused_before_it_is_fetched(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    # Given one that is worth a look before the download
    (tmp_path / "long.png").write_bytes(hostile.png(1, 100_000_000, bytes(2 << 20)))
    *seen, last = client.watch(submit(client, files.url("/long.png")), pause=LOOK)
    assert (last["status"], last["error"]["code"]) == ("failed", "decoder_too_slow")
    assert {status["state"] for status in seen} <= {"QUEUED", "DOWNLOADING"}
    # And a smaller one is named where it is only looked at
    (tmp_path / "small.png").write_bytes(hostile.png(1, 10_000_000, b""))
    assert client.inspect(files.url("/small.png"))["report"]["refused"]["code"] == "decoder_too_slow"


@pytest.mark.parametrize("tile_format", ["webp", "jpeg"])
def test_kilobytes_that_become_hundreds_of_megabytes_fail_by_name_and_leave_none(
    client: Client, files: SourceServer, stack: LaunchedStack, tmp_path: Path, tile_format: str
) -> None:
    # Given 39 kB that are noise by PNG's own filter, and tiles of the highest quality
    (tmp_path / "noise.png").write_bytes(costly.noise_by_filter(16_000, 12_000))
    sent = client.submit(files.url("/noise.png"), "noise", format=tile_format, quality=100)
    dataset_id = str(sent["dataset_id"])
    # When it is tiled, then it fails for good, by what it would store
    *seen, last = client.watch(dataset_id, pause=LOOK)
    assert (last["status"], last["error"]["code"], last["error"]["retryable"]) == ("failed", "decoder_too_slow", False)
    assert "The tiles of 16,000 x 12,000 pixels take more than" in last["error"]["message"]
    assert {status["attempt"] for status in seen} == {1}
    # And nothing of it is kept
    sizes = [path.stat().st_size for path in stack.data.glob("storage/**/*") if path.is_file()]
    assert max(sizes, default=0) < 50_000_000


def test_kilobytes_that_would_be_spooled_to_gigabytes_are_refused(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    # Given a gigapixel that is to be turned, which takes all its pixels at once
    (tmp_path / "turned.png").write_bytes(costly.turned(32_768))
    *seen, last = client.watch(submit(client, files.url("/turned.png")), pause=LOOK)
    assert (last["status"], last["error"]["code"]) == ("failed", "image_too_large")
    assert "Save it upright" in last["error"]["message"]
    assert {status["attempt"] for status in seen} == {1}
    # And a smaller one is turned
    (tmp_path / "small.png").write_bytes(costly.turned(1024))
    assert ready(client, submit(client, files.url("/small.png")))["width"] == 1024


def test_thin_pictures_whose_tiles_are_all_unlike_have_each_of_them(
    client: Client, files: SourceServer, stack: LaunchedStack, tmp_path: Path
) -> None:
    (tmp_path / "thin.png").write_bytes(costly.unlike_tiles(50_000))
    dataset_id = str(client.submit(files.url("/thin.png"), "thin", format="webp")["dataset_id"])
    info = ready(client, dataset_id)
    deepest = info["max_zoom"]
    for y in (0, 100, 49_919 // 256):
        padded = decode(requests.get(stack.url + info["xyz"].format(z=deepest, x=0, y=y), timeout=60).content)
        assert padded.shape[:2] == (256, 256)
        assert (padded[:, 1:] == 255).all()
        assert padded[[40, 120, 200], 0].astype(int).mean() > 10
