"""`tilewright verify`: a sound pyramid is called so, and each kind of damage is found and named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.pyramids.geometry import DESCRIPTION, EDGES, FILES, FULL, INDEX, SZI, THUMBNAIL, Geometry
from pipeline.storage.directory import DirectoryStorage
from tests.support.images import pictures
from tests.support.rigs.command import Ended, run_command
from tests.support.rigs.rest import Answer, scripted_gateway
from tests.support.rigs.servers import free_port
from tests.support.rigs.tile_rig import TILE_ID, Kiln, Site
from tilewright.commands.verify import verify as verify_build
from tilewright.gauge import gauge

WIDTH, HEIGHT = 700, 301
TILES = Geometry(WIDTH, HEIGHT).tile_count + Geometry(WIDTH, HEIGHT).edge_count


Verify = Callable[..., Ended]


@pytest.fixture
def site(tmp_path: Path, kiln: Kiln) -> Site:
    site = Site(DirectoryStorage(tmp_path / "storage"), tmp_path, kiln)
    site.store(pictures.jpeg(tmp_path / "source.jpg", WIDTH, HEIGHT))
    return site


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Runs the command in this process."""
    monkeypatch.setenv("TILEWRIGHT_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("TILEWRIGHT_SERVER", f"http://127.0.0.1:{free_port()}")

    def run(*arguments: str) -> Ended:
        return run_command(monkeypatch, capsys, "verify", *arguments)

    return run


def test_a_sound_pyramid_is_all_well(site: Site, verify: Verify) -> None:
    # Given a pyramid as the tiler made it, when it is verified by its tile_id, then no server is asked
    ended = verify(TILE_ID)
    assert (ended.code, ended.out) == (0, f"{TILE_ID}/a: {TILES} tiles, no damage\n")
    assert ended.err.splitlines() == [f"Reading {TILE_ID[:12]}…", f"Checking {TILE_ID[:12]}…"]


def test_a_storage_is_found_by_its_data_directory_too(site: Site, verify: Verify, tmp_path: Path) -> None:
    assert verify("--all", "--data", str(tmp_path)).code == 0
    assert "is not a storage of Tilewright" in verify("--all", "--data", str(tmp_path / "other")).err


def test_all_builds_of_a_storage_are_verified(site: Site, verify: Verify) -> None:
    # Given further builds: of a picture with transparency, and of one pixel; and one that is not finished
    site.store(pictures.save(pictures.scene(300, 200, bands=4), site.folder / "a.png"), run="b")
    site.store(pictures.save(pictures.scene(1, 1), site.folder / "b.png"), run="c")
    site.store(site.folder / "b.png", run="d")
    site.stored(DESCRIPTION, "d").unlink()
    # When all are verified, then each finished one is all well
    ended = verify("--all", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    assert [line.partition(":")[0] for line in ended.out.splitlines()] == [f"{TILE_ID}/{build}" for build in "abc"]
    assert ended.out.count("no damage") == 3


def test_by_a_datasets_id_the_server_is_asked_which_pyramid_that_is(site: Site, verify: Verify) -> None:
    with scripted_gateway() as gateway:
        info = {"tile_id": TILE_ID, "width": WIDTH, "height": HEIGHT, "tile_size": 256, "format": "jpg"}
        dataset = {"dataset_id": "custom_0123abcd", "status": "ready", "tile_info": info}
        gateway.on("GET /api/datasets/custom_0123abcd", Answer(200, dataset))
        assert verify("custom_0123abcd", "--server", gateway.url).code == 0
    assert verify("custom_0123abcd").code == 3


def test_all_pages_of_a_dataset_are_verified(site: Site, verify: Verify, tmp_path: Path) -> None:
    # Given a dataset of two pages, of which the second has the description of another pyramid
    site.store(tmp_path / "source.jpg", tile_id="2" * 64)
    info = {"tile_id": TILE_ID, "width": WIDTH, "height": HEIGHT, "tile_size": 256, "format": "jpg"}
    pages = [info | {"page": 0}, info | {"page": 2, "tile_id": "2" * 64}]
    dataset = {"dataset_id": "custom_0123abcd", "status": "ready", "tile_info": info, "pages": pages}
    with scripted_gateway() as gateway:
        gateway.on("GET /api/datasets/custom_0123abcd", *[Answer(200, dataset)] * 3)
        whole, page, none = (verify(f"custom_0123abcd{of}", "--server", gateway.url) for of in ("", "-p2", "-p1"))
    # Then both are read, or the one of the number, and the damage is found
    second = f"{'2' * 64}/a: 1 finding"
    finding = f"  pyramid.json belongs to pyramid {TILE_ID}"
    assert (whole.code, whole.out.splitlines()[1:]) == (1, [second, finding])
    assert whole.out.startswith(f"{TILE_ID}/a: {TILES} tiles, no damage")
    assert (page.code, page.out.splitlines()) == (1, [second, finding])
    assert none.code == 1
    assert "has no page 1" in none.err


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def damage_a_tile(site: Site) -> None:
    path = site.stored(SZI)
    flip(path, path.read_bytes().index(pictures.deep_zoom(path)[10, 2, 1]) + 100)


def damage_an_entry(site: Site) -> None:
    flip(site.stored(INDEX), 16 + 16 * Geometry(WIDTH, HEIGHT).deep_zoom_position(10, 1, 0))


def damage_an_edge_entry(site: Site) -> None:
    flip(site.stored(INDEX), 16 + 16 * (Geometry(WIDTH, HEIGHT).tile_count + 1))


def rename_a_tile(site: Site) -> None:
    path = site.stored(SZI)
    path.write_bytes(path.read_bytes().replace(b"/10/2_1.jpeg", b"/10/9_9.jpeg"))


def flip_a_digit_of_a_name(site: Site) -> None:
    path = site.stored(SZI)
    data = path.read_bytes()
    flip(path, data.rindex(b"/10/2_1.jpeg") + len(b"/10/2_"))  # "1" becomes "0"
    path.write_bytes(path.read_bytes().replace(b"2_0.jpeg", b"2_&.jpeg"))


def flip_a_local_header(site: Site) -> None:
    path = site.stored(SZI)
    flip(path, path.read_bytes().index(b"/10/2_1.jpeg") + 1)


def describe_other_colours(site: Site) -> None:
    path = site.stored(DESCRIPTION)
    path.write_text(path.read_text().replace('"untouched"', '"untouchee"'))


def cut_the_zip(site: Site) -> None:
    path = site.stored(SZI)
    path.write_bytes(path.read_bytes()[:-100])


def describe_another_size(site: Site) -> None:
    path = site.stored(DESCRIPTION)
    path.write_text(path.read_text().replace('"width": 700', '"width": 900'))


def describe_another_pyramid(site: Site) -> None:
    path = site.stored(DESCRIPTION)
    path.write_text(path.read_text().replace(TILE_ID, "e" * 64))


def put_a_folder_in_a_files_place(site: Site) -> None:
    site.stored(EDGES).unlink()
    site.stored(EDGES).mkdir()


DAMAGES: list[tuple[Callable[[Site], object], str]] = [
    (damage_a_tile, "pyramid.szi: pyramid/pyramid_files/10/2_1.jpeg is damaged ("),
    (damage_an_entry, "tiles.idx: pyramid/pyramid_files/10/1_0.jpeg is at "),
    (damage_an_entry, "tiles.idx is damaged: its CRC-32 is "),
    (damage_an_edge_entry, "tiles.idx: edge tile 1, 0 of zoom 1 does not follow the one before it"),
    (rename_a_tile, "pyramid.szi: pyramid/pyramid_files/10/9_9.jpeg is not a tile of this image"),
    (rename_a_tile, "pyramid.szi: tile 2, 1 of level 10 is missing"),
    (flip_a_digit_of_a_name, "pyramid.szi: tile 2, 1 of level 10 is missing"),
    (flip_a_local_header, "pyramid.szi is damaged between its tiles: the CRC-32 of its headers is "),
    (describe_other_colours, "pyramid.json is damaged: its CRC-32 differs from the stored one"),
    (cut_the_zip, "pyramid.szi is not a readable zip"),
    (lambda site: flip(site.stored(EDGES), 700), "edges.bin is damaged: its CRC-32 is "),
    (lambda site: flip(site.stored(THUMBNAIL), 700), "thumbnail.jpg is damaged: its CRC-32 is "),
    (lambda site: flip(site.stored(FULL), 700), "full.jpg is damaged: its CRC-32 is "),
    (lambda site: flip(site.stored(INDEX), 0), "tiles.idx cannot be used: not an index of this version"),
    (lambda site: site.stored(EDGES).write_bytes(b""), "edges.bin has 0 bytes, but the index says "),
    (lambda site: site.stored(FULL).unlink(), "full.jpg is missing"),
    (lambda site: site.stored(DESCRIPTION).write_text("{"), "pyramid.json cannot be read"),
    (put_a_folder_in_a_files_place, "edges.bin is missing"),
    (describe_another_size, "tiles.idx does not belong to an image of 900 x 301"),
    (describe_another_pyramid, f"pyramid.json belongs to pyramid {'e' * 64}"),
]


@pytest.mark.parametrize(("damage", "finding"), DAMAGES)
def test_what_is_damaged_is_found_and_named(
    site: Site, verify: Verify, damage: Callable[[Site], object], finding: str
) -> None:
    damage(site)
    ended = verify(TILE_ID)
    assert ended.code == 1
    assert any(line.startswith(f"  {finding}") for line in ended.out.splitlines()), ended.out


def test_no_bit_can_change_unseen(site: Site, verify: Verify) -> None:
    # Given a pyramid that is all well, and one bit of it changed, anywhere: here in some sixty places of each file
    dice = random.Random(6)  # noqa: S311  the same bits in every run
    unseen = []
    for name in FILES:
        path = site.stored(name)
        whole = path.read_bytes()
        for offset in range(dice.randrange(97), len(whole), max(97, len(whole) // 60)):
            broken = bytearray(whole)
            broken[offset] ^= 1 << dice.randrange(8)
            path.write_bytes(broken)
            with gauge(quiet=True) as silent:
                report = verify_build(path.parent, silent)
            if not report.total and not _says_the_same(name, whole, bytes(broken)):
                unseen.append((name, offset))
        path.write_bytes(whole)
    # Then it is found each time
    assert unseen == []
    assert verify(TILE_ID).code == 0


def _says_the_same(name: str, whole: bytes, broken: bytes) -> bool:
    """JSON may be laid out in several ways; and without its list of checksums it is one of an older release."""
    if name != DESCRIPTION:
        return False
    found = json.loads(broken)
    return found == json.loads(whole) or "crc32" not in found


def test_a_file_that_the_disk_refuses_is_a_finding(site: Site, verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a disk that cannot read one file
    real = Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == SZI:
            raise OSError(5, "Input/output error")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    # When the pyramid is verified, then that is what it says
    ended = verify(TILE_ID)
    assert ended.code == 1
    assert "  pyramid.szi cannot be read: Input/output error\n" in ended.out


def test_many_findings_are_counted_and_some_told(site: Site, verify: Verify) -> None:
    # Given a zip in which most tiles are gone
    path = site.stored(SZI)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"pyramid_files/10/", b"pyramid_files/99/").replace(b"_files/9/", b"_files/x/"))
    # When it is verified as JSON
    ended = verify(TILE_ID, "--json", "--quiet")
    (report,) = map(json.loads, ended.out.splitlines())
    # Then so much can be told apart
    assert (ended.code, report["ok"], report["tile_id"], report["build"]) == (1, False, TILE_ID, "a")
    assert report["findings_total"] >= len(report["findings"]) >= 14


def test_a_build_without_checksums_is_read_as_far_as_it_can_be(site: Site, verify: Verify) -> None:
    # Given the description of a release that kept none
    path = site.stored(DESCRIPTION)
    document = json.loads(path.read_text())
    del document["crc32"]
    path.write_text(json.dumps(document))
    assert verify(TILE_ID).code == 0


def test_what_is_not_there_is_said(site: Site, verify: Verify, tmp_path: Path) -> None:
    for arguments, words in (
        (("f" * 64,), "There is no pyramid ffff"),
        (("--all", "--storage", str(tmp_path)), "is not a storage of Tilewright"),
    ):
        ended = verify(*arguments)
        assert (ended.code, ended.out) == (1, "")
        assert words in ended.err
    assert verify().code == 2
    assert verify(TILE_ID, "--all").code == 2
