"""`tilewright export`, from a real pyramid behind a real server: what lies in the folder, and when nothing does."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest
from pmtiles.reader import MemorySource, Reader, all_tiles
from pmtiles.tile import TileType
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from pipeline.pyramids.geometry import Format, Geometry
from pipeline.pyramids.index import Index
from pipeline.storage.directory import DirectoryStorage
from tests.support.images import pictures
from tests.support.rigs.command import Ended, run_command
from tests.support.rigs.tile_rig import TILE_ID, Kiln, Server, Site
from tilewright.commands import export as exporting
from tilewright.commands.exports import trees
from tilewright.commands.exports.tiles import Tiles
from tilewright.commands.exports.trees import NotExported
from tilewright.commands.layout import Layout

ID = "custom_0123abcd"
WIDTH, HEIGHT = 700, 301
GEOMETRY = Geometry(WIDTH, HEIGHT)


class Service:
    """Answers the API's one question about the dataset, and hands out its tiles, as far as `most` bytes of the zip."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.dataset: dict[str, Any] = {
            "dataset_id": ID,
            "status": "ready",
            "tile_info": {"tile_id": TILE_ID, "width": WIDTH, "height": HEIGHT, "tile_size": 256, "format": "jpg"},
        }
        self.most: int | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == f"/api/datasets/{ID}":
            await JSONResponse(self.dataset)(scope, receive, send)
        elif scope["path"].startswith("/iiif/"):
            await self.site.iiif(scope, receive, send)
        elif self.most is not None and scope["path"].endswith(".szi"):
            headers = [(b"content-length", b"%d" % (2 * self.most))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": bytes(self.most), "more_body": True})
            raise ConnectionAbortedError("as by a power cut")
        else:
            await self.site.tiles(scope, receive, send)


Export = Callable[..., Ended]


@pytest.fixture
def service(tmp_path: Path, kiln: Kiln) -> Iterator[Service]:
    site = Site(DirectoryStorage(tmp_path / "storage"), tmp_path, kiln)
    site.store(pictures.jpeg(tmp_path / "source.jpg", WIDTH, HEIGHT))
    yield Service(site)
    site.pyramids.close()


@pytest.fixture
def export(service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Export]:
    """Runs the command in this process, against the service."""
    with Server(service) as port:
        monkeypatch.setenv("TILEWRIGHT_SERVER", f"http://127.0.0.1:{port}")

        def run(*arguments: str | Path) -> Ended:
            return run_command(monkeypatch, capsys, "export", ID, *map(str, arguments))

        yield run


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_deep_zoom_tree_has_every_tile_and_a_descriptor(service: Service, export: Export, tmp_path: Path) -> None:
    # When a dataset is exported into a folder that is not there yet
    ended = export(tmp_path / "site" / "earth")
    # Then the descriptor is named, and each step was told
    assert (ended.code, ended.out) == (0, f"{tmp_path}/site/earth/{ID}.dzi\n")
    assert ended.err.splitlines() == ["Downloading…", "Unpacking…", "Verifying…"]
    # And the folder holds the descriptor and all tiles as the server gives them, and nothing else
    stored = pictures.deep_zoom(service.site.stored("pyramid.szi"))
    expected = {f"{ID}_files/{level}/{x}_{y}.jpg": data for (level, x, y), data in stored.items()}
    expected[f"{ID}.dzi"] = service.site.get(f"/tiles/{TILE_ID}.dzi").body
    service.site.pyramids.close()
    assert files(tmp_path / "site" / "earth") == expected
    # And others may read it
    assert (tmp_path / "site" / "earth" / f"{ID}_files").stat().st_mode & 0o005 == 0o005


def test_an_xyz_tree_has_every_tile_in_full_and_a_tilejson(service: Service, export: Export, tmp_path: Path) -> None:
    ended = export(tmp_path / "site", "--as", "xyz", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, f"{tmp_path}/site/tilejson.json\n", "")
    found = files(tmp_path / "site")
    document = json.loads(found.pop("tilejson.json"))
    assert document["tiles"] == ["{z}/{x}/{y}.jpg"]
    assert (document["maxzoom"], document["width"]) == (2, WIDTH)
    # Every tile of every zoom is there, as it is served
    expected = {}
    for zoom in range(GEOMETRY.max_zoom + 1):
        level = GEOMETRY.level(GEOMETRY.level_of_zoom(zoom))
        for x in range(level.columns):
            for y in range(level.rows):
                path = f"{zoom}/{x}/{y}.jpg"
                expected[path] = service.site.get(f"/tiles/{TILE_ID}/{path}").body
                service.site.pyramids.close()
    assert found == expected


def test_a_tilejson_names_the_address_that_the_folder_will_have(export: Export, tmp_path: Path) -> None:
    assert export(tmp_path / "site", "--as", "xyz", "--url", "https://tiles.example.org/earth/").code == 0
    document = json.loads((tmp_path / "site/tilejson.json").read_text())
    assert document["tiles"] == ["https://tiles.example.org/earth/{z}/{x}/{y}.jpg"]


@pytest.mark.parametrize("layout", ["dzi", "szi"])
def test_an_address_that_nothing_would_name_is_refused(layout: str, export: Export, tmp_path: Path) -> None:
    ended = export(tmp_path / "site", "--as", layout, "--url", "https://tiles.example.org/earth/")
    assert ended.code == 2
    assert f"not for {layout}" in ended.err
    assert not (tmp_path / "site").exists()


def test_an_szi_is_the_stored_file_and_a_zip_to_others(service: Service, export: Export, tmp_path: Path) -> None:
    ended = export(tmp_path / "site", "--as", "szi")
    assert (ended.code, ended.err.splitlines()) == (0, ["Downloading…", "Verifying…"])
    assert files(tmp_path / "site") == {f"{ID}.szi": service.site.stored("pyramid.szi").read_bytes()}
    with zipfile.ZipFile(tmp_path / "site" / f"{ID}.szi") as archive:
        assert archive.testzip() is None


def test_a_folder_that_is_not_empty_is_left_alone_unless_told(export: Export, tmp_path: Path) -> None:
    # Given a folder with something in it
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("mine")
    # When an export is to go there, then it is refused
    refused = export(tmp_path / "site")
    assert (refused.code, refused.out) == (1, "")
    assert "is not empty" in refused.err
    assert "--force" in refused.err
    assert files(tmp_path / "site") == {"index.html": b"mine"}
    # And with --force it is written beside it
    assert export(tmp_path / "site", "--force").code == 0
    assert (tmp_path / "site/index.html").read_text() == "mine"
    assert (tmp_path / f"site/{ID}.dzi").exists()


def test_a_second_export_takes_the_place_of_the_first(export: Export, tmp_path: Path) -> None:
    # Given an export with a tile too many
    export(tmp_path / "site")
    first = files(tmp_path / "site")
    (tmp_path / f"site/{ID}_files/12").mkdir()
    (tmp_path / f"site/{ID}_files/12/0_0.jpg").write_text("of a larger picture")
    # When it is exported again, then that is gone
    assert export(tmp_path / "site", "--force").code == 0
    assert files(tmp_path / "site") == first


def test_a_file_in_the_folders_place_is_named(export: Export, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("a file")
    ended = export(tmp_path / "site")
    assert ended.code == 1
    assert f"{tmp_path}/site: File exists." in ended.err


def test_an_export_that_breaks_off_leaves_nothing_behind(service: Service, export: Export, tmp_path: Path) -> None:
    # Given a server that dies in the middle
    service.most = 5000
    # When an export is tried, then it fails, and the folder is as empty as before
    ended = export(tmp_path / "site")
    assert ended.code == 3
    assert "broke after" in ended.err
    assert list((tmp_path / "site").iterdir()) == []
    # And it can be tried again
    service.most = None
    assert export(tmp_path / "site").code == 0


def test_what_a_killed_export_has_left_counts_for_nothing(export: Export, tmp_path: Path) -> None:
    # Given what lies there after a kill
    (tmp_path / "site/.tilewright-export-abc").mkdir(parents=True)
    (tmp_path / "site/.tilewright-export-abc/x.szi").write_text("half")
    # When the export is tried again, then the folder counts as empty, and has nothing but the export at the end
    assert export(tmp_path / "site").code == 0
    assert {path.name for path in (tmp_path / "site").iterdir()} == {f"{ID}.dzi", f"{ID}_files"}


def test_two_exports_into_one_folder_do_not_take_each_others_files(export: Export, tmp_path: Path) -> None:
    # Given an export at work, which has written something already
    site = tmp_path / "site"
    with exporting.unfinished(site, force=False) as work:
        (work / "half").write_text("half")
        # When another begins in the same folder, then it leaves at once, whatever it is told
        for force in ((), ("--force",)):
            ended = export(site, *force)
            assert (ended.code, ended.err) == (
                1,
                f"tilewright: Another export is writing into {site}. Wait until it ends, or choose another folder.\n",
            )
        # And the first has what it had
        assert (work / "half").read_text() == "half"
    assert export(site).code == 0


@pytest.mark.parametrize("layout", [layout.value for layout in Layout])
def test_a_damaged_tile_is_not_exported(service: Service, export: Export, tmp_path: Path, layout: str) -> None:
    # Given a byte of one tile that the disk has changed
    path = service.site.stored("pyramid.szi")
    data = bytearray(path.read_bytes())
    tile = pictures.deep_zoom(path)[10, 1, 0]
    data[data.index(tile) + 500] ^= 1
    path.write_bytes(data)
    # When it is exported, then the tile is named, and nothing is there
    url = ["--url", "https://example.org/earth"] if layout == "iiif" else []
    ended = export(tmp_path / "site", "--as", layout, *url)
    assert ended.code == 1
    assert "/10/1_0.jpeg is damaged" in ended.err
    assert list((tmp_path / "site").iterdir()) == []


def test_what_is_no_pyramid_is_not_exported(service: Service, export: Export, tmp_path: Path) -> None:
    service.site.stored("pyramid.szi").write_bytes(b"something else")
    ended = export(tmp_path / "site")
    assert (ended.code, list((tmp_path / "site").iterdir())) == (1, [])
    assert f"The tiles of {ID} do not match its pyramid: not a zip." in ended.err


def test_a_picture_of_another_size_is_not_exported(service: Service, export: Export, tmp_path: Path) -> None:
    service.dataset["tile_info"] = {"tile_id": TILE_ID, "width": 900, "height": 301, "tile_size": 256, "format": "jpg"}
    ended = export(tmp_path / "site")
    assert (ended.code, list((tmp_path / "site").iterdir())) == (1, [])
    assert "are missing" in ended.err


def test_a_dataset_that_is_not_ready_says_so(service: Service, export: Export, tmp_path: Path) -> None:
    service.dataset = {"dataset_id": ID, "status": "processing", "tile_info": None}
    ended = export(tmp_path / "site")
    assert ended.code == 1
    assert f"tilewright status {ID}" in ended.err
    assert not (tmp_path / "site").exists()


def served(service: Service, path: str, app: Any = None) -> bytes:
    """What the gateway serves at a path."""
    answer = service.site.get(path, app=app)
    service.site.pyramids.close()
    assert answer.status == 200, path
    return answer.body


def map_tiles(service: Service) -> dict[tuple[int, int, int], bytes]:
    """Every XYZ tile, as it is served."""
    found = {}
    for zoom in range(GEOMETRY.max_zoom + 1):
        level = GEOMETRY.level(GEOMETRY.level_of_zoom(zoom))
        for x in range(level.columns):
            for y in range(level.rows):
                found[zoom, x, y] = served(service, f"/tiles/{TILE_ID}/{zoom}/{x}/{y}.jpg")
    return found


def test_a_tms_tree_counts_rows_from_the_south(service: Service, export: Export, tmp_path: Path) -> None:
    service.dataset["name"] = "Earth & <Moon>"
    ended = export(tmp_path / "site", "--as", "tms")
    assert (ended.code, ended.out) == (0, f"{tmp_path}/site/tilemapresource.xml\n")
    found = files(tmp_path / "site")
    described = ET.fromstring(found.pop("tilemapresource.xml"))  # noqa: S314  the test's own
    assert described.findtext("Title") == "Earth & <Moon>"
    assert [one.get("href") for one in described.iter("TileSet")] == ["0", "1", "2"]
    box = described.find("BoundingBox")
    assert box is not None
    assert float(box.get("maxy", "")) == pytest.approx(20037508.34, abs=0.01)
    # The image covers 700 x 301 of 1,024 x 1,024 pixels, from the upper left
    width = float(box.get("maxx", "")) - float(box.get("minx", ""))
    height = float(box.get("maxy", "")) - float(box.get("miny", ""))
    assert width / height == pytest.approx(WIDTH / HEIGHT)
    assert found == {f"{z}/{x}/{2**z - 1 - y}.jpg": data for (z, x, y), data in map_tiles(service).items()}


def test_an_mbtiles_file_has_every_map_tile(service: Service, export: Export, tmp_path: Path) -> None:
    service.dataset |= {"name": "Earth", "attribution": {"text": "Map Library", "url": None}}
    ended = export(tmp_path / "site", "--as", "mbtiles")
    assert (ended.code, ended.out) == (0, f"{tmp_path}/site/{ID}.mbtiles\n")
    assert ended.err.splitlines() == ["Downloading…", "Fetching edge tiles…", "Writing…", "Verifying…"]
    assert [path.name for path in (tmp_path / "site").iterdir()] == [f"{ID}.mbtiles"]
    with closing(sqlite3.connect(tmp_path / f"site/{ID}.mbtiles")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        metadata = dict(database.execute("SELECT name, value FROM metadata"))
        tiles = {(z, x, 2**z - 1 - row): data for z, x, row, data in database.execute("SELECT * FROM tiles")}
    assert tiles == map_tiles(service)
    assert (metadata["name"], metadata["format"], metadata["attribution"]) == ("Earth", "jpg", "Map Library")
    assert (metadata["minzoom"], metadata["maxzoom"]) == ("0", "2")
    bounds = json.loads(served(service, f"/tiles/{TILE_ID}/tilejson.json"))["bounds"]
    assert [float(edge) for edge in metadata["bounds"].split(",")] == bounds


def test_a_pmtiles_file_has_every_map_tile(service: Service, export: Export, tmp_path: Path) -> None:
    service.dataset["name"] = "Earth"
    ended = export(tmp_path / "site", "--as", "pmtiles")
    assert (ended.code, ended.out) == (0, f"{tmp_path}/site/{ID}.pmtiles\n")
    (data,) = files(tmp_path / "site").values()
    source = MemorySource(data)
    assert dict(all_tiles(source)) == map_tiles(service)
    reader = Reader(source)
    header = reader.header()
    assert (header["tile_type"], header["min_zoom"], header["max_zoom"]) == (TileType.JPEG, 0, 2)
    assert header["clustered"] is True
    assert header["min_lon_e7"] == -180 * 10**7
    assert reader.metadata()["name"] == "Earth"


def test_an_iiif_tree_has_all_that_its_info_lists(service: Service, export: Export, tmp_path: Path) -> None:
    # When it is exported for an address
    ended = export(tmp_path / "site", "--as", "iiif", "--url", "https://example.org/earth/")
    assert (ended.code, ended.out) == (0, f"{tmp_path}/site/info.json\n")
    found = files(tmp_path / "site")
    info = json.loads(found.pop("info.json"))
    assert (info["id"], info["profile"]) == ("https://example.org/earth", "level0")
    # Then each file is what the gateway serves at the same path
    assert found == {path: served(service, f"/iiif/{TILE_ID}/{path}", service.site.iiif) for path in found}
    # And every size and tile that a client may ask for is there
    for size in info["sizes"]:
        assert f"full/{size['width']},{size['height']}/0/default.jpg" in found
    assert "full/max/0/default.jpg" in found
    (tiles,) = info["tiles"]
    for scale in tiles["scaleFactors"]:
        step = tiles["width"] * scale
        for x in range(0, WIDTH, step):
            for y in range(0, HEIGHT, step):
                width, height = min(step, WIDTH - x), min(step, HEIGHT - y)
                assert f"{x},{y},{width},{height}/{-(-width // scale)},{-(-height // scale)}/0/default.jpg" in found


@pytest.mark.parametrize("url", [[], ["--url", "earth"]])
def test_an_iiif_tree_needs_its_address(url: list[str], export: Export, tmp_path: Path) -> None:
    ended = export(tmp_path / "site", "--as", "iiif", *url)
    assert ended.code == 2
    assert "needs the public http(s) address" in " ".join(ended.err.split())


def test_a_zoomify_tree_has_the_tiles_of_its_tiers(service: Service, export: Export, tmp_path: Path) -> None:
    ended = export(tmp_path / "site", "--as", "zoomify")
    assert (ended.code, ended.out) == (0, f"{tmp_path}/site/ImageProperties.xml\n")
    found = files(tmp_path / "site")
    described = ET.fromstring(found.pop("ImageProperties.xml"))  # noqa: S314  the test's own
    assert described.attrib == {
        "WIDTH": "700",
        "HEIGHT": "301",
        "NUMTILES": "9",
        "NUMIMAGES": "1",
        "VERSION": "1.8",
        "TILESIZE": "256",
    }
    # Tiers of 175 x 75, 350 x 150 and 700 x 301 pixels
    grids = [(8, 1, 1), (9, 2, 1), (10, 3, 2)]
    assert found == {
        f"TileGroup0/{tier}-{x}-{y}.jpg": served(service, f"/tiles/{TILE_ID}_files/{level}/{x}_{y}.jpg")
        for tier, (level, columns, rows) in enumerate(grids)
        for y in range(rows)
        for x in range(columns)
    }


def test_a_zoomify_tree_begins_a_folder_every_256_tiles_and_rounds_down(tmp_path: Path) -> None:
    # Given an image whose half is 1,025 pixels wide in Deep Zoom, and 1,024 in Zoomify
    tiles = cast("Tiles", SimpleNamespace(geometry=Geometry(2049, 8192), format=Format.JPEG, name="x"))
    tree = trees.zoomify(tiles)
    placed = dict(tree.placed())
    # Then the column of the one pixel is left out: 4 x 16 tiles, not 5 x 16, and so below
    tiers = [name.split("/")[1].split("-")[0] for name in placed]
    counts = {tier: tiers.count(tier) for tier in tiers}
    assert counts == {"0": 1, "1": 2, "2": 4, "3": 2 * 8, "4": 4 * 16, "5": 9 * 32}
    assert len(placed) == tree.count == sum(counts.values())
    assert [name.split("/")[0] for name in placed][255:257] == ["TileGroup0", "TileGroup1"]


def test_what_zoomify_cannot_have_is_said(service: Service, export: Export, tmp_path: Path) -> None:
    service.dataset["tile_info"]["format"] = "png"
    ended = export(tmp_path / "site", "--as", "zoomify")
    assert ended.code == 1
    assert "Zoomify's tiles are JPEG" in ended.err
    assert list((tmp_path / "site").iterdir()) == []
    thin = cast("Tiles", SimpleNamespace(geometry=Geometry(1, 2000), format=Format.JPEG, name="x"))
    with pytest.raises(NotExported, match="too narrow"):
        trees.zoomify(thin)


def test_a_folder_for_a_bucket_has_the_three_files(service: Service, export: Export, tmp_path: Path) -> None:
    ended = export(tmp_path / "site", "--as", "bucket")
    assert (ended.code, ended.out) == (0, f"{tmp_path}/site/pyramid.json\n")
    found = files(tmp_path / "site")
    assert found.keys() == {"pyramid.json", "tiles.idx", "pyramid.szi"}
    assert found["pyramid.szi"] == service.site.stored("pyramid.szi").read_bytes()
    index, stored = Index(found["tiles.idx"]), Index(service.site.stored("tiles.idx").read_bytes())
    assert (index.tile_count, index.edge_count) == (GEOMETRY.tile_count, 0)
    assert [index.entry(at) for at in range(len(index))] == [stored.entry(at) for at in range(GEOMETRY.tile_count)]
    described = json.loads(found["pyramid.json"])
    assert (described["width"], described["height"], described["format"]) == (WIDTH, HEIGHT, "jpg")


def test_a_site_has_a_page_a_viewer_and_the_tiles(service: Service, export: Export, tmp_path: Path) -> None:
    service.dataset |= {
        "name": "Earth</title><script>alert(1)</script>",
        "description": "From & to",
        "rights": {"text": None, "url": "javascript:alert(1)"},
        "attribution": {"text": "Map Library", "url": "https://example.org/?a=1&b=2"},
    }
    ended = export(tmp_path / "site", "--as", "site")
    assert (ended.code, ended.out) == (0, f"{tmp_path}/site/index.html\n")
    found = files(tmp_path / "site")
    assert {"site.js", "openseadragon/openseadragon.min.js", "openseadragon/LICENSE.txt"} <= found.keys()
    assert found[f"{ID}_files/10/2_1.jpg"] == served(service, f"/tiles/{TILE_ID}_files/10/2_1.jpg")
    # What people have written stays text
    page = found["index.html"].decode()
    assert "<script>alert" not in page
    assert "<p>From &amp; to</p>" in page
    assert '<a href="https://example.org/?a=1&amp;b=2">Map Library</a>' in page
    assert "<p>javascript:alert(1)</p>" in page


@pytest.mark.parametrize("layout", [layout.value for layout in Layout])
def test_a_storage_gives_the_same_as_the_server(layout: str, service: Service, export: Export, tmp_path: Path) -> None:
    # Given the same dataset, by the server, by the storage, and by the storage without a server
    more = ["--as", layout, *(["--url", "https://example.org/earth"] if layout == "iiif" else [])]
    storage = ["--storage", str(tmp_path / "storage")]
    assert export(tmp_path / "served", *more).code == 0
    ended = export(tmp_path / "stored", *more, *storage)
    assert (ended.code, "Downloading" in ended.err) == (0, False)
    # Then all are the same
    assert files(tmp_path / "stored") == files(tmp_path / "served")
    # And the storage is as it was
    assert service.site.stored("pyramid.szi").stat().st_nlink == 1


def test_a_tile_id_needs_no_server(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TILEWRIGHT_SERVER", "http://127.0.0.1:1")
    arguments = ["export", TILE_ID, str(tmp_path / "site"), "--as", "mbtiles"]
    refused = run_command(monkeypatch, capsys, *arguments)
    assert (refused.code, "needs --storage or --data" in refused.err) == (2, True)
    ended = run_command(monkeypatch, capsys, *arguments, "--storage", str(tmp_path / "storage"))
    assert (ended.code, ended.out) == (0, f"{tmp_path}/site/{TILE_ID[:12]}.mbtiles\n")


@pytest.mark.parametrize(("name", "layout"), [("edges.bin", "xyz"), ("tiles.idx", "xyz"), ("full.jpg", "iiif")])
def test_a_damaged_file_of_a_storage_is_not_exported(
    name: str, layout: str, service: Service, export: Export, tmp_path: Path
) -> None:
    data = bytearray(service.site.stored(name).read_bytes())
    data[len(data) // 2] ^= 1
    service.site.stored(name).write_bytes(data)
    url = ["--url", "https://example.org/earth"] if layout == "iiif" else []
    ended = export(tmp_path / "site", "--as", layout, *url, "--storage", str(tmp_path / "storage"))
    assert ended.code == 1
    assert f"{name} is damaged" in ended.err
    assert list((tmp_path / "site").iterdir()) == []


@pytest.mark.parametrize("layout", ["dzi", "iiif", "mbtiles", "pmtiles", "szi", "bucket"])
def test_what_the_disk_has_changed_is_noticed_before_it_is_published(
    layout: str, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that loses a bit of one tile on its way
    read = Tiles.read

    def lose(self: Tiles, position: int) -> bytes:
        data = bytearray(read(self, position))
        data[-1] ^= position == GEOMETRY.tile_count - 1 or position == GEOMETRY.xyz_position(2, 2, 1)
        return bytes(data)

    def put(self: exporting.Served, tiles: Tiles, target: Path, gauge: object) -> None:
        data = bytearray(tiles.archive.read_bytes())
        data[sum(tiles.place(GEOMETRY.tile_count - 1)) - 1] ^= 1
        target.write_bytes(data)

    if layout in ("szi", "bucket"):
        monkeypatch.setattr(exporting.Served, "put_archive", put)
    else:
        monkeypatch.setattr(Tiles, "read", lose)
    # When it is exported, then nothing is left
    url = ["--url", "https://example.org/earth"] if layout == "iiif" else []
    ended = export(tmp_path / "site", "--as", layout, *url)
    assert ended.code == 1
    assert "CRC-32" in ended.err
    assert list((tmp_path / "site").iterdir()) == []


def test_tiles_with_transparency_stay_png(service: Service, export: Export, tmp_path: Path) -> None:
    # Given an image with transparency, whose tiles are PNG
    source = pictures.save(pictures.scene(WIDTH, HEIGHT, bands=4), tmp_path / "source.png")
    service.site.store(source, run="b")
    service.dataset["tile_info"]["format"] = "png"
    # When it is exported, then each layout says so, and has the tiles as they are served
    for layout in ("xyz", "mbtiles", "pmtiles", "iiif", "site"):
        url = ["--url", "https://example.org/earth"] if layout == "iiif" else []
        assert export(tmp_path / layout, "--as", layout, *url).code == 0
    corner = served(service, f"/tiles/{TILE_ID}/2/2/1.png")
    assert files(tmp_path / "xyz")["2/2/1.png"] == corner
    assert pictures.decode(corner).shape == (256, 256, 4)
    reader = Reader(MemorySource(files(tmp_path / "pmtiles")[f"{ID}.pmtiles"]))
    assert (reader.header()["tile_type"], reader.get(2, 2, 1)) == (TileType.PNG, corner)
    with closing(sqlite3.connect(tmp_path / f"mbtiles/{ID}.mbtiles")) as database:
        assert database.execute("SELECT value FROM metadata WHERE name = 'format'").fetchall() == [("png",)]
    found = files(tmp_path / "iiif")
    info = json.loads(found["info.json"])
    assert (info["preferredFormats"], info["extraFormats"]) == (["png"], ["png"])
    assert "0,0,256,256/256,256/0/default.png" in found
    assert all(f"full/{size['width']},{size['height']}/0/default.png" in found for size in info["sizes"])
    assert found["full/max/0/default.jpg"][:3] == b"\xff\xd8\xff"
    assert '"isTransparent": true' in files(tmp_path / "site")["index.html"].decode()


PAGES = {0: (TILE_ID, ID, WIDTH, HEIGHT), 2: ("2" * 64, f"{ID}-p2", 300, 520), 3: ("3" * 64, f"{ID}-p3", 520, 300)}
"""Tile_id, name, width and height of the pages of a book by their numbers. Page 1 is a label, which is not shown."""


@pytest.fixture
def book(service: Service, tmp_path: Path) -> Service:
    """The service, with a dataset that shows three pages."""
    info = service.dataset["tile_info"]
    service.dataset |= {"name": "A book", "pages": []}
    for number, (tile_id, _, width, height) in PAGES.items():
        if number:
            service.site.store(pictures.jpeg(tmp_path / f"{number}.jpg", width, height), tile_id=tile_id)
        page = info | {"tile_id": tile_id, "width": width, "height": height, "page": number}
        service.dataset["pages"].append(page)
    return service


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Width and height that each descriptor in a folder says, by its path."""
    found = {path: data for path, data in files(folder).items() if path.endswith(".dzi")}
    size = {path: ET.fromstring(data)[0] for path, data in found.items()}  # noqa: S314  the test's own
    return {path: (int(one.get("Width", "")), int(one.get("Height", ""))) for path, one in size.items()}


@pytest.mark.parametrize("stored", [False, True])
def test_all_pages_are_exported_each_into_a_folder(stored: bool, book: Service, export: Export, tmp_path: Path) -> None:
    # When a dataset of several pages is exported, from the server or from the storage
    storage = ["--storage", str(tmp_path / "storage")] if stored else []
    ended = export(tmp_path / "site", *storage)
    # Then the file to open is printed for each, and there are the tiles of all under the pages' numbers in the source
    names = [f"page-{number}/{name}.dzi" for number, (_, name, _, _) in PAGES.items()]
    assert (ended.code, ended.out.splitlines()) == (0, [f"{tmp_path}/site/{name}" for name in names])
    assert ended.err.splitlines() == ["Exporting…"]
    found = files(tmp_path / "site")
    assert sizes(tmp_path / "site") == dict(zip(names, [page[2:] for page in PAGES.values()], strict=True))
    for number, (tile_id, name, width, height) in PAGES.items():
        level = Geometry(width, height).full_level
        expected = served(book, f"/tiles/{tile_id}_files/{level}/1_0.jpg")
        assert found[f"page-{number}/{name}_files/{level}/1_0.jpg"] == expected
    # And nothing else is left
    assert {path.split("/")[0] for path in found} == {f"page-{number}" for number in PAGES}
    # An export into the same folder is refused, and with --force replaces the pages
    assert export(tmp_path / "site", *storage).code == 1
    assert export(tmp_path / "site", *storage, "--force").code == 0
    assert files(tmp_path / "site") == found


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize("layout", ["szi", "pmtiles", "mbtiles"])
def test_a_layout_of_one_file_is_one_file_a_page(layout: str, export: Export, tmp_path: Path) -> None:
    ended = export(tmp_path / "site", "--as", layout)
    names = [f"{name}.{layout}" for _, name, _, _ in PAGES.values()]
    assert (ended.code, ended.out.splitlines()) == (0, [f"{tmp_path}/site/{name}" for name in names])
    assert files(tmp_path / "site").keys() == set(names)
    if layout == "mbtiles":
        with closing(sqlite3.connect(tmp_path / f"site/{names[1]}")) as database:
            assert database.execute("SELECT value FROM metadata WHERE name = 'name'").fetchall() == [
                ("A book, page 2 of 3",)
            ]


@pytest.mark.usefixtures("book")
def test_each_page_has_the_address_of_its_folder(export: Export, tmp_path: Path) -> None:
    assert export(tmp_path / "iiif", "--as", "iiif", "--url", "https://example.org/book/").code == 0
    for number, (_, _, width, height) in PAGES.items():
        info = json.loads((tmp_path / f"iiif/page-{number}/info.json").read_text())
        assert (info["id"], info["width"], info["height"]) == (f"https://example.org/book/page-{number}", width, height)
    assert export(tmp_path / "xyz", "--as", "xyz").code == 0
    document = json.loads((tmp_path / "xyz/page-3/tilejson.json").read_text())
    assert (document["tiles"], document["width"]) == (["{z}/{x}/{y}.jpg"], 520)


@pytest.mark.usefixtures("book", "export")
@pytest.mark.parametrize(
    ("arguments", "number"), [((f"{ID}-p3",), 3), ((ID, "--page", "2"), 2), ((ID, "--page", "0"), 0)]
)
def test_one_page_is_exported_by_its_id_or_its_number(
    arguments: tuple[str, ...],
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended = run_command(monkeypatch, capsys, "export", *arguments, str(tmp_path / "site"))
    _, name, *size = PAGES[number]
    assert (ended.code, ended.out) == (0, f"{tmp_path}/site/{name}.dzi\n")
    assert sizes(tmp_path / "site") == {f"{name}.dzi": tuple(size)}


@pytest.mark.usefixtures("export")
def test_a_page_that_is_not_there_is_refused(
    book: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(code: int, *arguments: str) -> str:
        ended = run_command(monkeypatch, capsys, "export", *arguments, str(tmp_path / "site"))
        assert ended.code == code
        assert not (tmp_path / "site").exists()
        return " ".join(ended.err.split())

    for arguments in ((f"{ID}-p1",), (ID, "--page", "1")):
        assert f"{ID} has no page 1. It has 3 pages, numbered from 0 to 3." in refused(1, *arguments)
    assert "names the page already" in refused(2, f"{ID}-p3", "--page", "3")
    assert "names the page already" in refused(2, TILE_ID, "--page", "3", "--storage", str(tmp_path / "storage"))
    del book.dataset["pages"]
    assert f"{ID} shows one image" in refused(1, ID, "--page", "0")


@pytest.mark.parametrize("layout", ["dzi", "szi"])
def test_a_page_that_is_damaged_leaves_no_page(layout: str, book: Service, export: Export, tmp_path: Path) -> None:
    # Given a book whose last page has lost a bit of its last tile
    (archive,) = (tmp_path / "storage").glob(f"pyramids/{PAGES[3][0]}/*/pyramid.szi")
    with Tiles(archive, Geometry(520, 300), Format.JPEG, "x", "x") as tiles:
        end = sum(tiles.place(Geometry(520, 300).tile_count - 1))
    data = bytearray(archive.read_bytes())
    data[end - 1] ^= 1
    archive.write_bytes(data)
    # When it is exported, then nothing is left, and the page is named
    ended = export(tmp_path / "site", "--as", layout)
    assert (ended.code, f"{ID}-p3" in ended.err) == (1, True)
    assert list((tmp_path / "site").iterdir()) == []
