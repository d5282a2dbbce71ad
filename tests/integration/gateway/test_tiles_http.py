"""What is answered below /tiles/: every kind of address, caching, errors; from a real pyramid."""

from __future__ import annotations

import asyncio
import errno
import http.client
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.types import Message

from gateway.http.limits import Limits
from gateway.http.request_id import RequestId
from gateway.http_server_protocol import protocol_for
from gateway.tiles.pyramid_cache import PyramidCache
from gateway.tiles.quick_tiles import QuickTiles
from gateway.tiles.tile_app import Tiles
from pipeline.errors import StorageError
from pipeline.pyramids.geometry import SZI, Geometry
from pipeline.storage.directory import DirectoryStorage, pyramid_key
from tests.support.images import pictures
from tests.support.rigs.tile_rig import TILE_ID, Answer, Kiln, RemoteStorage, Server, Site, call, run

WIDTH, HEIGHT = 700, 301


@pytest.fixture(params=[DirectoryStorage, RemoteStorage])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> DirectoryStorage:
    kind: type[DirectoryStorage] = request.param
    return kind(tmp_path / "storage")


@pytest.fixture
def empty(storage: DirectoryStorage, tmp_path: Path, kiln: Kiln) -> Iterator[Site]:
    site = Site(storage, tmp_path, kiln)
    yield site
    site.pyramids.close()


@pytest.fixture
def site(empty: Site) -> Site:
    """With one pyramid of a JPEG."""
    empty.store(pictures.jpeg(empty.folder / "source.jpg", WIDTH, HEIGHT))
    return empty


def test_every_deep_zoom_tile_has_the_bytes_of_the_pyramid(site: Site) -> None:
    for (level, x, y), data in pictures.deep_zoom(site.stored("pyramid.szi")).items():
        answer = site.get(f"/tiles/{TILE_ID}_files/{level}/{x}_{y}.jpg")
        assert (answer.status, answer.body) == (200, data)


def test_inner_xyz_tiles_are_the_deep_zoom_tiles_and_edge_tiles_are_full_squares(site: Site) -> None:
    # Given a picture of 3 x 2 tiles, so that at zoom 2 only the upper two on the left are whole
    for x in range(3):
        for y in range(2):
            xyz = site.get(f"/tiles/{TILE_ID}/2/{x}/{y}.jpg")
            deep_zoom = site.get(f"/tiles/{TILE_ID}_files/10/{x}_{y}.jpg")
            assert xyz.status == deep_zoom.status == 200
            assert (xyz.body == deep_zoom.body) == ((x, y) in {(0, 0), (1, 0)})
            assert pictures.decode(xyz.body).shape == (256, 256, 3)
    assert pictures.decode(site.get(f"/tiles/{TILE_ID}/0/0/0.jpg").body).shape == (256, 256, 3)


def test_the_descriptor_says_what_deep_zoom_viewers_need(site: Site) -> None:
    answer = site.get(f"/tiles/{TILE_ID}.dzi")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/xml")
    image = ET.fromstring(answer.body)  # noqa: S314  # our own bytes
    space = "{http://schemas.microsoft.com/deepzoom/2008}"
    assert image.tag == f"{space}Image"
    assert image.attrib == {"Format": "jpg", "Overlap": "0", "TileSize": "256"}
    assert image.find(f"{space}Size").attrib == {"Width": "700", "Height": "301"}  # type: ignore[union-attr]  # is there


