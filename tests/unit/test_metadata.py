"""Metadata that changes what is shown: verified where it has a checksum, and named where it cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from pipeline.errors import StageError
from tests.support.images import makers, pictures, png_chunks, profiles
from tests.support.images.pictures import Pixels
from tests.support.images.png_chunks import PROFILE
from tiler.decode import Picture, drop_metadata, metadata, open_picture, reader_of
from tiler.failures import decoding_error
from tiler.progress import Meter

UNUSABLE = metadata.UNUSABLE[metadata.PROFILE]
SCENE = pictures.scene(12, 9)


def opened(path: Path, data: bytes = b"") -> tuple[Picture, Pixels]:
    if data:
        path.write_bytes(data)
    picture = open_picture(reader_of(path), meter=Meter(lambda *_: None))
    with picture.heeded():
        pixels: Pixels = picture.image.numpy()
    return picture, pixels


def outcome(path: Path, data: bytes) -> Pixels | str:
    """Pixels, or the code of what is said instead."""
    try:
        return opened(path, data)[1]
    except (StageError, pyvips.Error) as error:
        return decoding_error(error, path).code


@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_changed_bit_anywhere_in_a_png_changes_nothing_or_is_damage(place: str, tmp_path: Path) -> None:
    # Given a PNG that has all that may change what is shown
    exif = [(b"eXIf", png_chunks.exif())]
    before = [(b"tEXt", b"Title\0A picture"), (b"gAMA", bytes(4)), png_chunks.iccp()]
    parts = (before + exif, []) if place == "before" else (before, exif)
    whole = png_chunks.png(SCENE, *parts, palette=True)
    _, expected = opened(tmp_path / "a.png", whole)
    assert expected.shape == (12, 9, 4)
    same = 0
    for at in range(8, len(whole)):
        data = whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]
        if isinstance(end := outcome(tmp_path / "a.png", data), str):
            assert end in {"image_corrupt", "image_truncated"}, at
            continue
        assert np.array_equal(end, expected), at
        same += 1
    # Then only the comment may differ, and the end's checksum
    assert 0 < same < 32


def test_a_comment_cannot_hide_a_profile(tmp_path: Path) -> None:
    # Given a comment whose length was changed so that it ends where the profile after it does
    data = png_chunks.png(SCENE, [(b"tEXt", b"Title\0A picture"), png_chunks.iccp()])
    (at, length), (_, other) = [
        (at, length) for at, name, length in png_chunks.found_in(data) if name in {b"tEXt", b"iCCP"}
    ]
    data = data[:at] + (length + 12 + other).to_bytes(4, "big") + data[at + 4 :]
    with pytest.raises(StageError, match="checksum of its tEXt") as refused:
        opened(tmp_path / "a.png", data)
    assert refused.value.code == "image_corrupt"


def test_a_png_that_ends_behind_its_pixels_is_read_and_one_that_ends_within_its_exif_is_not(tmp_path: Path) -> None:
    data = png_chunks.png(SCENE)
    assert np.array_equal(opened(tmp_path / "a.png", data[:-12])[1], SCENE)
    data = png_chunks.png(SCENE, behind=[(b"eXIf", png_chunks.exif())])
    with pytest.raises(StageError) as refused:
        opened(tmp_path / "a.png", data[:-16])
    assert refused.value.code == "image_truncated"


def test_transparency_of_a_wrong_length_is_named(tmp_path: Path) -> None:
    picture, found = opened(tmp_path / "a.png", png_chunks.png(SCENE, [(b"tRNS", bytes(5))]))
    assert found.shape == SCENE.shape
    assert picture.decisions == ["the picture's transparency (tRNS) is unusable and was ignored"]


@pytest.mark.parametrize("profile", [PROFILE[:-40], PROFILE[:60], PROFILE[:128] + b"\xff\xff\xff\xff" + PROFILE[132:]])
def test_a_profile_that_lacks_bytes_is_not_whole(profile: bytes, tmp_path: Path) -> None:
    assert metadata.is_whole_profile(PROFILE)
    assert not metadata.is_whole_profile(profile)
    Image.fromarray(SCENE).save(tmp_path / "a.webp", lossless=True, icc_profile=profile)
    picture, found = opened(tmp_path / "a.webp")
    assert picture.decisions == [UNUSABLE]
    assert np.array_equal(found, SCENE)


def test_a_profile_of_other_colours_is_named(tmp_path: Path) -> None:
    # Given grey and CMYK with a profile of RGB, which libvips leaves out
    Image.fromarray(SCENE[..., 0]).save(tmp_path / "grey.jpg", icc_profile=PROFILE)
    assert opened(tmp_path / "grey.jpg")[0].decisions[0] == UNUSABLE
    Image.fromarray(pictures.scene(12, 9, bands=4), "CMYK").save(tmp_path / "cmyk.jpg", icc_profile=PROFILE)
    found = opened(tmp_path / "cmyk.jpg")[0].decisions
    assert found == [UNUSABLE, "CMYK converted to sRGB through libvips' default CMYK profile"]
    makers.inks(tmp_path / "whole.jpg", 12, 9, with_profile=True)
    assert opened(tmp_path / "whole.jpg")[0].decisions == ["CMYK converted to sRGB through its own profile"]


@pytest.mark.parametrize("is_type", [True, False])
def test_a_profile_without_one_of_its_colours_is_named(is_type: bool, tmp_path: Path) -> None:
    # Given a profile in which red's type is unknown, for which libvips fails, or red is missing, for which it does not
    entry = PROFILE.index(b"rXYZ")
    at = int.from_bytes(PROFILE[entry + 4 : entry + 8], "big") if is_type else entry
    odd = PROFILE[:at] + b"\xff\xfe\xff\xfe" + PROFILE[at + 4 :]
    assert metadata.is_whole_profile(odd)
    Image.fromarray(SCENE).save(tmp_path / "a.png", icc_profile=odd)
    picture, found = opened(tmp_path / "a.png")
    assert picture.decisions == [UNUSABLE]
    assert np.array_equal(found, SCENE)


def test_names_of_metadata_need_not_be_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_chunks.png(SCENE, [(b"tEXt", b"Gr\xf6\xdfe\0value")]))
    image = pyvips.Image.new_from_file(str(tmp_path / "a.png"))
    with pytest.raises(UnicodeDecodeError):
        image.get_fields()
    assert [name for name in drop_metadata(image).get_fields() if name.startswith("png-")] == []


def test_a_harmless_warning_may_quote_the_file(tmp_path: Path) -> None:
    # Given a JPEG about which libjpeg gives one harmless warning, and that warning with bytes that are no UTF-8
    data = pictures.jpeg(tmp_path / "a.jpg", 12, 9).read_bytes()
    start = data.index(b"\xff\xdb")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xee\0\x0eAdobe" + bytes([0, 100, 0, 0, 0, 0, 7]) + data[start:])
    text = b"VipsJpeg: Unknown Adobe color transform code \xff"
    error = UnicodeDecodeError("utf-8", text, len(text) - 1, len(text), "invalid start byte")
    pyvips.cache_set_max(0)
    try:
        assert reader_of(tmp_path / "a.jpg").overlook(error)
    finally:
        pyvips.cache_set_max(100)


def test_exif_is_read_as_far_as_its_orientation() -> None:
    whole = png_chunks.exif()
    assert metadata.orientation_in(whole) == 6
    assert metadata.orientation_in(b"Exif\0\0" + whole) == 6
    assert [metadata.orientation_in(png_chunks.exif(number)) for number in (0, 1, 8, 9)] == [1, 1, 8, 1]
    for cut in (0, 3, 8, 20):
        assert not metadata.is_readable_exif(whole[:cut])
        assert metadata.orientation_in(whole[:cut]) == 1


def test_profiles_of_tests_are_whole() -> None:
    assert metadata.is_whole_profile(profiles.grey_profile(2.2))
