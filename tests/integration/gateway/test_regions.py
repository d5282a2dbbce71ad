"""Regions that are made on request: their pixels, the processes that make them, and the cache."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from starlette.types import Message, Scope

from gateway.tiles.region_cache import RegionCache
from gateway.tiles.regions import Regions
from pipeline.errors import NotFound, RegionsBusy
from pipeline.pyramids import Geometry
from pipeline.regions import Job, Pool, Region, plan
from pipeline.storage.directory import DirectoryStorage
from tests.support.images import pictures
from tests.support.rigs.tile_rig import DATASET_ID, TILE_ID, Answer, Kiln, RemoteStorage, Site, call
from tests.support.rigs.waiting import until

WIDTH, HEIGHT = 1501, 1103


def waves(width: int, height: int) -> np.ndarray[Any, Any]:
    """A picture that JPEG hardly changes, in which no two places are alike."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    planes = [np.sin(x / 9 + y / 300), np.sin(y / 11 + x / 500), np.sin((x + y) / 17)]
    return (128 + 100 * np.stack(planes, axis=-1)).astype(np.uint8)


@pytest.fixture
def empty(tmp_path: Path, kiln: Kiln) -> Iterator[Site]:
    site = Site(DirectoryStorage(tmp_path / "storage"), tmp_path, kiln)
    yield site
    site.close()


@pytest.fixture
def site(empty: Site) -> Site:
    empty.store(pictures.save(waves(WIDTH, HEIGHT), empty.folder / "source.jpg", "srgb", Q=95))
    return empty


def get(site: Site, path: str, method: str = "GET", **headers: str) -> Answer:
    return asyncio.run(settled(site, f"/iiif/{TILE_ID}/{path}", method, **headers))


async def settled(site: Site, path: str, method: str = "GET", **headers: str) -> Answer:
    answer = await call(site.iiif, path, method, **headers)
    await site.regions.settled()
    return answer


def image_of(answer: Answer) -> Image.Image:
    assert answer.status == 200, answer.body
    return Image.open(io.BytesIO(answer.body))


def pixels_of(answer: Answer, mode: str = "RGB") -> np.ndarray[Any, Any]:
    return np.asarray(image_of(answer).convert(mode)).astype(int)


def level_of(site: Site, number: int, width: int, height: int, bands: int = 3) -> np.ndarray[Any, Any]:
    """The pixels of a level, from its tiles."""
    joined = np.zeros((height, width, bands), np.uint8)
    for (level, x, y), data in pictures.deep_zoom(site.stored("pyramid.szi")).items():
        if level == number:
            tile = pictures.decode(data)
            joined[y * 256 : y * 256 + tile.shape[0], x * 256 : x * 256 + tile.shape[1]] = tile
    return joined


