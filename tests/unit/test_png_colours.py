"""Colours that a PNG states by chunks instead of a profile: against the formulae of the standards."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.support.images import pictures, png_chunks, profiles, signals
from tests.support.images.pictures import Pixels
from tests.support.images.png_chunks import Chunk, cicp, gama
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter

SCENE = pictures.scene(61, 37)
REC_709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
D65 = (0.3127, 0.3290)


def chrm(*values: float) -> Chunk:
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in (*D65, *values)))


def shown(path: Path, chunks: list[Chunk], pixels: Pixels = SCENE) -> tuple[Pixels, list[str]]:
    path.write_bytes(png_chunks.png(pixels, chunks))
    picture = open_picture(reader_of(path), meter=Meter(lambda *_: None))
    found: Pixels = picture.image.numpy()
    return found, picture.decisions


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [gama(0.45455)],
        [gama(0.45455), chrm(*REC_709)],
        [gama(0.47)],
        [chrm(*REC_709)],
        [(b"sRGB", b"\0"), gama(1.0), chrm(*ADOBE)],
        [cicp(1, 13)],
        [cicp(1, 1), gama(1.0)],
        [cicp(2, 2)],
        [cicp(1, 13), png_chunks.iccp()],
    ],
    ids=lambda chunks: "-".join(name.decode() for name, _ in chunks) or "plain",
)
def test_an_ordinary_png_stays_untouched(chunks: list[Chunk], tmp_path: Path) -> None:
    found, decisions = shown(tmp_path / "a.png", chunks)
    assert np.array_equal(found, SCENE)
    assert decisions == []


@pytest.mark.parametrize(
    ("primaries", "transfer", "noted"),
    [
        (signals.P3, signals.SRGB, "Display P3 converted to sRGB"),
        (signals.BT709, signals.LINEAR, "BT.709 with linear light converted to sRGB"),
        (
            signals.BT2020,
            signals.PQ,
            "BT.2020 with PQ (HDR) converted to sRGB, light brighter than 80 % of white compressed",
        ),
    ],
)
@pytest.mark.parametrize("with_profile", [False, True])
def test_cicp_counts_even_if_there_is_a_profile(
    primaries: int, transfer: int, noted: str, with_profile: bool, tmp_path: Path
) -> None:
    chunks = [cicp(primaries, transfer), *([png_chunks.iccp()] if with_profile else [])]
    found, decisions = shown(tmp_path / "a.png", chunks)
    assert np.abs(found - signals.srgb_of(SCENE, primaries, transfer)).max() <= 1
    assert decisions == [noted]


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.8])
@pytest.mark.parametrize("is_adobe", [False, True])
def test_gamma_and_primaries_count(gamma: float, is_adobe: bool, tmp_path: Path) -> None:
    chunks = [gama(1 / gamma), *([chrm(*ADOBE)] if is_adobe else [])]
    found, decisions = shown(tmp_path / "a.png", chunks)
    expected = profiles.srgb_of(SCENE, profiles.ADOBE_RGB if is_adobe else profiles.SRGB, gamma)
    assert np.abs(found - expected).max() <= 1
    assert decisions == [f"colours stated by {'cHRM and gAMA' if is_adobe else 'gAMA'} converted to sRGB"]


def test_the_usual_gamma_is_exact_if_the_primaries_are_others(tmp_path: Path) -> None:
    found, _ = shown(tmp_path / "a.png", [gama(1 / 2.2), chrm(*ADOBE)])
    assert np.abs(found - profiles.srgb_of(SCENE, profiles.ADOBE_RGB, 2.2)).max() <= 1


def test_grey_follows_its_gamma(tmp_path: Path) -> None:
    found, decisions = shown(tmp_path / "a.png", [gama(1.0)], SCENE[..., 0])
    expected = profiles.srgb_of(SCENE[..., :1].repeat(3, axis=2), profiles.SRGB, 1.0)
    assert np.abs(found - expected).max() <= 1
    assert decisions == ["colours stated by gAMA converted to sRGB", "grey repeated over three bands"]


def test_limited_range_is_spread(tmp_path: Path) -> None:
    found, decisions = shown(tmp_path / "a.png", [cicp(1, 13, full=0)])
    assert np.array_equal(found, np.clip((SCENE.astype(float) - 16) * 255 / 219, 0, 255).round())
    assert decisions == []


@pytest.mark.parametrize(
    ("chunks", "name"),
    [
        ([cicp(3, 13)], "colour primaries 3"),
        ([cicp(1, 13, matrix=1)], "an invalid cICP"),
        ([(b"cICP", b"\1\15\0")], "an invalid cICP"),
        ([(b"gAMA", bytes(4))], "colours stated by gAMA"),
        ([(b"gAMA", b"\1")], "colours stated by gAMA"),
        ([chrm(0, 0, 0, 0, 0, 0)], "colours stated by cHRM"),
        ([chrm(0.2, 0.1, 0.2, 0.1, 0.9, 0.05)], "colours stated by cHRM"),
        ([(b"cHRM", b"\xff" * 32)], "colours stated by cHRM"),
    ],
)
def test_what_cannot_be_meant_is_noted_and_ignored(chunks: list[Chunk], name: str, tmp_path: Path) -> None:
    found, decisions = shown(tmp_path / "a.png", chunks)
    assert np.array_equal(found, SCENE)
    assert decisions == [f"the picture's colour space ({name}) is not supported and was taken as sRGB"]


def test_a_profile_counts_if_cicp_cannot_be_read(tmp_path: Path) -> None:
    found, decisions = shown(tmp_path / "a.png", [cicp(3, 13), png_chunks.iccp(), gama(1.0)])
    assert np.abs(found - profiles.srgb_of(SCENE, profiles.DISPLAY_P3, 2.2)).max() <= 2
    assert decisions == ["converted to sRGB through the picture's own profile"]


def test_chunks_behind_the_pixels_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_chunks.png(SCENE, behind=[cicp(9, 16), gama(1.0)]))
    picture = open_picture(reader_of(path), meter=Meter(lambda *_: None))
    assert np.array_equal(picture.image.numpy(), SCENE)
    assert picture.decisions == []
