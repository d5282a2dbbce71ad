"""What is taken, judged by a header alone: by literal pictures, and against real headers of each format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pyvips

from pipeline import machine
from pipeline.errors import StageError
from pipeline.formats.admission import Limits, admit
from pipeline.formats.header import Header, decoding_memory, header_of, memory_of
from pipeline.formats.settings import PictureSettings
from tests.support.images import pictures

MB = 10**6
LIMITS = Limits(pixels=10**11, pixels_per_byte=5000, memory=3 * 10**9)


def found(width: int, height: int, kind: str = "png", **cost: Any) -> tuple[Header, int]:
    """A header, and the memory that such a picture takes."""
    header = Header(kind, width, height, 1)
    return header, decoding_memory(header, **({"samples": 1} | cost))


@pytest.mark.parametrize(
    ("picture", "source_bytes"),
    [
        (found(43_200, 21_600), 2 * MB),  # a map of all land
        (found(32_768, 32_768), 130_000),  # a plain gigapixel
        (found(60_000, 60_000), 2 * MB),  # a drawing
        (found(50_000, 50_000, "tiff"), 1_191_606),  # a map of 60 islands, in black and white as G4
        (found(300_000, 300_000, "tiff", samples=3), 90_000 * MB),  # a scan of 90 gigapixels
        (found(16_384, 16_384, "jpeg", samples=1.5, interlaced=True), 40 * MB),  # progressive
        (found(60_000, 60_000), None),  # of a length that is not known yet
        (found(1, 60_000), 200),
        (found(60_000, 1), 200),
        (found(2000, 2000, "tiff", samples=200), 8 * MB),  # a spectrum a pixel
    ],
)
def test_honest_pictures_are_taken(picture: tuple[Header, int], source_bytes: int | None) -> None:
    admit(*picture, source_bytes, LIMITS)


@pytest.mark.parametrize(
    ("picture", "source_bytes", "limits", "message"),
    [
        (
            found(400_000, 300_000, samples=3),
            10**11,
            LIMITS,
            "The image has 400,000 x 300,000 pixels, 120,000,000,000 in total; the limit is 100,000,000,000 "
            "(TILEWRIGHT_MAX_PIXELS).",
        ),
        (
            found(60_000, 60_000),
            437_000,
            LIMITS,
            "The file of 437,000 bytes unpacks to 60,000 x 60,000 pixels, 8,237 for each byte; above 1,073,741,824 "
            "pixels the limit is 5,000 for each byte (TILEWRIGHT_MAX_PIXELS_PER_BYTE).",
        ),
        (
            found(49_157, 27_397, "jpeg", samples=3),
            613,
            LIMITS,
            "The file of 613 bytes unpacks to 49,157 x 27,397 pixels, 2,196,989 for each byte; above 1,073,741,824 "
            "pixels the limit is 5,000 for each byte (TILEWRIGHT_MAX_PIXELS_PER_BYTE).",
        ),
        (
            found(40_000, 30_000, "jpeg", samples=3, interlaced=True),
            400 * MB,
            LIMITS,
            "A progressive JPEG of 40,000 x 30,000 pixels needs about 7.4 GB of memory to decode; the limit is 3.0 GB "
            "(TILEWRIGHT_DECODE_MEMORY_BYTES). Save it as a baseline JPEG, which is decoded a few rows at a time.",
        ),
        (
            found(60_000, 20_000, interlaced=True),
            100 * MB,
            LIMITS._replace(memory=10**9),
            "An interlaced PNG of 60,000 x 20,000 pixels needs about 1.5 GB of memory to decode; the limit is 1.0 GB "
            "(TILEWRIGHT_DECODE_MEMORY_BYTES). Save it as a PNG without interlacing, which is decoded a few rows at a "
            "time.",
        ),
        (
            found(30_000, 30_000, "avif", samples=3),
            100 * MB,
            LIMITS,
            "An AVIF of 30,000 x 30,000 pixels needs about 13.7 GB of memory to decode; the limit is 3.0 GB "
            "(TILEWRIGHT_DECODE_MEMORY_BYTES). Save it as a tiled TIFF, which is decoded a few rows at a time.",
        ),
        (
            found(900, 900, "tiff", samples=60_000),
            100 * MB,
            LIMITS,
            "A TIFF of 900 x 900 pixels needs about 32.5 GB of memory to decode; the limit is 3.0 GB "
            "(TILEWRIGHT_DECODE_MEMORY_BYTES). Save it in tiles of 256 x 256 pixels.",
        ),
    ],
)
def test_what_is_refused_is_told_the_limit_and_the_value(
    picture: tuple[Header, int], source_bytes: int, limits: Limits, message: str
) -> None:
    with pytest.raises(StageError) as caught:
        admit(*picture, source_bytes, limits)
    assert (caught.value.code, caught.value.message, caught.value.retryable) == ("image_too_large", message, False)


@pytest.mark.parametrize(
    ("picture", "source_bytes", "limits"),
    [
        (found(1000, 1000), 10**6, LIMITS._replace(pixels=10**6)),
        (found(40_000, 30_000), 240_000, LIMITS),
        (found(1000, 1000), 10**6, LIMITS._replace(memory=found(1000, 1000)[1])),
    ],
)
def test_a_limit_is_the_last_that_is_taken(picture: tuple[Header, int], source_bytes: int, limits: Limits) -> None:
    # Given a picture at a limit, then it is taken
    admit(*picture, source_bytes, limits)
    # And one that is a pixel wider is not
    with pytest.raises(StageError):
        admit(*found(picture[0].width + 1, picture[0].height), source_bytes, limits)


def test_where_nobody_knows_the_memory_it_is_not_judged() -> None:
    admit(*found(60_000, 60_000, "avif"), 100 * MB, LIMITS._replace(memory=None))


PIXELS = 1500 * 1000


@pytest.mark.parametrize(
    ("name", "options", "kind", "held"),
    [
        ("a.jpg", {}, "jpeg", 0.0),
        ("a.jpg", {"interlace": True}, "jpeg", 3.0),  # colours at half the resolution: 1.5 samples a pixel
        ("a.jpg", {"interlace": True, "subsample_mode": "off"}, "jpeg", 6.0),
        ("a.png", {}, "png", 0.0),
        ("a.png", {"interlace": True}, "png", 3.0),
        ("a.tif", {}, "tiff", 0.0),
        ("a.tif", {"tile": True, "pyramid": True}, "tiff", 0.0),
        ("a.webp", {"effort": 0}, "webp", 8.0),
        ("a.avif", {"effort": 0}, "avif", 15.0),
        ("a.gif", {"effort": 1}, "gif", 5.0),
    ],
)
def test_a_real_header_says_what_its_decoder_holds(
    name: str, options: dict[str, Any], kind: str, held: float, tmp_path: Path
) -> None:
    path = pictures.save(pictures.scene(1500, 1000), tmp_path / name, **options)
    image = pyvips.Image.new_from_file(str(path))
    header = header_of(image)
    assert header[:3] == (kind, 1500, 1000)
    streamed = decoding_memory(Header("tiff", 1500, 1000, 1))
    assert memory_of(image, header) - streamed == held * PIXELS


def test_a_header_read_from_a_source_of_ranges_is_the_same(tmp_path: Path) -> None:
    data = pictures.jpeg(tmp_path / "a.jpg", interlace=True).read_bytes()
    remote = pyvips.Image.new_from_source(pyvips.Source.new_from_memory(data), "")
    local = pyvips.Image.new_from_file(str(tmp_path / "a.jpg"))
    assert header_of(remote) == header_of(local)
    assert memory_of(remote, header_of(remote)) == memory_of(local, header_of(local))


def test_wide_samples_are_reckoned_with(tmp_path: Path) -> None:
    deep = pictures.scene(1500, 1000).astype("uint16") * 257
    image = pyvips.Image.new_from_file(str(pictures.save(deep, tmp_path / "deep.png", "rgb16", interlace=True)))
    flat = decoding_memory(Header("png", 1500, 1000, 1))
    # Six bytes a pixel of the whole, and two more than is common for its rows
    assert memory_of(image, header_of(image)) - flat == 6 * PIXELS + 2 * 1500 * 600


def test_a_container_has_the_memory_that_its_group_is_allowed(tmp_path: Path) -> None:
    # Given a machine
    nowhere = tmp_path / "none"
    whole = machine.memory_bytes(nowhere, nowhere)
    assert whole > 2**28
    # And groups of version 2: a limit stands on the process's own group or on one above it
    membership = tmp_path / "cgroup"
    membership.write_text("0::/system/job\n")
    (tmp_path / "v2/system/job").mkdir(parents=True)
    (tmp_path / "v2/system/job/memory.max").write_text("max\n")
    assert machine.memory_bytes(tmp_path / "v2", membership) == whole
    (tmp_path / "v2/system/memory.max").write_text("200000000\n")
    assert machine.memory_bytes(tmp_path / "v2", membership) == 200_000_000
    (tmp_path / "v2/system/job/memory.max").write_text("100000000\n")
    assert machine.memory_bytes(tmp_path / "v2", membership) == 100_000_000
    # And in a container that sees its own group as the root, with the name of one outside
    membership.write_text("9:name=systemd:/\n4:cpu,memory:/docker/0123\n")
    (tmp_path / "v1/memory").mkdir(parents=True)
    (tmp_path / "v1/memory/memory.limit_in_bytes").write_text("150000000\n")
    assert machine.memory_bytes(tmp_path / "v1", membership) == 150_000_000
    # And no limit is above what there is
    (tmp_path / "v1/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine.memory_bytes(tmp_path / "v1", membership) == whole


def test_the_memory_limit_is_three_quarters_of_what_there_is_unless_set() -> None:
    assert PictureSettings(decode_memory_bytes=5 * 10**8).memory_limit == 5 * 10**8
    assert PictureSettings().memory_limit == machine.memory_bytes() * 3 // 4