@pytest.mark.parametrize("kind", [DirectoryStorage, RemoteStorage])
def test_a_region_in_its_own_size_has_the_very_pixels_of_the_tiles(
    kind: type[DirectoryStorage], tmp_path: Path, kiln: Kiln
) -> None:
    # Given a pyramid whose edges are no multiple of anything, in a directory or in a bucket
    site = Site(kind(tmp_path / "storage"), tmp_path, kiln)
    site.store(pictures.jpeg(tmp_path / "source.jpg", WIDTH, HEIGHT))
    whole = level_of(site, 11, WIDTH, HEIGHT)
    half = level_of(site, 10, 751, 552)
    # When regions across tiles are asked for, in the image's own size and in that of the next level, without loss
    for x, y, w, h in [
        (250, 250, 20, 30),
        (0, 0, 1000, 1),
        (1250, 1000, 251, 103),
        (1500, 1102, 1, 1),
        (0, 0, WIDTH, HEIGHT),
    ]:
        made = pixels_of(get(site, f"{x},{y},{w},{h}/max/0/default.png"))
        # Then they are the tiles' pixels, and no other
        assert np.array_equal(made, whole[y : y + h, x : x + w])
    for x, y, w, h in [(250, 250, 500, 300), (1000, 1000, 501, 103), (0, 0, WIDTH, HEIGHT)]:
        to_width, to_height = -(-w // 2), -(-h // 2)
        made = pixels_of(get(site, f"{x},{y},{w},{h}/{to_width},{to_height}/0/default.png"))
        assert np.array_equal(made, half[y // 2 : y // 2 + to_height, x // 2 : x // 2 + to_width])
    site.close()


@pytest.mark.parametrize(
    ("x", "y", "w", "h", "to_width", "to_height"),
    [
        (0, 0, WIDTH, HEIGHT, 300, 220),
        (3, 7, 1001, 777, 333, 259),
        (501, 333, 1000, 770, 250, 193),  # to both edges
        (101, 99, 613, 501, 600, 490),
        (101, 99, 613, 501, 100, 400),  # distorted
        (700, 500, 37, 29, 370, 290),  # enlarged
    ],
)
def test_a_resized_region_shows_the_source_to_the_pixel(
    site: Site, x: int, y: int, w: int, h: int, to_width: int, to_height: int
) -> None:
    # Given the source's region, resized by Pillow
    with Image.open(site.folder / "source.jpg") as source:
        size = (to_width, to_height)
        part = source.crop((x, y, x + w, y + h)).resize(size, Image.Resampling.LANCZOS)
        wanted = np.asarray(part.convert("L")).astype(int)
    # When it is asked for
    made = pixels_of(get(site, f"{x},{y},{w},{h}/^{to_width},{to_height}/0/gray.png"), "L")
    assert made.shape == wanted.shape
    # Then it differs by little more than tiles of quality 85 do, and by more if it is moved by a pixel in any direction
    error = np.abs(made - wanted).mean()
    assert error < 4
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        moved = np.roll(made, (dy, dx), (0, 1))[1:-1, 1:-1]
        assert np.abs(moved - wanted[1:-1, 1:-1]).mean() > error


def test_a_turned_or_mirrored_region_has_its_pixels_elsewhere(site: Site) -> None:
    plain = pixels_of(get(site, "100,200,300,170/max/0/default.png"))
    for quarters in range(4):
        # NumPy turns counter-clockwise
        turned = pixels_of(get(site, f"100,200,300,170/max/{90 * quarters}/default.png"))
        assert np.array_equal(turned, np.rot90(plain, -quarters))
        mirrored = pixels_of(get(site, f"100,200,300,170/max/!{90 * quarters}/default.png"))
        assert np.array_equal(mirrored, np.rot90(plain[:, ::-1], -quarters))


def test_qualities_and_formats_are_what_they_are_called(site: Site) -> None:
    plain = pixels_of(get(site, "100,200,300,170/max/0/default.png"))
    luma = plain @ np.array([0.299, 0.587, 0.114])
    for kind, name in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")):
        answer = get(site, f"100,200,300,170/max/0/color.{kind}")
        assert answer.headers["content-type"] == f"image/{name.lower()}"
        assert image_of(answer).format == name
        assert np.abs(pixels_of(answer) - plain).mean() < 4
        assert np.abs(pixels_of(get(site, f"100,200,300,170/max/0/gray.{kind}"), "L") - luma).mean() < 4
        bitonal = pixels_of(get(site, f"100,200,300,170/max/0/bitonal.{kind}"), "L")
        sure = np.abs(luma - 128) > 3
        assert ((bitonal > 127) == (luma > 127))[sure].mean() > 0.98
    assert image_of(get(site, "100,200,300,170/max/0/bitonal.png")).mode == "1"
    assert image_of(get(site, "100,200,300,170/max/0/gray.jpg")).mode == "L"


def test_transparency_stays_and_what_it_hides_does_not_shine_through(empty: Site) -> None:
    # Given a picture whose left half is clear, and red where nobody sees it
    pixels = pictures.scene(900, 500, bands=4)
    pixels[:, :450] = (255, 0, 0, 0)
    pixels[:, 450:] = (0, 90, 0, 255)
    empty.store(pictures.save(pixels, empty.folder / "source.png"))
    # When it is resized across the edge
    made = pixels_of(get(empty, "300,100,301,301/100,100/0/default.png"), "RGBA")
    # Then nothing that can be seen is red
    assert made[50, 20, 3] == 0
    assert made[50, 80, 3] == 255
    seen = made[made[..., 3] > 20]
    assert seen[:, 0].max() < 60
    # And a JPEG is white there
    jpeg = pixels_of(get(empty, "300,100,301,301/100,100/0/default.jpg"))
    assert jpeg[:, :40].min() > 240
    # And a part without transparency needs none
    assert image_of(get(empty, "500,100,301,301/100,100/0/default.webp")).mode == "RGB"


def test_limits_are_refused_with_the_limit(site: Site) -> None:
    answer = get(site, "full/^4000,4000/0/default.jpg")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert "4194304 pixels in all (maxArea)" in json.loads(answer.body)["detail"]
    assert image_of(get(site, "full/^max/0/default.jpg")).size == (2389, 1755)


def test_a_result_is_cached_by_clients_like_a_tile_and_by_us_on_disk(site: Site) -> None:
    # Given the same result by three addresses
    first = get(site, "100,200,300,170/150,/0/default.jpg")
    same = get(site, "100,200,300,170/pct:50/0/color.jpg")
    permanent = call(site.iiif, f"/iiif/2/{DATASET_ID}/100,200,300,170/!150,150/0/native.jpg")
    site.catalogue.shown[DATASET_ID] = TILE_ID
    permanent_answer = asyncio.run(permanent)
    # Then it was made once
    assert first.body == same.body == permanent_answer.body
    assert site.regions.pool.stats.made == 1
    assert site.regions.counts.hits == 2
    # And it says so: for ever at the pyramid's address, for a minute at the dataset's
    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert permanent_answer.headers["cache-control"].startswith("public, max-age=60")
    assert permanent_answer.headers["content-location"].startswith(f"/iiif/2/{TILE_ID}/")
    assert first.headers["etag"] == same.headers["etag"] == permanent_answer.headers["etag"]
    # And who has it needs nothing made, not even when the cache is empty
    assert (
        get(site, "0,0,11,11/5,/0/default.jpg", if_none_match=f'"{TILE_ID}-r1-0-0-11-11-5-5-0-default.jpg"').status
        == 304
    )
    assert site.regions.pool.stats.made == 1
    # When the gateway starts again, then it still has it
    site.regions.close()
    again = Regions(4 << 20, 1, 20.0, RegionCache(site.folder / "iiif-cache", 1 << 30, 0))
    site.iiif._regions = again
    assert get(site, "100,200,300,170/150,/0/default.jpg").body == first.body
    assert again.pool.stats.started == 0
    again.close()


def test_a_deleted_pyramid_has_no_regions_although_the_cache_has_them(site: Site) -> None:
    # Given a region in the cache
    path = "100,200,300,170/150,/0/default.jpg"
    assert get(site, path).status == 200
    cached = list((site.folder / "iiif-cache").glob(f"*/{TILE_ID}/*"))
    assert len(cached) == 1
    # When the pyramid is deleted, and the gateway has noticed
    del site.catalogue.pyramids[TILE_ID]
    site.catalogue.shown[DATASET_ID] = NotFound("deleted")
    site.storage.delete_prefix(f"pyramids/{TILE_ID}")
    asyncio.run(site.pyramids.drop_deleted())
    # Then it is not there, and soon not on the disk either
    assert get(site, path).status == 404
    exists = lambda tile_id: (site.storage.root / "pyramids" / tile_id).exists()  # noqa: E731
    assert asyncio.run(site.regions.drop_gone(exists)) == 1
    assert list((site.folder / "iiif-cache").glob("*/*")) == []


def test_a_damaged_tile_is_a_503_and_the_next_image_is_fine(site: Site) -> None:
    # Given a tile of garbage
    archive = site.stored("pyramid.szi")
    data = bytearray(archive.read_bytes())
    tile = pictures.deep_zoom(archive)[11, 0, 0]
    at = bytes(data).index(tile)
    data[at : at + len(tile)] = b"\0" * len(tile)
    archive.write_bytes(data)
    # When a region of it is asked for, then the answer is no image, and not for ever
    answer = get(site, "10,10,100,100/max/0/default.png")
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "storage_unavailable")
    assert answer.headers["cache-control"] == "no-store"
    # And the child that met it goes on
    assert get(site, "600,600,100,100/max/0/default.png").status == 200
    assert site.regions.pool.stats.started == 1


def test_all_who_wait_for_the_same_wait_for_one(site: Site) -> None:
    async def at_once() -> list[Answer]:
        path = f"/iiif/{TILE_ID}/100,200,800,700/300,/0/default.jpg"
        return await asyncio.gather(*(call(site.iiif, path) for _ in range(20)))

    answers = asyncio.run(at_once())
    assert {answer.status for answer in answers} == {200}
    assert site.regions.pool.stats.made == 1
    assert site.regions.counts.shared == 19


def test_a_crowd_of_regions_is_refused_beyond_the_queue(site: Site) -> None:
    # Given one child, and places for two
    site.regions.close()
    regions = site.iiif._regions = Regions(4 << 20, 1, 20.0, RegionCache(site.folder / "c", 0, 0), waiting=2)

    async def at_once() -> list[Answer]:
        paths = [f"/iiif/{TILE_ID}/{x},0,100,100/50,/0/default.jpg" for x in range(10)]
        return await asyncio.gather(*(call(site.iiif, path) for path in paths))

    # When ten different regions are asked for at once
    answers = asyncio.run(at_once())
    # Then three are made, and the others are told to come again
    assert sorted(answer.status for answer in answers) == [200] * 3 + [503] * 7
    refused = next(answer for answer in answers if answer.status == 503)
    assert (refused.headers["retry-after"], json.loads(refused.body)["code"]) == ("2", "service_unavailable")
    assert regions.facts()["refused"] == 7
    # And then there are places again
    assert get(site, "0,0,100,100/50,/0/default.jpg").status == 200
    regions.close()


def test_a_killed_child_is_replaced_unnoticed(site: Site) -> None:
    assert get(site, "0,0,100,100/50,/0/default.jpg").status == 200
    # Given a child that the machine kills while it waits
    (pid,) = children("pipeline.regions.child")
    os.kill(pid, signal.SIGKILL)
    # When the next region is asked for, then it is made
    assert get(site, "0,0,100,100/51,/0/default.jpg").status == 200
    assert site.regions.pool.stats.started == 2
    # And no child outlives the gateway
    site.regions.close()
    for thread in site.regions.pool.threads:
        thread.join(20)
    assert children("pipeline.regions.child") == []


HANGING = (sys.executable, "-c", "import signal; signal.pause()")
DYING = (sys.executable, "-c", "raise SystemExit(3)")
LYING = (
    sys.executable,
    "-c",
    "import sys, struct\n"
    "out = sys.stdout.buffer\n"
    "made = b'{\"made\": {}}\\n'\n"
    "out.write(struct.pack('>I', len(made)) + made + struct.pack('>I', 1 << 31))\n"
    "out.flush()\n"
    "sys.stdin.read()\n",
)


@pytest.mark.parametrize(
    ("command", "seconds", "status"), [(HANGING, 0.3, 503), (DYING, 20.0, 503), (LYING, 20.0, 503)]
)
def test_a_child_that_hangs_dies_or_lies_costs_only_its_result(
    site: Site, command: tuple[str, ...], seconds: float, status: int
) -> None:
    site.regions.pool.close()
    pool = site.regions.pool = Pool(1, 2, seconds, 4 << 20, command=command)
    for size in (50, 51):
        answer = get(site, f"0,0,100,100/{size},/0/default.jpg")
        assert answer.status == status
        assert answer.headers["cache-control"] == "no-store"
    assert pool.stats.failed >= 2
    assert pool.stats.made == 0
    # The stored tiles are served all the while
    assert get(site, "0,0,256,256/256,256/0/default.jpg").status == 200
    pool.close()


def test_what_nobody_waits_for_any_more_is_not_made(site: Site) -> None:
    # Given a single child that is busy
    site.regions.pool.close()
    pool = site.regions.pool = Pool(1, 5, 20.0, 4 << 20, command=HANGING)
    begun, end = threading.Event(), threading.Event()

    def fetch(*_: int) -> list[bytes]:
        begun.set()
        end.wait()
        return []

    job = Job("jpg", (1,), (1,), 0, 0, 1, 1, 1, 1, False, 0, "default", "jpg")
    busy = pool.submit(job, fetch)
    assert begun.wait(20)

    async def go() -> None:
        leave = asyncio.Event()
        sent: list[Message] = []

        async def receive() -> Message:
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        def asked(number: int) -> Scope:
            path = f"/iiif/{TILE_ID}/0,0,100,100/{number},/0/default.jpg"
            return {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"x")], "scheme": "http"}

        # And two requests for each of five regions, which take all places
        waiting = [asyncio.create_task(site.iiif(asked(50 + number % 5), receive, send)) for number in range(10)]
        await asyncio.to_thread(until, lambda: pool.waiting == 5, "five that wait")
        # When all clients leave
        leave.set()
        await asyncio.gather(*waiting)
        # Then nothing is answered, and the places are free
        assert sent == []
        later = [pool.submit(job, fetch) for _ in range(5)]
        with pytest.raises(RegionsBusy):
            pool.submit(job, fetch)
        for one in later:
            assert one.cancel()

    asyncio.run(go())
    pool.close()
    end.set()
    assert busy.exception(20) is not None


