"""The corpus of damaged files: each comes out as right pixels or as a code, never as a picture filled up with grey."""

from __future__ import annotations

import ctypes
import io
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from pipeline.errors import StageError
from pipeline.formats.admission import Limits, admit
from pipeline.pyramids.geometry import SZI, Format
from tests.support.images import damage, damaged_tiffs, makers, pictures, tiffs
from tests.support.images.pictures import Pixels
from tiler.build.preview import make_preview
from tiler.build.pyramid import build
from tiler.decode import Picture, decoder_messages, open_picture, reader_of
from tiler.failures import decoding_error
from tiler.job import Job
from tiler.progress import Meter

SEED, ROUNDS = 2026, 2
MAX_PIXELS = 10**6
NO_METER = Meter(lambda *_: None)

CODES = {"image_corrupt", "image_truncated", "image_too_large", "not_an_image", "unsupported_format"}


UNCHECKED = {"baseline.jpg", "cmyk.jpg"}
"""In which damage may decode to other pixels that libvips takes for good; Pillow may find fault behind the last one."""


@pytest.fixture(autouse=True)
def no_cache() -> Iterator[None]:
    """Has libvips keep no operation for another time, as in the tiler's child."""
    pyvips.cache_set_max(0)
    yield
    pyvips.cache_set_max(100)


def outcome(path: Path, decode: Callable[[Picture], Pixels] | None = None) -> Pixels | str:
    """Pixels, or the code of what is said instead: as the tiler's child goes about it."""
    source = reader_of(path)
    while True:
        try:
            admit(source.header(), source.memory(256), path.stat().st_size, Limits(MAX_PIXELS, 2000))
            picture = open_picture(source, meter=NO_METER, tile_format=Format.PNG if decode else None)
            return (decode or all_at_once)(picture)
        except StageError as error:
            return error.code
        except pyvips.Error as error:
            if not source.overlook(error):
                return decoding_error(source.cause(error), path).code


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
    """Whether the last row is of the picture."""
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


def remarked(data: bytes) -> bytes:
    """A JPEG on which libjpeg has a harmless remark: a revision of JFIF that it does not know."""
    changed = bytearray(data)
    changed[data.index(b"JFIF\0") + 5] = 9
    return bytes(changed)


def oddly_scanned(data: bytes) -> bytes:
    """Another one: a sequential scan that says that it holds no more than the first coefficient."""
    changed = bytearray(data)
    changed[data.index(b"\xff\xda") + 12] = 0
    return bytes(changed)