def test_the_tilejson_names_absolute_addresses_that_answer(site: Site) -> None:
    answer = site.get(f"/tiles/{TILE_ID}/tilejson.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert "immutable" not in answer.headers["cache-control"]
    document = json.loads(answer.body)
    template = f"http://tiles.example.org/tiles/{TILE_ID}/{{z}}/{{x}}/{{y}}.jpg"
    assert document["tiles"] == [template]
    assert {name: document[name] for name in ("tilejson", "scheme", "minzoom", "maxzoom")} == {
        "tilejson": "3.0.0",
        "scheme": "xyz",
        "minzoom": 0,
        "maxzoom": 2,
    }
    path = template.removeprefix("http://tiles.example.org").format(z=2, x=2, y=1)
    assert site.get(path).status == 200


def test_the_tilejsons_bounds_are_the_pictures_part_of_the_world(site: Site) -> None:
    # Given 700 x 301 pixels in a world of 1024 x 1024
    west, south, east, north = json.loads(site.get(f"/tiles/{TILE_ID}/tilejson.json").body)["bounds"]
    assert (west, north) == (-180, pytest.approx(85.0511287798))
    assert east == pytest.approx(360 * 700 / 1024 - 180)
    # By the spherical Mercator's own definition the south lies at y = 301 of 1024
    y = (1 - np.log(np.tan(np.radians(south)) + 1 / np.cos(np.radians(south))) / np.pi) / 2 * 1024
    assert y == pytest.approx(301)


def test_a_public_url_stands_in_the_tilejson(site: Site) -> None:
    tiles = Tiles(PyramidCache(site.catalogue.get, site.storage), public_url="https://cdn.example.org/maps/")
    answer = site.get(f"/tiles/{TILE_ID}/tilejson.json", app=tiles)
    document = json.loads(answer.body)
    tiles.pyramids.close()
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert document["tiles"] == [f"https://cdn.example.org/maps/tiles/{TILE_ID}/{{z}}/{{x}}/{{y}}.jpg"]


def test_the_thumbnail_is_a_small_jpeg(site: Site) -> None:
    answer = site.get(f"/tiles/{TILE_ID}/thumbnail.jpg")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert pictures.decode(answer.body).shape == (220, 512, 3)


def test_all_tiles_are_there_as_one_zip(site: Site) -> None:
    answer = site.get(f"/tiles/{TILE_ID}.szi")
    stored = site.stored("pyramid.szi").read_bytes()
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.headers["content-disposition"] == f'attachment; filename="{TILE_ID[:12]}.szi"'
    assert answer.headers["content-length"] == str(len(stored))
    assert answer.body == stored
    # It is a build's own, whose tiles another build may have in another order
    assert "immutable" not in answer.headers["cache-control"]
    head = site.get(f"/tiles/{TILE_ID}.szi", "HEAD")
    assert head == (200, answer.headers, b"")


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-299", 100, 300),
        ("bytes=100-", 100, None),
        ("bytes=-22", -22, None),
        ("bytes=0-999999999999", 0, None),
        ("bytes=-999999999999", 0, None),
    ],
)
def test_the_zip_is_given_by_ranges_too(site: Site, asked: str, first: int, end: int | None) -> None:
    stored = site.stored("pyramid.szi").read_bytes()
    etag = site.get(f"/tiles/{TILE_ID}.szi", "HEAD").headers["etag"]
    for known in (etag, None):
        condition: dict[str, Any] = {"if_range": known} if known else {}
        answer = site.get(f"/tiles/{TILE_ID}.szi", range=asked, **condition)
        assert (answer.status, answer.body) == (206, stored[first:end])
        begin = first % len(stored)
        assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(answer.body) - 1}/{len(stored)}"
        assert answer.headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize("asked", ["bytes=1-0", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=x-", "bytes 1-2"])
def test_a_range_that_is_none_gives_the_whole(site: Site, asked: str) -> None:
    assert site.get(f"/tiles/{TILE_ID}.szi", range=asked).status == 200
    assert site.get(f"/tiles/{TILE_ID}.szi", range="bytes=0-0", if_range='"other"').status == 200


@pytest.mark.parametrize("asked_range", ["", "bytes=0-9"])
def test_an_archive_that_a_client_has_is_not_sent_again(asked_range: str, site: Site) -> None:
    path = f"/tiles/{TILE_ID}.szi"
    etag = site.get(path, "HEAD").headers["etag"]
    for asked in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = site.get(path, if_none_match=asked, range=asked_range)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
        assert "content-length" not in answer.headers
    # And where another build took its place, it is
    assert site.get(path, if_none_match='"other"').body == site.stored("pyramid.szi").read_bytes()


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_length(site: Site, asked: str) -> None:
    answer = site.get(f"/tiles/{TILE_ID}.szi", range=asked)
    assert (answer.status, json.loads(answer.body)["code"]) == (416, "invalid_request")
    assert answer.headers["content-range"] == f"bytes */{site.stored('pyramid.szi').stat().st_size}"
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_reader_who_leaves_is_not_read_for_any_longer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file of many pieces
    monkeypatch.setattr("gateway.tiles.build_files.PIECE", 512)
    pieces: list[Message] = []

    async def story() -> None:
        left = asyncio.Event()

        async def send(message: Message) -> None:
            pieces.append(message)
            if len(pieces) == 5:
                left.set()
            await asyncio.sleep(0)

        async def receive() -> Message:
            await left.wait()
            return {"type": "http.disconnect"}

        scope = {"type": "http", "method": "GET", "path": f"/tiles/{TILE_ID}.szi", "headers": []}
        await site.tiles(scope, receive, send)

    # When its reader leaves in the middle, then no more than what was on its way is read
    run(story())
    assert 5 <= len(pieces) < 10 < site.stored("pyramid.szi").stat().st_size / 512


def test_a_long_read_goes_on_after_the_cache_has_let_go(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.tiles.build_files.PIECE", 4096)
    stored = site.stored("pyramid.szi").read_bytes()

    async def story() -> bytes:
        pyramid = await site.pyramids.get(TILE_ID)
        pieces = pyramid.files.stream("pyramid.szi", 0, len(stored))
        data = await anext(pieces)
        site.pyramids.forget(pyramid)
        return data + b"".join([piece async for piece in pieces])

    assert run(story()) == stored


def test_a_transparent_pictures_tiles_are_png(empty: Site) -> None:
    pixels = pictures.noise(300, 200, bands=4)
    empty.store(pictures.save(pixels, empty.folder / "source.png"))
    answer = empty.get(f"/tiles/{TILE_ID}_files/9/0_0.png")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert np.array_equal(pictures.decode(answer.body), pixels[:, :256])
    assert empty.get(f"/tiles/{TILE_ID}_files/9/0_0.jpg").status == 404
    assert b'Format="png"' in empty.get(f"/tiles/{TILE_ID}.dzi").body


def test_tiles_of_512_pixels_are_served_alike(empty: Site) -> None:
    empty.store(pictures.jpeg(empty.folder / "source.jpg", WIDTH, HEIGHT), tile_size=512)
    assert pictures.decode(empty.get(f"/tiles/{TILE_ID}/1/0/0.jpg").body).shape == (512, 512, 3)
    assert pictures.decode(empty.get(f"/tiles/{TILE_ID}_files/10/1_0.jpg").body).shape == (301, 188, 3)


PATHS = [
    f"/tiles/{TILE_ID}.dzi",
    f"/tiles/{TILE_ID}_files/10/2_1.jpg",
    f"/tiles/{TILE_ID}/2/2/1.jpg",
    f"/tiles/{TILE_ID}/2/0/0.jpg",
    f"/tiles/{TILE_ID}/thumbnail.jpg",
]


@pytest.mark.parametrize("path", PATHS)
def test_what_never_changes_may_be_kept_for_ever_and_read_by_anyone(path: str, site: Site) -> None:
    headers = site.get(path).headers
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["etag"].startswith('"')


@pytest.mark.parametrize("path", [*PATHS, f"/tiles/{TILE_ID}/tilejson.json"])
def test_a_known_etag_is_answered_with_304_and_no_body(path: str, site: Site) -> None:
    etag = site.get(path).headers["etag"]
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = site.get(path, if_none_match=given)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == etag
        assert "content-length" not in answer.headers
    assert site.get(path, if_none_match='"other"').status == 200


def test_no_two_addresses_share_an_etag(site: Site) -> None:
    etags = [site.get(path).headers["etag"] for path in PATHS]
    etags += [site.get(f"/tiles/{TILE_ID}_files/{level}/0_0.jpg").headers["etag"] for level in range(11)]
    assert len(set(etags)) == len(etags)


@pytest.mark.parametrize("path", [*PATHS, f"/tiles/{TILE_ID}/tilejson.json"])
def test_head_gives_gets_headers_without_a_body(path: str, site: Site) -> None:
    get, head = site.get(path), site.get(path, "HEAD")
    assert head == (200, get.headers, b"")
    assert get.headers["content-length"] == str(len(get.body))


OUTSIDE = [
    "/tiles/",
    "/tiles/x",
    "/tiles/x.dzi",
    f"/tiles/{TILE_ID}",
    f"/tiles/{TILE_ID}/",
    f"/tiles/{TILE_ID.upper()}.dzi",
    f"/tiles/{TILE_ID}.dzi/more",
    f"/tiles/{TILE_ID}.xml",
    f"/tiles/{TILE_ID}/dzi",
    f"/tiles/{TILE_ID}.szi/more",
    f"/tiles/{TILE_ID}_files/",
    f"/tiles/{TILE_ID}_files/10",
    f"/tiles/{TILE_ID}_files/10/",
    f"/tiles/{TILE_ID}_files/11/0_0.jpg",
    f"/tiles/{TILE_ID}_files/10/3_0.jpg",
    f"/tiles/{TILE_ID}_files/10/0_2.jpg",
    f"/tiles/{TILE_ID}_files/10/-1_0.jpg",
    f"/tiles/{TILE_ID}_files/10/0_0.png",
    f"/tiles/{TILE_ID}_files/10/0_0",
    f"/tiles/{TILE_ID}_files/10/0_0.jpg.jpg",
    f"/tiles/{TILE_ID}_files/10/00_0.jpg",
    f"/tiles/{TILE_ID}_files/10/0_0_0.jpg",
    f"/tiles/{TILE_ID}_files/10/\u0660_0.jpg",
    f"/tiles/{TILE_ID}_files/9999999999999999999999/0_0.jpg",
    f"/tiles/{TILE_ID}/10/0_0.jpg",
    f"/tiles/{TILE_ID}/3/0/0.jpg",
    f"/tiles/{TILE_ID}/2/3/0.jpg",
    f"/tiles/{TILE_ID}/2/0/2.jpg",
    f"/tiles/{TILE_ID}/2/0/-1.jpg",
    f"/tiles/{TILE_ID}/2/0/0.png",
    f"/tiles/{TILE_ID}/2/0/0/0.jpg",
    f"/tiles/{TILE_ID}/pyramid.json",
    f"/tiles/{TILE_ID}/../../../etc/passwd",
    f"/tiles/{'f' * 64}.dzi",
    f"/tiles/{'f' * 64}/0/0/0.jpg",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_lies_outside_is_not_found(path: str, site: Site) -> None:
    answer = site.get(path, app=RequestId(site.tiles), x_request_id="mine-1")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.headers["access-control-allow-origin"] == "*"
    problem = json.loads(answer.body)
    assert (problem["code"], problem["success"], problem["status"]) == ("not_found", False, 404)
    assert problem["request_id"] == "mine-1"


def test_an_address_that_is_none_asks_nobody(site: Site) -> None:
    site.get("/tiles/x.dzi")
    site.get(f"/tiles/{TILE_ID[:-1]}/0/0/0.jpg")
    assert site.catalogue.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(method: str, site: Site) -> None:
    answer = site.get(PATHS[0], method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert json.loads(answer.body)["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("tiles.example.org", "http://tiles.example.org"),
        ("tiles.example.org:8443", "http://tiles.example.org:8443"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("", "http://127.0.0.1:8000"),
        ('x"><script>', "http://127.0.0.1:8000"),
        ("user@example.org", "http://127.0.0.1:8000"),
        ("example.org/evil?", "http://127.0.0.1:8000"),
        ("a b", "http://127.0.0.1:8000"),
    ],
)
def test_no_address_is_made_of_what_is_no_host(host: str, base: str, site: Site) -> None:
    document = json.loads(site.get(f"/tiles/{TILE_ID}/tilejson.json", host=host).body)
    assert document["tiles"] == [f"{base}/tiles/{TILE_ID}/{{z}}/{{x}}/{{y}}.jpg"]


def test_a_browser_may_ask_first(site: Site) -> None:
    answer = site.get(PATHS[1], "OPTIONS", origin="https://elsewhere.example", access_control_request_method="GET")
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "GET" in answer.headers["access-control-allow-methods"]


def test_without_statussvc_what_is_open_is_served_and_the_rest_is_told_to_come_again(site: Site) -> None:
    async def story() -> None:
        # Given one pyramid that was looked at, and statussvc away
        assert (await call(site.tiles, PATHS[0])).status == 200
        site.catalogue.away = True
        # Then that one is still served
        assert (await call(site.tiles, PATHS[1])).status == 200
        # And for another the client hears when to come again
        answer = await call(site.tiles, f"/tiles/{'f' * 64}.dzi")
        assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
        assert int(answer.headers["retry-after"]) > 0
        assert json.loads(answer.body)["code"] == "service_unavailable"

    run(story())


def test_a_viewers_first_burst_asks_statussvc_once(site: Site) -> None:
    async def story() -> list[Answer]:
        paths = [f"/tiles/{TILE_ID}_files/10/{x}_{y}.jpg" for x in range(3) for y in range(2)] * 5
        return await asyncio.gather(*(call(site.tiles, path) for path in paths))

    assert {answer.status for answer in run(story())} == {200}
    assert site.catalogue.asked == [TILE_ID]


def test_a_first_asker_who_leaves_does_not_take_the_pyramid_from_the_others(site: Site) -> None:
    async def story() -> Answer:
        first = asyncio.create_task(call(site.tiles, PATHS[1]))
        second = asyncio.create_task(call(site.tiles, PATHS[1]))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert run(story()).status == 200
    assert site.catalogue.asked == [TILE_ID]


@pytest.mark.parametrize("path", [PATHS[1], PATHS[2], PATHS[4]])
def test_a_build_that_was_swept_is_replaced_by_the_one_that_counts(path: str, site: Site) -> None:
    async def story() -> None:
        # Given a build that was read from
        assert (await call(site.tiles, path)).status == 200
        # When another takes its place and it is swept
        site.store(site.folder / "source.jpg", run="b")
        site.storage.delete_prefix(pyramid_key(TILE_ID, "a"))
        # Then tiles come from the other
        assert (await call(site.tiles, path)).status == 200
        assert (await site.tiles.pyramids.get(TILE_ID)).build == "b"
        assert site.catalogue.asked == [TILE_ID, TILE_ID]

    run(story())


@pytest.mark.parametrize("path", [PATHS[1], PATHS[2], PATHS[4]])
@pytest.mark.parametrize("opened", [True, False])
def test_a_build_that_is_gone_is_not_found(path: str, opened: bool, site: Site) -> None:
    async def story() -> None:
        if opened:
            assert (await call(site.tiles, path)).status == 200
        site.storage.delete_prefix(pyramid_key(TILE_ID, "a"))
        assert (await call(site.tiles, path)).status == 404

    run(story())


def test_an_index_of_another_pyramid_serves_nothing(site: Site) -> None:
    site.catalogue.pyramids[TILE_ID].width += 256
    answer = site.get(PATHS[1])
    assert answer.status == 503
    assert json.loads(answer.body)["code"] == "storage_unavailable"


def test_a_format_of_a_newer_tiler_is_told_to_come_again(site: Site) -> None:
    # Given a pyramid whose tiles have a format that this version lacks, during an upgrade
    site.catalogue.pyramids[TILE_ID].format = 99  # type: ignore[assignment]  # enums are ints in messages
    # When it is asked for, then that is no fault of the address, nor of this gateway
    answer = site.get(f"/tiles/{TILE_ID}.dzi")
    assert answer.status == 503


def test_only_so_many_pyramids_stay_open_and_the_least_used_goes_first(tmp_path: Path, kiln: Kiln) -> None:
    # Given three pyramids and room for two
    site = Site(DirectoryStorage(tmp_path / "storage"), tmp_path, kiln)
    source = pictures.jpeg(tmp_path / "source.jpg", 30, 20)
    first, second, third = (letter * 64 for letter in "abc")
    for tile_id in (first, second, third):
        site.store(source, tile_id=tile_id, run=tile_id[:8])
    cache = PyramidCache(site.catalogue.get, site.storage, capacity=2)

    async def story() -> None:
        before = descriptors()
        one, two = await cache.get(first), await cache.get(second)
        held = descriptors() - before
        # When the first is used again and the third comes in
        await cache.get(first)
        await cache.get(third)
        # Then the second was closed, and no more is held than for two
        assert descriptors() - before == held > 0
        assert await cache.get(first) is one
        assert await cache.get(second) is not two
        cache.close()
        assert descriptors() == before

    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    run(story())


def test_a_burst_over_more_pyramids_than_stay_open_is_served(tmp_path: Path, kiln: Kiln) -> None:
    site = Site(DirectoryStorage(tmp_path / "storage"), tmp_path, kiln)
    source = pictures.jpeg(tmp_path / "source.jpg", 30, 20)
    tile_ids = [f"{number:064x}" for number in range(4)]
    for tile_id in tile_ids:
        site.store(source, tile_id=tile_id, run=tile_id[-8:])
    site.tiles.pyramids = PyramidCache(site.catalogue.get, site.storage, capacity=1)

    async def story() -> list[Answer]:
        return await asyncio.gather(*(call(site.tiles, f"/tiles/{tile_id}/0/0/0.jpg") for tile_id in tile_ids * 5))

    assert {answer.status for answer in run(story())} == {200}
    site.pyramids.close()


def test_files_of_a_deleted_build_are_let_go(tmp_path: Path, kiln: Kiln) -> None:
    site = Site(DirectoryStorage(tmp_path / "storage"), tmp_path, kiln)
    site.store(pictures.jpeg(tmp_path / "source.jpg", 30, 20))

    async def story() -> None:
        await site.tiles.pyramids.get(TILE_ID)
        site.storage.delete_prefix(pyramid_key(TILE_ID, "a"))
        assert any("pyramid.szi (deleted)" in name for name in held())
        # When the cache looks for deleted builds
        await site.tiles.pyramids.drop_deleted()
        # Then their space is free
        assert not any("(deleted)" in name for name in held())

    def held() -> list[str]:
        links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return [link for link in links if link.startswith(str(tmp_path))]

    run(story())


def test_a_storage_that_fails_is_told_to_come_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("the bucket is away")

    monkeypatch.setattr(site.storage, "local_path", lambda _: None)
    monkeypatch.setattr(site.storage, "get_range", fail)
    answer = site.get(PATHS[1])
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "storage_unavailable")


@pytest.mark.parametrize("storage", [DirectoryStorage], indirect=True)
def test_a_handle_that_turned_stale_is_opened_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real, answers_left = os.fstat, 0
    expected = site.get(PATHS[1]).body

    # Given a build that is open, and whose file server was started anew: what was opened before stands for nothing
    def fstat(descriptor: int) -> os.stat_result:
        nonlocal answers_left
        if answers_left:
            answers_left -= 1
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(descriptor)

    monkeypatch.setattr("gateway.tiles.build_files.os.fstat", fstat)

    async def story() -> None:
        nonlocal answers_left
        await call(site.tiles, PATHS[1])
        opened = await site.pyramids.get(TILE_ID)
        # When a tile is asked for, then it comes, from files that were opened anew
        answers_left = 2
        answer = await call(site.tiles, PATHS[1])
        assert (answer.status, answer.body, answers_left) == (200, expected, 0)
        assert await site.pyramids.get(TILE_ID) is not opened
        # And what tends the cache lets go of such files by itself
        answers_left = 1
        await site.pyramids.drop_deleted()
        assert site.pyramids.opened(TILE_ID) is None

    run(story())


def test_a_disk_that_cannot_be_read_is_told_to_come_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    site.get(PATHS[1])
    monkeypatch.setattr("pipeline.storage.directory.os.pread", fail)
    monkeypatch.setattr("gateway.tiles.build_files.os.preadv", fail)
    answer = site.get(PATHS[1])
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "storage_unavailable")
    assert answer.headers["retry-after"]


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Changes bytes in place: whoever has the file open sees it."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


TILE = f"/tiles/{TILE_ID}_files/10/1_0.jpg"
ENTRY = 16 + 16 * Geometry(WIDTH, HEIGHT).deep_zoom_position(10, 1, 0)
"""A tile, and where its entry lies in the index."""

LOSSES: list[tuple[str, Callable[[Site], object]]] = [
    ("the archive is cut short", lambda site: os.truncate(site.stored("pyramid.szi"), 16)),
    ("the index is cut short", lambda site: os.truncate(site.stored("tiles.idx"), 20)),
    ("the index is empty", lambda site: os.truncate(site.stored("tiles.idx"), 0)),
    ("the index is another file", lambda site: overwrite(site.stored("tiles.idx"), 0, b"JUNK")),
    ("an entry names gigabytes", lambda site: overwrite(site.stored("tiles.idx"), ENTRY + 8, b"\xff\xff\xff\xff")),
    ("an entry names no part", lambda site: overwrite(site.stored("tiles.idx"), ENTRY + 12, b"\2")),
    ("an entry leads behind the end", lambda site: overwrite(site.stored("tiles.idx"), ENTRY + 4, b"\7")),
]


@pytest.mark.parametrize("lose", [loss[1] for loss in LOSSES], ids=[loss[0] for loss in LOSSES])
@pytest.mark.parametrize("opened", [True, False])
def test_what_the_disk_has_lost_of_a_build_is_no_wrong_address_and_ends_nothing(
    opened: bool, lose: Callable[[Site], object], site: Site
) -> None:
    async def story() -> list[Answer]:
        if opened:
            await call(site.tiles, f"/tiles/{TILE_ID}.dzi")
        # Given a file of a build that is damaged where it lies, whether it is open or not
        lose(site)
        return [await call(site.tiles, TILE) for _ in range(2)]

    for answer in run(story()):
        if answer.status == 200:
            # An index that was read whole before is none the worse
            assert (
                answer.body == pictures.deep_zoom(site.kiln.build(site.folder / "source.jpg", 256)[0] / SZI)[10, 1, 0]
            )
        else:
            # Then the tile cannot be had now; no cache is to keep that there is none
            assert (answer.status, json.loads(answer.body)["code"]) == (503, "storage_unavailable")


def test_a_server_outlives_an_index_that_is_cut_short_under_it(site: Site) -> None:
    with Server(
        RequestId(site.tiles), protocol_for(QuickTiles(site.pyramids, site.addresses), Limits(1000, 60.0, 60.0))
    ) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def status(path: str) -> int:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            return response.status

        # Given tiles that were looked at, and then an index that ends before their entries
        assert status(TILE) == status(TILE) == 200
        os.truncate(site.stored("tiles.idx"), 16)
        # Then what is asked for next is answered, whatever it is, and not by the end of the process
        assert {status(f"/tiles/{TILE_ID}_files/10/2_{row}.jpg") for row in range(2)} <= {200, 503}
        assert status(f"/tiles/{TILE_ID}/9/9/9.jpg") in (404, 503)
        connection.close()


def test_a_real_server_serves_tiles_304s_heads_and_problems(site: Site) -> None:
    with Server(RequestId(site.tiles)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def ask(method: str, path: str, **headers: str) -> Answer:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )

        # One connection, kept alive over all kinds of answers
        tile = ask("GET", PATHS[2])
        assert (tile.status, tile.headers["content-type"]) == (200, "image/jpeg")
        assert pictures.decode(tile.body).shape == (256, 256, 3)
        assert ask("GET", PATHS[2], **{"If-None-Match": tile.headers["etag"]})[::2] == (304, b"")
        head = ask("HEAD", PATHS[2])
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(tile.body)))
        missing = ask("HEAD", f"/tiles/{TILE_ID}/9/9/9.jpg")
        assert (missing.status, missing.body) == (404, b"")
        document = json.loads(ask("GET", f"/tiles/{TILE_ID}/tilejson.json").body)
        assert document["tiles"][0].startswith(f"http://127.0.0.1:{port}/tiles/{TILE_ID}/")
        refused = ask("POST", PATHS[2])
        assert (refused.status, json.loads(refused.body)["request_id"]) == (405, refused.headers["x-request-id"])
        connection.close()
