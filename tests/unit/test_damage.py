"""The corpus of damaged files: each comes out as right pixels or as a code, never as a picture filled up with grey."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips

from pipeline.admission import Limits, admit
from pipeline.errors import StageError
from pipeline.pyramid import SZI, Format
from tests import damage, damaged_tiffs, makers, pictures
from tests.pictures import Pixels
from tiler.build import build
from tiler.failures import explain
from tiler.job import Job
from tiler.meter import Meter
from tiler.pixels import Picture, open_picture
from tiler.source import Source

SEED, ROUNDS = 2026, 2
MAX_PIXELS = 10**6
NO_METER = Meter(lambda *_: None)

CODES = {"image_corrupt", "image_truncated", "image_too_large", "not_an_image", "unsupported_format"}


UNCHECKED = {"baseline.jpg", "cmyk.jpg", "plain.gif"}
"""In which damage may decode to other pixels that libvips takes for good; Pillow may find fault behind the last one."""


def outcome(path: Path, decode: Callable[[Picture], Pixels] | None = None) -> Pixels | str:
    """Pixels, or the code of what is said instead: as the tiler's child goes about it."""
    source = Source(path)
    while True:
        try:
            admit(source.header(), source.memory(256), path.stat().st_size, Limits(MAX_PIXELS, 2000))
            picture = open_picture(source, meter=NO_METER, tile_format=Format.PNG if decode else None)
            return (decode or all_at_once)(picture)
        except StageError as error:
            return error.code
        except pyvips.Error as error:
            if not source.overlook(error):
                return explain(source.cause(error), path).code


def all_at_once(picture: Picture) -> Pixels:
    with picture.heeded():
        pixels: Pixels = picture.image.numpy()
    return pixels


def built(picture: Picture, folder: Path) -> Pixels:
    """The finest level of a pyramid that is built of it, edge tiles and all."""
    job = Job("", str(folder), "t" * 64, "s" * 64, 64, MAX_PIXELS, "8.18.3")
    build(picture, job, NO_METER)
    tiles = pictures.deep_zoom(folder / SZI)
    return pictures.put_together(tiles, max(level for level, _, _ in tiles), 64)


def is_what_another_reader_sees(pixels: Pixels, data: bytes, name: str) -> bool:
    """Whether Pillow, which refuses what it finds damaged, makes the same picture of the same bytes."""
    if name.startswith("cmyk"):
        inks = damage.decoded(data, "CMYK")
        expected = None if inks is None else makers.ink_on_paper(inks, makers.cmyk_profile())
    else:
        expected = damage.decoded(data, "RGBA" if pixels.shape[2] == 4 else "RGB")
    if expected is None or expected.shape != pixels.shape:
        return False
    return float(np.abs(pixels.astype(int) - expected).mean()) < 3


def is_not_filled_up(pixels: Pixels) -> bool:
    """Whether the last row is of the picture: a damaged GIF may come out a few pixels short."""
    flat = pixels.reshape(-1, pixels.shape[2])
    return bool((flat[-pixels.shape[1] :] != flat[-1]).any())


@pytest.mark.filterwarnings("ignore")  # Pillow's, about damaged files
@pytest.mark.parametrize("name", damage.NAMES)
def test_a_damaged_file_comes_out_as_right_pixels_or_as_a_code(name: str, tmp_path: Path) -> None:
    # Given what a whole file of this format becomes
    (tmp_path / name).write_bytes(damage.whole(name))
    whole = outcome(tmp_path / name)
    assert not isinstance(whole, str)
    codes = []
    for number, (what, data) in enumerate(damage.corpus(name, SEED, rounds=ROUNDS)):
        # When a damaged copy is opened
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(data)
        found = outcome(path)
        if isinstance(found, str):
            # Then there is a reason that a person can be told
            assert found in CODES, (number, what)
            codes.append(found)
        elif found.shape != whole.shape or not np.array_equal(found, whole):
            # Or the picture that others see in it, too; but never part of one that is cut short
            assert not what.startswith("cut"), (number, what)
            seen = is_what_another_reader_sees(found, data, name)
            assert seen or (name in UNCHECKED and is_not_filled_up(found)), (number, what)
    # And the corpus is worth its name
    assert "image_truncated" in codes
    assert len(codes) >= 2 * ROUNDS