@pytest.mark.parametrize("change", [remarked, oddly_scanned])
def test_a_harmless_remark_hides_no_damage(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    # Given a JPEG on which its decoder has a harmless remark, which is the only one that it words
    data = damage.whole("pillows.jpg")
    (tmp_path / "whole.jpg").write_bytes(data)
    (tmp_path / "source.jpg").write_bytes(change(data))
    whole, found = outcome(tmp_path / "whole.jpg"), outcome(tmp_path / "source.jpg")
    assert not isinstance(whole, str)
    assert not isinstance(found, str)
    assert np.array_equal(found, whole)
    # When there is noise in it besides, then that is seen
    middle, seen = len(data) // 2, 0
    for seed in range(5):
        noise = np.random.default_rng(seed).integers(0, 256, 400, dtype=np.uint8).tobytes()
        path = tmp_path / f"{seed}.jpg"
        path.write_bytes(data[:middle] + noise + data[middle + 400 :])
        if isinstance(outcome(path), str):
            path = tmp_path / f"{seed}-remarked.jpg"
            path.write_bytes(change(data[:middle] + noise + data[middle + 400 :]))
            assert outcome(path) in ("image_corrupt", "image_truncated"), seed
            seen += 1
    assert seen >= 3


@each_layout
@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "packbits", "jpeg"])
def test_damage_is_seen_in_every_way_a_tiff_is_read(compression: str, tiled: bool, tmp_path: Path) -> None:
    # Given TIFFs that take a pass of their own, lie in planes, or bear a tag that a strict reading stumbles over
    pixels = pictures.scene(damaged_tiffs.WIDTH, damaged_tiffs.HEIGHT)
    edge = damaged_tiffs.EDGE
    cut: dict[str, Any] = {"tile": (edge, edge)} if tiled else {"rowsperstrip": damaged_tiffs.ROWS}
    ways: dict[str, tuple[Pixels, dict[str, Any]]] = {
        "turned": (pixels, {"photometric": "rgb", "extratags": [(274, 3, 1, 6, True)]}),
        "tagged": (pixels, {"photometric": "rgb", "extratags": [(296, 3, 1, 99, True)]}),
    }
    if compression != "jpeg":
        ways["float"] = pixels[..., 0].astype(np.float32) * 3, {"photometric": "minisblack"}
    if compression != "jpeg" and not (tiled and compression in {"lzw", "packbits"}):
        ways["planes"] = np.moveaxis(pixels, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}
    for name, (stored, options) in ways.items():
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, np.ascontiguousarray(stored), compression=compression, metadata=None, **options, **cut)
        (tmp_path / "out").mkdir(exist_ok=True)
        assert not isinstance(outcome(path, lambda picture: built(picture, tmp_path / "out")), str), name
        # When a strip or tile of them is damaged
        for place in ("middle", "last"):
            bad = tmp_path / f"{name}-{place}.tif"
            bad.write_bytes(path.read_bytes())
            damaged_tiffs.damaged(bad, "noise", place)
            shutil.rmtree(tmp_path / "out")
            (tmp_path / "out").mkdir()
            # Then it is seen
            assert outcome(bad, lambda picture: built(picture, tmp_path / "out")) == "image_corrupt", (name, place)
        shutil.rmtree(tmp_path / "out")


def test_no_preview_is_made_of_an_overview_that_is_damaged(tmp_path: Path) -> None:
    # Given a large TIFF with overviews, and in its least one a tile of noise
    path = tmp_path / "source.tif"
    pixels = pictures.scene(4000, 2100)
    with tifffile.TiffWriter(path) as file:
        for step in (1, 4):
            level = np.ascontiguousarray(pixels[::step, ::step])
            kind = 1 if step > 1 else 0
            file.write(level, photometric="rgb", compression="lzw", tile=(256, 256), metadata=None, subfiletype=kind)
    source = reader_of(path)
    assert make_preview(source, source.header(), tmp_path, NO_METER) == (1000, 525)
    with tifffile.TiffFile(path) as file:
        overview = file.pages[1]
        assert isinstance(overview, tifffile.TiffPage)
        at, length = overview.dataoffsets[1], overview.databytecounts[1]
    data = bytearray(path.read_bytes())
    data[at : at + length] = np.random.default_rng(1).bytes(length)
    bad = tmp_path / "bad.tif"
    bad.write_bytes(data)
    # Then there is none
    source = reader_of(bad)
    assert make_preview(source, source.header(), tmp_path, NO_METER) is None


@each_layout
def test_no_remark_on_a_jpeg_within_a_tiff_is_passed_over(tiled: bool, tmp_path: Path) -> None:
    # Given JPEGs in a TIFF, of each of which libjpeg words one remark: behind a harmless one there may be any other
    saved = io.BytesIO()
    Image.fromarray(pictures.scene(64, 64)).save(saved, "JPEG", quality=85)
    results: list[Pixels | str] = []
    for jpeg in (saved.getvalue(), remarked(saved.getvalue())):
        path = tmp_path / f"{len(results)}.tif"
        pixels = np.zeros((128, 64, 3), np.uint8)
        tiffs.write(
            path,
            pixels,
            photometric=6,
            rows=64,
            tile=64 if tiled else 0,
            compression=7,
            encode=lambda _, data=jpeg: data,  # type: ignore[misc]  # the loop's own
            more={530: ("H", [2, 2])},
        )
        results.append(outcome(path, lambda picture: built(picture, tmp_path)))
        (tmp_path / SZI).unlink(missing_ok=True)
    assert not isinstance(results[0], str)
    assert results[1] == "image_corrupt"