def test_an_idle_child_is_ended(site: Site) -> None:
    site.regions.pool.close()
    pool = site.regions.pool = Pool(1, 2, 20.0, 4 << 20, idle=0.05)
    assert get(site, "0,0,100,100/50,/0/default.jpg").status == 200
    (thread,) = pool.threads
    while children("pipeline.regions.child"):
        thread.join(0.02)
    assert get(site, "0,0,100,100/51,/0/default.jpg").status == 200
    assert pool.stats.started == 2
    pool.close()


def test_the_cache_keeps_its_size_and_forgets_the_oldest(tmp_path: Path) -> None:
    cache = RegionCache(tmp_path / "cache", 40_000, 0)
    for number in range(6):
        cache.put("a" * 64, f"{number}", bytes([number]) * 7000)
        cache.get("a" * 64, "0")
    # Then what was used stays, and the oldest of the others go
    kept = [number for number in range(6) if cache.get("a" * 64, f"{number}")]
    assert kept == [0, 3, 4, 5]
    assert cache.bytes <= 40_000
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()) <= 40_000
    # A cut-off file is not served
    victim = max((tmp_path / "cache").rglob("*"), key=lambda path: path.stat().st_mtime_ns if path.is_file() else 0)
    victim.write_bytes(victim.read_bytes()[:-1])
    assert len([number for number in range(6) if cache.get("a" * 64, f"{number}")]) == 3
    # Nor is anything stored that would take the space to be kept free
    cache.close()
    full = RegionCache(tmp_path / "full", 40_000, 1 << 62)
    full.put("a" * 64, "x", b"x" * 100)
    assert full.get("a" * 64, "x") is None
    # Two gateways do not remove each other's files
    one, other = RegionCache(tmp_path / "both", 40_000, 0), RegionCache(tmp_path / "both", 40_000, 0)
    one.put("a" * 64, "x", b"x" * 100)
    assert other.get("a" * 64, "x") is None
    assert one.get("a" * 64, "x") == b"x" * 100
    one.close()
    other.close()


def children(module: str) -> list[int]:
    """The process ids of this process's children that run a module."""
    found = []
    for process in psutil.Process().children():
        try:
            if module in process.cmdline():
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_thin_strip_and_a_pixel_are_images_like_any(empty: Site) -> None:
    empty.store(pictures.jpeg(empty.folder / "source.jpg", 3000, 3))
    assert image_of(get(empty, "full/90,/0/default.jpg")).size == (90, 1)
    assert image_of(get(empty, "2999,2,1,1/^500,400/90/default.png")).size == (400, 500)
    # A distorted size far beyond any other takes no more tiles than the largest result does
    strip = Geometry(300_000, 256)
    found = plan(strip, Region(0, 0, 300_000, 256, 300, 256), 100)
    assert found.columns * found.rows <= 100