def test_a_gif_whose_picture_ends_early_is_not_filled_up(tmp_path: Path) -> None:
    # Given a GIF in whose middle zeros, the sign of a picture's end, are written
    data = damage.whole("plain.gif")
    middle = len(data) // 2
    (tmp_path / "source.gif").write_bytes(data[:middle] + bytes(300) + data[middle + 300 :])
    assert outcome(tmp_path / "source.gif") == "image_corrupt"


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "restarts.jpg"])
def test_noise_in_a_jpeg_is_seen(name: str, tmp_path: Path) -> None:
    data = damage.whole(name)
    middle = len(data) // 2
    noise = np.random.default_rng(4).integers(0, 256, 400, dtype=np.uint8).tobytes()
    (tmp_path / name).write_bytes(data[:middle] + noise + data[middle + 400 :])
    # "truncated" where the noise names a segment that leads past the end
    assert outcome(tmp_path / name) in ("image_corrupt", "image_truncated")


def test_bytes_before_a_jpegs_tables_are_overlooked(tmp_path: Path) -> None:
    # Given a JPEG with stray bytes between its header's segments, on which its decoder remarks
    data = damage.whole("baseline.jpg")
    tables = data.index(b"\xff\xdb")
    path = tmp_path / "source.jpg"
    path.write_bytes(data[:tables] + b"\0\0\0\0" + data[tables:])
    (tmp_path / "whole.jpg").write_bytes(data)
    # Then it is read, and its pixels are all there
    found, whole = outcome(path), outcome(tmp_path / "whole.jpg")
    assert not isinstance(found, str)
    assert not isinstance(whole, str)
    assert np.array_equal(found, whole)


each_compression = pytest.mark.parametrize("compression", damaged_tiffs.READ)
each_layout = pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])


@each_layout
@each_compression
def test_a_damaged_strip_or_tile_is_a_code_or_what_another_reader_sees(
    compression: int, tiled: bool, tmp_path: Path
) -> None:
    # Given a TIFF in strips or tiles, of each compression that is read; and what a pyramid of it holds
    def pyramid(picture: Picture) -> Pixels:
        (tmp_path / SZI).unlink(missing_ok=True)
        return built(picture, tmp_path)

    whole = damaged_tiffs.READ[compression](tmp_path / "whole.tif", tiled)
    found = outcome(tmp_path / "whole.tif", pyramid)
    assert not isinstance(found, str), found
    assert np.abs(found.astype(int) - whole).mean() <= (3 if compression == 7 else 0)
    seen = 0
    for damaged in (*damaged_tiffs.DAMAGES, *damaged_tiffs.LENGTHS):
        for place in damaged_tiffs.PLACES:
            # When one of them is damaged, the first, the last, one in the middle or at the right edge
            path = tmp_path / f"{damaged}-{place}.tif"
            path.write_bytes((tmp_path / "whole.tif").read_bytes())
            damaged_tiffs.damaged(path, damaged, place)
            found = outcome(path, pyramid)
            # Then there is a code, or the pixels that are there to others, too
            if isinstance(found, str):
                assert found in {"image_corrupt", "image_truncated"}, (damaged, place)
                seen += 1
            else:
                other = damaged_tiffs.another_reader(path)
                assert other is not None, (damaged, place)
                assert np.abs(found.astype(int) - other).mean() <= (3 if compression == 7 else 0), (damaged, place)
    # And most of the damage is seen, but to pixels that are stored as they are
    assert seen >= len(damaged_tiffs.PLACES) * (2 if compression in {1, 7, 50001} else 5)