def test_what_counts_is_heard_among_any_number_of_remarks_that_do_not() -> None:
    # Given a library that speaks to GLib's log
    library = ctypes.CDLL(pyvips_library())
    library.g_log.argtypes = ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p
    with decoder_messages.heard() as words:
        for _ in range(5 * decoder_messages.MOST):
            library.g_log(b"VIPS", 1 << 4, b"Old-style LZW codes, convert file")
        library.g_log(b"VIPS", 1 << 4, b"Premature EOF at line 1 of strip 7 \xff")
    assert words.remarks == ["Premature EOF at line 1 of strip 7 \ufffd"]
    # And of errors it is told when there were more than libvips keeps
    with decoder_messages.heard() as words:
        for _ in range(1000):
            library.vips_error(b"tiff2vips", b"ZSTD compression support is not configured")
    assert words.errors[-1] == "further errors were cut off"


def pyvips_library() -> str:
    """Where libvips is loaded from, which has GLib in it."""
    maps = Path("/proc/self/maps").read_text()
    return next(line.split()[-1] for line in maps.splitlines() if "libvips-" in line)


@pytest.mark.parametrize(
    ("name", "head", "beginning"),
    [("pillows.jpg", 2, b"\xff\xd8\0"), ("pillows.jpg", 2, b"\xff\xd8\0\0\0"), ("plain.gif", 6, b"GIF88a")],
)
def test_an_odd_beginning_that_a_decoder_takes_hides_no_damage(
    name: str, head: int, beginning: bytes, tmp_path: Path
) -> None:
    # Given a file that does not begin as its specification says, and that its decoder reads all the same
    data = damage.whole(name)
    path = tmp_path / "source"
    path.write_bytes(beginning + data[head:])
    assert not isinstance(outcome(path), str)
    # When it is damaged, then that is seen as in any other
    middle = len(data) // 2
    noise = np.random.default_rng(4).integers(0, 256, 400, dtype=np.uint8).tobytes()
    for number, written in enumerate((noise, bytes(300))):
        damaged = data[:middle] + written + data[middle + len(written) :]
        paths = tmp_path / f"{number}-plain", tmp_path / f"{number}-odd"
        paths[0].write_bytes(damaged)
        paths[1].write_bytes(beginning + damaged[head:])
        assert isinstance(outcome(paths[0]), str) == isinstance(outcome(paths[1]), str)
    assert isinstance(outcome(tmp_path / ("1-odd" if name.endswith("gif") else "0-odd")), str)


@pytest.mark.filterwarnings("ignore")  # Pillow's, about damaged files
@pytest.mark.parametrize("page", [0, 2])
def test_a_gif_of_several_frames_is_never_ready_with_some_of_their_pixels(page: int, tmp_path: Path) -> None:
    # Given an animation, in which a bit is changed or a piece zeroed, anywhere in its frames
    saved = io.BytesIO()
    frames = [Image.fromarray(pictures.scene(150, 120, seed=seed)).quantize(200) for seed in range(3)]
    frames[0].save(saved, "GIF", save_all=True, append_images=frames[1:])
    data = saved.getvalue()
    dice = random.Random(8)  # noqa: S311  the same damage in every run
    codes = 0
    for number in range(60):
        at = dice.randrange(len(data) // 6, len(data) - 300)
        changed = bytes([data[at] ^ 1 << dice.randrange(8)]) if number % 2 else bytes(dice.randrange(1, 300))
        damaged = data[:at] + changed + data[at + len(changed) :]
        path = tmp_path / f"{number}.gif"
        path.write_bytes(damaged)
        # When a page is read
        try:
            found = all_at_once(open_picture(reader_of(path, page), meter=NO_METER))
        except (StageError, pyvips.Error):
            codes += 1
            continue
        # Then it is refused, or another reader sees the same
        with Image.open(io.BytesIO(damaged)) as image:
            image.seek(page)
            other = np.asarray(image.convert("RGBA" if found.shape[2] == 4 else "RGB"))
        assert np.abs(found.astype(int) - other).mean() < 3, number
    assert codes >= 10
