"""How HEIC and AVIF code colours, where libheif returns them as stored: against libavif, or the formulae."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.images import avifs, heics, heifs, pictures
from tests.support.images.pictures import Pixels
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter


def shown(path: Path) -> Pixels:
    pixels: Pixels = open_picture(reader_of(path), meter=Meter(lambda *_: None)).image.numpy()
    return pixels


@pytest.mark.parametrize("bits", [10, 12])
def test_limited_grey_of_more_bits_fills_the_range(bits: int, tmp_path: Path) -> None:
    path = tmp_path / "source.avif"
    expected = avifs.deep_limited_grey(path, 131, 77, bits)
    found = reader_of(path).open().numpy()
    assert (found.dtype, found.shape) == (np.uint16, expected.shape)
    # libavif rounds to 10 or 12 bits
    assert np.abs(found.astype(int) - expected).max() <= (1 << (16 - bits)) / 2 + 1
    assert found.max() == 65535
    assert found.min() == 0


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("stated", [True, False])
def test_the_property_of_a_grey_avif_overrides_its_bitstream(full: bool, stated: bool, tmp_path: Path) -> None:
    # Given a grey AVIF whose property says another range than its coded picture, or which has no such property
    path = tmp_path / "source.avif"
    avifs.saved(path, avifs.grey(131, 77, bands=1), subsampling="4:0:0", range="full" if full else "limited")
    data = path.read_bytes()
    path.write_bytes(avifs.stated(data, full_range=not full) if stated else avifs.unstated(data))
    # When it is opened, then it is what libavif sees
    assert np.array_equal(shown(path), avifs.seen(path))


def test_the_grey_of_a_heic_is_limited_only_if_nothing_says_otherwise(tmp_path: Path) -> None:
    # Given grey HEICs; libheif calls what it writes limited if it is asked to, whatever it writes
    path, levels = tmp_path / "source.heic", pictures.scene(131, 77, bands=1)
    spread = heics.limited_grey(path, 131, 77)
    limited = path.read_bytes()
    cases = {
        "only the property says limited": (heics.encoded(levels, full_range_flag=0), levels),
        "only the bitstream says limited": (avifs.stated(limited, full_range=True), levels),
        "only the bitstream says anything": (avifs.unstated(limited), spread),
        "both say limited": (limited, spread),
    }
    # When they are opened, then the levels are spread only where all that is said is that they are limited
    for case, (data, expected) in cases.items():
        path.write_bytes(data)
        assert np.array_equal(shown(path)[..., :1], expected[..., :1]), case


def test_the_grey_tiles_of_a_grid_are_spread(tmp_path: Path) -> None:
    # Given a grid of grey tiles, which alone say that they are limited
    path = tmp_path / "source.avif"
    avifs.limited_grey(path, 64, 64)
    expected = avifs.seen(path)
    tiles = [replace(heifs.taken(number, path.read_bytes(), "avif"), hidden=True) for number in (2, 3)]
    top = heifs.Item(1, b"grid", heifs.layout(2, 1, 128, 64), [heifs.size(128, 64)], [2, 3])
    path.write_bytes(heifs.file_of([top, *tiles], "avif"))
    # When it is opened, then each of them is what libavif makes of it
    assert np.array_equal(shown(path), np.concatenate([expected, expected], axis=1))


@pytest.mark.parametrize("brand", ["heic", "avif"])
def test_a_coded_picture_that_lists_parts_has_only_its_own_colours(brand: str, tmp_path: Path) -> None:
    # Given a coded picture that claims to be made of another one, which nobody decodes for it
    pixels = pictures.scene(64, 64)
    other = heifs.coded(2, pictures.scene(64, 64, seed=2), brand)
    item = replace(heifs.coded(1, pixels, brand, hidden=False), parts=[2])
    (tmp_path / "source").write_bytes(heifs.file_of([item, other], brand))
    # When it is opened, then it is itself
    assert np.array_equal(shown(tmp_path / "source"), pixels)


def test_premultiplied_colours_of_more_bits_are_divided_too(tmp_path: Path) -> None:
    # Given two HEICs of the same samples; one says that its colours are multiplied by its transparency
    path = tmp_path / "source.heic"
    heics.deep(path, 131, 77, bands=4, bits=12)
    stored = reader_of(path).open().numpy().astype(float)
    heics.deep(path, 131, 77, bands=4, bits=12, premultiplied=True)
    # When it is opened, then they are divided by it
    found = reader_of(path).open()
    assert found.format == "ushort"
    expected = np.clip(stored[..., :3] * 65535 / np.maximum(stored[..., 3:], 1), 0, 65535)
    assert np.abs(found.numpy()[..., :3] - expected).max() <= 1
    assert np.array_equal(found.numpy()[..., 3], stored[..., 3])


@pytest.mark.parametrize(
    ("mode", "range_", "is_premultiplied", "is_shown"),
    [
        ("RGB", "limited", False, True),
        ("RGB", "full", True, False),
        ("L", "full", False, True),
        ("L", "limited", False, False),
    ],
)
def test_a_thumbnail_that_would_have_to_be_corrected_is_not_shown(
    mode: str, range_: str, is_premultiplied: bool, is_shown: bool, tmp_path: Path
) -> None:
    # Given an AVIF with transparency and a thumbnail
    path, files = tmp_path / "source.avif", []
    for edge in (128, 64):
        image = Image.fromarray(pictures.scene(edge, edge)).convert(mode)
        image.save(path, range=range_, subsampling="4:0:0" if mode == "L" else "4:4:4")
        files.append(path.read_bytes())
    shown, small = (heifs.taken(number, file, "avif") for number, file in enumerate(files, 1))
    alpha = heifs.transparency(heifs.coded(3, pictures.scene(128, 128), "avif"), 1)
    shown = replace(shown, references={b"prem": [3]} if is_premultiplied else {})
    path.write_bytes(heifs.file_of([shown, heifs.thumbnail(small, 1), alpha], "avif"))
    # When a smaller version is asked for, then it is there only if it is right as it is
    found = reader_of(path).smaller(64)
    assert (found is not None) == is_shown
