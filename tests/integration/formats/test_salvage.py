"""What can be decoded of damaged files, in-process: each kind of damage in each format."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.pyramids import SZI, Format
from tests.support.images import heifs, pictures, remarked_tiffs, salvage, stacks
from tests.support.images.pictures import Pixels
from tiler import confined_decoding
from tiler.build.pyramid import build
from tiler.decode import open_picture, reader_of
from tiler.job import Built, Failed, Job
from tiler.progress import Meter

NO_METER = Meter(lambda *_: None)


def tiled(
    data: bytes,
    folder: Path,
    *,
    page: int | None = 0,
    tile_format: Format = Format.PNG,
    accept_damage: bool = True,
) -> Built | Failed:
    """Tile a file as the child does, but in this process."""
    source = folder / "source"
    source.write_bytes(data)
    job = Job(str(source), str(folder), "t" * 64, "s" * 64, 512, 10**9, "8.18.3", page=page, accept_damage=True)
    reader = reader_of(source, page)
    reader.prepare()

    def begin() -> None:
        reader.header()
        reader.require_sound_layout()

    def tile() -> Built:
        return build(open_picture(reader, meter=NO_METER, tile_format=tile_format), job, NO_METER)

    return confined_decoding.decode(reader, begin, tile, accept_damage=accept_damage)


def finest(folder: Path, like: Pixels) -> Pixels:
    """Return the finest level, with transparency."""
    tiles = pictures.deep_zoom(folder / SZI)
    found = pictures.put_together(tiles, (max(like.shape[:2]) - 1).bit_length(), 512)
    if found.shape[2] == 4:
        return found
    return np.dstack([found, np.full(found.shape[:2], 255, np.uint8)])


@pytest.mark.parametrize("family", ["tiffs", "pngs", "gifs", "webps", "heifs"])
def test_each_damage_is_marked_and_all_else_is_right(family: str, tmp_path: Path) -> None:
    for number, case in enumerate(getattr(salvage, family)()):
        folder = tmp_path / str(number)
        folder.mkdir()
        built = tiled(case.data, folder, page=case.page)
        assert isinstance(built, Built), (case.name, built)
        assert built.warning_codes[:1] == ("image_incomplete",), (case.name, built)
        share, difference = salvage.held_against(finest(folder, case.pixels), case.pixels)
        assert case.least <= share <= case.most, (case.name, share, built.warnings)
        assert difference <= case.loss, (case.name, difference)
        told = json.loads((folder / "pyramid.json").read_text())
        assert told["missing_pixels"] == round(share * case.pixels.shape[0] * case.pixels.shape[1]), case.name


def test_a_heif_fails_where_its_sound_tiles_are_not_enough(tmp_path: Path) -> None:
    for brand in heifs.CODECS:
        pixels = heifs.grid_pixels()
        sound = heifs.grid(brand)
        top, noisy = sound[0], [heifs.noisy(item, length=40) for item in sound[1:]]
        clap = b"\0\0\0\x28clap" + struct.pack(">8I", 100, 1, 100, 1, 0, 1, 0, 1)
        cropped = replace(top, properties=[*top.properties, clap])
        alpha = heifs.transparency(heifs.noisy(heifs.coded(9, pixels, brand), length=40), 1)
        alone = heifs.file_of([heifs.coded(1, pixels, brand, hidden=False)], brand)
        cases = {
            "a single picture that is cut": alone[: len(alone) * 2 // 3],
            "a single picture that is damaged": heifs.file_of(
                [heifs.noisy(heifs.coded(1, pixels, brand, hidden=False), length=40)], brand
            ),
            "all tiles damaged": heifs.file_of([top, *noisy], brand),
            "cropped": heifs.file_of([cropped, noisy[0], *sound[2:]], brand),
            "transparency of one picture": heifs.file_of([*sound, alpha], brand),
            "cut within the description": heifs.file_of([top, *sound[1:]], brand)[:200],
        }
        for name, data in cases.items():
            (folder := tmp_path / f"{brand} {name}").mkdir()
            failed = tiled(data, folder)
            assert isinstance(failed, Failed), (brand, name, failed)
            assert failed.code in {"image_corrupt", "image_truncated"}, (brand, name, failed)
            assert failed.message.endswith("Nothing of it can be decoded."), (brand, name, failed)


def test_what_is_overlooked_is_told(tmp_path: Path) -> None:
    # Given sound files on whose directories libtiff remarks, and a profile that is none
    for number, (path, _) in enumerate(remarked_tiffs.files(tmp_path)):
        (folder := tmp_path / str(number)).mkdir()
        built = tiled(path.read_bytes(), folder)
        assert isinstance(built, Built)
        assert built.warning_codes == ("decoder_remark",), (path.name, built)
        assert str(tmp_path) not in built.warnings[0]
    (folder := tmp_path / "profile").mkdir()
    whole = salvage.by_pillow("JPEG", icc_profile=b"no profile" * 30)
    built = tiled(whole.data, folder)
    assert isinstance(built, Built)
    assert list(zip(built.warning_codes, built.warnings, strict=True)) == [
        ("metadata_ignored", "The picture's colour profile is unusable and was ignored.")
    ]


def test_a_damaged_profile_of_a_png_is_left_out(tmp_path: Path) -> None:
    whole = salvage.spoiled_png()
    built = tiled(whole.data, tmp_path)
    assert isinstance(built, Built), built
    assert built.warnings == ("The PNG's iCCP is damaged and was ignored.",)
    assert np.array_equal(finest(tmp_path, whole.pixels)[..., :3], whole.pixels)
    assert json.loads((tmp_path / "pyramid.json").read_text())["missing_pixels"] == 0


@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_a_progressive_jpeg_is_shown_from_the_scans_before_its_damage(damage: str, tmp_path: Path) -> None:
    whole = salvage.by_pillow("JPEG", quality=85, progressive=True)
    last = whole.data.rindex(b"\xff\xda")
    data = whole.data[: last + 500] if damage == "cut" else salvage.noisy(whole.data, last + 500)
    built = tiled(data, tmp_path)
    assert isinstance(built, Built), built
    assert built.warning_codes == ("image_coarse",)
    # Then it is what a decoder makes of a file that has these scans only
    (tmp_path / "sound").write_bytes(whole.data[:last] + b"\xff\xd9")
    found, expected = finest(tmp_path, whole.pixels)[..., :3], np.asarray(Image.open(tmp_path / "sound"))
    assert np.abs(found.astype(int) - expected).max() <= salvage.JPEG_LOSS
    # And a file without a scan of each colour shows nothing
    (folder := tmp_path / "early").mkdir()
    early = tiled(whole.data[: whole.data.index(b"\xff\xda") + 50], folder)
    assert isinstance(early, Failed)
    assert early.message.endswith("Nothing of it can be decoded.")


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "jpeg", "packbits"])
def test_a_damaged_channel_fails_its_stack_or_is_marked(compression: str, tmp_path: Path) -> None:
    # Given a stack whose second channel has a tile, or a strip, of noise
    dtype = np.uint8 if compression == "jpeg" else np.uint16
    samples = stacks.planes(3, dtype=dtype, scale=1)
    layouts: list[dict[str, Any]] = [{"tile": (64, 64)}, {"rowsperstrip": 32}]
    for number, layout in enumerate(layouts):
        if compression == "jpeg" and number:
            continue
        (folder := tmp_path / str(number)).mkdir()
        source = folder / "stack.ome.tif"
        tifffile.imwrite(
            source, samples[0], metadata={"axes": "CYX"}, photometric="minisblack", compression=compression, **layout
        )
        data = bytearray(source.read_bytes())
        with tifffile.TiffFile(source) as file:
            page = file.pages[1]
            offset, length = page.dataoffsets[1], page.databytecounts[1]
        noise = {"jpeg": b"\0", "packbits": b"\x80"}.get(compression, b"\xff")
        data[offset : offset + length] = noise * length
        sound = open_picture(reader_of(source, None), meter=NO_METER).image.numpy()
        # Then it fails, as any page
        refused = tiled(bytes(data), folder, page=None, accept_damage=False)
        assert isinstance(refused, Failed), (compression, layout, refused)
        assert refused.code in {"image_corrupt", "image_truncated"}
        # And where the damage is accepted, the part is marked, and all else is right
        built = tiled(bytes(data), folder, page=None)
        assert isinstance(built, Built), (compression, layout, built)
        assert built.channels == (0, 1, 2)
        assert built.warning_codes[0] == "image_incomplete"
        found = finest(folder, sound)
        lost = found[..., 3] == 0
        rows, columns = np.nonzero(lost)
        assert lost.sum() == ((64 * 64) if number == 0 else 32 * stacks.WIDTH)
        assert (rows.min(), columns.min()) == ((0, 64) if number == 0 else (32, 0))
        # Each channel is stretched by what is left of it, so that only the others are exactly the same
        same = np.abs(found[..., [0, 2]].astype(int) - sound[..., [0, 2]])[~lost]
        assert same.max() <= (1 if compression != "jpeg" else 2)
