"""`tilewright export`, from a real pyramid behind a real server: what lies in the folder, and when nothing does."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from pipeline.pyramids.geometry import Geometry
from pipeline.storage.directory import DirectoryStorage
from tests.support.images import pictures
from tests.support.rigs.command import Ended, run_command
from tests.support.rigs.tile_rig import TILE_ID, Kiln, Server, Site
from tilewright.commands import export as exporting

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
    assert ended.err.splitlines() == ["Downloading…", "Unpacking…"]
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
    assert (ended.code, ended.err.splitlines()) == (0, ["Downloading…", "Checking…"])
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


@pytest.mark.parametrize("layout", ["dzi", "xyz", "szi"])
def test_a_damaged_tile_is_not_exported(service: Service, export: Export, tmp_path: Path, layout: str) -> None:
    # Given a byte of one tile that the disk has changed
    path = service.site.stored("pyramid.szi")
    data = bytearray(path.read_bytes())
    tile = pictures.deep_zoom(path)[10, 1, 0]
    data[data.index(tile) + 500] ^= 1
    path.write_bytes(data)
    # When it is exported, then the tile is named, and nothing is there
    ended = export(tmp_path / "site", "--as", layout)
    assert ended.code == 1
    assert "/10/1_0.jpeg is damaged" in ended.err
    assert list((tmp_path / "site").iterdir()) == []


def test_what_is_no_pyramid_is_not_exported(service: Service, export: Export, tmp_path: Path) -> None:
    service.site.stored("pyramid.szi").write_bytes(b"something else")
    ended = export(tmp_path / "site")
    assert (ended.code, list((tmp_path / "site").iterdir())) == (1, [])
    assert f"The file that the server sent for {ID} does not match its pyramid: not a zip." in ended.err


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
