"""Profiles, orientation and comments beside the pixels: from the POST to the tile, none changes an image unseen."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import as_png, finish, ready
from tests.support.images import heavy_tiffs, pictures, png_chunks
from tests.support.images.pictures import Pixels
from tests.support.images.png_chunks import PROFILE
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

SCENE = pictures.scene(200, 140)
GAMMA = (b"gAMA", struct.pack(">I", 45455))
COMMENT = (b"tEXt", b"Title\0A picture")
EXIF = (b"eXIf", png_chunks.exif())
IGNORED = {
    "profile": ["the picture's colour profile is unusable and was ignored"],
    "exif": ["the picture's EXIF is unusable and was ignored"],
}


@pytest.fixture
def said(stack: LaunchedStack) -> Callable[[str], list[str]]:
    """What pyramid.json says was done to the pixels."""

    def say(tile_id: str) -> list[str]:
        (found,) = (stack.data / "storage" / "pyramids" / tile_id).glob("*/pyramid.json")
        return list(json.loads(found.read_text())["pixels"])

    return say


def test_a_changed_bit_beside_the_pixels_of_a_png_is_damage(
    client: Client, files: SourceServer, shown: Callable[[str], Pixels], tmp_path: Path
) -> None:
    # Given PNGs with chunks that say how they are shown, in each of which a bit of the content or the type is changed
    before = png_chunks.png(SCENE, [COMMENT, GAMMA, png_chunks.iccp(), EXIF], palette=True)
    behind = png_chunks.png(SCENE, behind=[EXIF])
    bad = {
        f"{name.decode()}-{byte}-{place}": png_chunks.changed(data, name, byte)
        for place, data, names in (
            ("before", before, (b"PLTE", b"tRNS", b"gAMA", b"iCCP", b"eXIf")),
            ("behind", behind, (b"eXIf",)),
        )
        for name in names
        for byte in (7, 8, -1)
    }
    good = {"whole": before, "comment": png_chunks.changed(before, b"tEXt", 15)}
    for name, data in (bad | good).items():
        (tmp_path / f"{name}.png").write_bytes(data)
    ids = {name: as_png(client, files.url(f"/{name}.png")) for name in bad | good}
    # Then none is shown in other colours or on its side
    for name in bad:
        last = finish(client, ids[name])
        assert last["status"] == "failed", name
        assert last["error"]["code"] == "image_corrupt", (name, last["error"])
    # And one whose comment is damaged is the whole picture
    whole, comment = (shown(ready(client, ids[name])["tile_id"]) for name in good)
    assert whole.shape == (200, 140, 4)
    assert np.array_equal(whole, comment)


def test_the_orientation_of_a_png_counts_before_and_behind_its_pixels(
    client: Client,
    files: SourceServer,
    shown: Callable[[str], Pixels],
    said: Callable[[str], list[str]],
    tmp_path: Path,
) -> None:
    (tmp_path / "before.png").write_bytes(png_chunks.png(SCENE, [EXIF]))
    (tmp_path / "behind.png").write_bytes(png_chunks.png(SCENE, behind=[EXIF]))
    for name in ("before", "behind"):
        tile_id = ready(client, as_png(client, files.url(f"/{name}.png")))["tile_id"]
        assert np.array_equal(shown(tile_id), np.rot90(SCENE, -1)), name
        assert said(tile_id) == ["EXIF orientation 6 applied"]


def test_a_comment_whose_name_is_latin_1_is_none_of_our_business(
    client: Client, files: SourceServer, shown: Callable[[str], Pixels], tmp_path: Path
) -> None:
    # Given a PNG with such a keyword, as the specification allows, and with other text that is no UTF-8
    comments = [
        (b"tEXt", "Größe\0groß".encode("latin-1")),
        (b"iTXt", b"Title\0\0\0de\0\xc3\xbc\0\xe9"),
        (b"eXIf", png_chunks.exif(1)),
    ]
    (tmp_path / "a.png").write_bytes(png_chunks.png(SCENE, comments))
    found = shown(ready(client, as_png(client, files.url("/a.png")))["tile_id"])
    assert np.array_equal(found, SCENE)


def test_a_profile_or_exif_that_cannot_be_used_is_named(
    client: Client, files: SourceServer, said: Callable[[str], list[str]], tmp_path: Path
) -> None:
    # Given files whose profile or EXIF is incomplete or hidden, without a checksum that tells
    half = len(PROFILE) // 2
    webp = saved("WEBP", lossless=True, icc_profile=PROFILE, exif=png_chunks.exif())
    cut = {"exif": png_chunks.exif()[:20]}
    bad = {
        "profile-first-part.jpg": parts(PROFILE[:half], None),
        "profile-last-part.jpg": parts(None, PROFILE[half:]),
        "profile-cut.png": png_chunks.png(SCENE, [png_chunks.iccp(PROFILE[:-40])]),
        "profile-cut.webp": saved("WEBP", lossless=True, icc_profile=PROFILE[:-40]),
        "profile-cut.tif": saved("TIFF", icc_profile=PROFILE[:-40]),
        "profile-cut.avif": saved("AVIF", quality=100, icc_profile=PROFILE[:-40]),
        "profile-hidden.webp": webp[:20] + bytes([webp[20] & ~0x28]) + webp[21:],
        "exif-hidden.webp": webp[:20] + bytes([webp[20] & ~0x28]) + webp[21:],
        "exif-cut.jpg": saved("JPEG", exif=b"Exif\0\0" + cut["exif"]),
        "exif-cut.webp": saved("WEBP", lossless=True, **cut),
        "exif-cut.png": png_chunks.png(SCENE, [(b"eXIf", cut["exif"])]),
    }
    good = {"whole.jpg": parts(PROFILE[:half], PROFILE[half:]), "whole.webp": webp}
    for name, data in (bad | good).items():
        (tmp_path / name).write_bytes(data)
    ids = {name: as_png(client, files.url(f"/{name}")) for name in bad | good}
    # Then each is shown, and says what was left out
    for name in bad:
        assert set(IGNORED[name.partition("-")[0]]) <= set(said(ready(client, ids[name])["tile_id"])), name
    # And whole ones are applied
    for name in good:
        found = said(ready(client, ids[name])["tile_id"])
        assert found[0] == "converted to sRGB through the picture's own profile", name


def test_layers_and_xmp_that_are_far_larger_than_the_picture_do_not_matter(
    client: Client, command: Command, files: SourceServer, shown: Callable[[str], Pixels], tmp_path: Path
) -> None:
    # Given 100 kB of pixels, and 60 MB each of XMP and of Photoshop's layers
    tags = (heavy_tiffs.XMP, heavy_tiffs.LAYERS)
    heavy_tiffs.write(tmp_path / "heavy.tif", SCENE[..., :3], tags, 60 << 20)
    # Then they are not fetched for an inspection, and the picture is shown
    report = json.loads(command("inspect", files.url("/heavy.tif"), "--json").out)["report"]
    assert report["source"] == {"format": "tiff", "width": 200, "height": 140, "pages": 1}
    assert report["fetched_bytes"] < 1 << 20
    found = shown(ready(client, as_png(client, files.url("/heavy.tif")))["tile_id"])
    assert np.array_equal(found, SCENE[..., :3])


def saved(name: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(SCENE).save(file, name, **options)
    return file.getvalue()


def parts(*found: bytes | None) -> bytes:
    """A JPEG with these parts of a profile, of which some may be missing."""
    data = saved("JPEG", quality=95)
    head = b"".join(
        b"\xff\xe2" + struct.pack(">H", len(part) + 16) + b"ICC_PROFILE\0" + bytes([number, len(found)]) + part
        for number, part in enumerate(found, 1)
        if part
    )
    return data[:2] + head + data[2:]
