"""TIFFs compressed by zstd beyond the matrix: their pages, what is wrong with them, what they cost."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from pipeline.errors import StageError
from pipeline.formats import tiff
from pipeline.formats.decoder_errors import OFFER
from pipeline.formats.header import Header
from pipeline.formats.probe.parent import Budget, probe
from pipeline.run import Run
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.images import makers, pictures, tiffs, zstd_tiffs
from tests.support.images.pictures import Pixels
from tiler.build.preview import make_preview
from tiler.decode import open_picture, reader_of
from tiler.decode.readers.tiff.recoded import Recoded
from tiler.failures import decoding_error
from tiler.job import Built, Job
from tiler.parent import build
from tiler.progress import Meter

SMALL = pictures.scene(24, 16)


RAW = SMALL.tobytes()
WINDOW_OF_2_GB = b"\x28\xb5\x2f\xfd\x00\xa8" + struct.pack("<I", len(RAW) << 3 | 1)[:3] + RAW


def refusal(path: Path) -> StageError:
    """What is said of a file that is not read."""
    source = reader_of(path)
    with pytest.raises((StageError, pyvips.Error)) as caught, source.heeded():
        source.open().numpy()
    return decoding_error(source.cause(caught.value), path)


def built(path: Path, page: int = 0, memory_bytes: int | None = None, work_seconds: int | None = None) -> Built:
    """What a child makes of it, in its sandbox."""
    out = path.parent / f"page {page}"
    out.mkdir()
    job = Job(str(path), str(out), "t" * 64, "s" * 64, 256, 10**9, "8.18.3", page=page, tile_format="png")
    job = job._replace(memory_bytes=memory_bytes, work_seconds=work_seconds)
    wake_up = pb.WakeUp(dataset_id="custom_0123abcd", attempt=1, stage=pb.STAGE_TILER)
    return build(Run("r" * 32, wake_up, pb.Grant()), job, threads=0)


def written(path: Path, frame: bytes, pixels: Pixels = SMALL) -> Path:
    """A page of one strip, with whatever is given as its frame."""
    return tiffs.write(path, pixels, compression=zstd_tiffs.ZSTD, encode=lambda _: frame)


def test_it_is_built_in_the_sandbox(tmp_path: Path) -> None:
    # Given a picture of several tiles, when a child builds it
    pixels = zstd_tiffs.scene(tmp_path / "source.tif", 300, 280, predictor=2, rowsperstrip=11)
    done = built(tmp_path / "source.tif")
    # Then its tiles show it
    assert (done.width, done.height, done.extension) == (300, 280, "png")
    tile = pictures.decode(pictures.deep_zoom(tmp_path / "page 0/pyramid.szi")[9, 0, 0])
    assert np.array_equal(tile, pixels[:256, :256])


@pytest.mark.parametrize("compressed", [(True, False, True), (False, True, False)])
def test_any_page_is_read_whatever_the_others_are_compressed_by(compressed: tuple[bool, ...], tmp_path: Path) -> None:
    # Given three pages, of which some are compressed by zstd
    pages = [pictures.scene(61, 37, seed=seed) for seed in range(3)]
    with tifffile.TiffWriter(tmp_path / "source.tif") as file:
        for pixels, zstd in zip(pages, compressed, strict=True):
            file.write(pixels, photometric="rgb", compression="zstd" if zstd else None, metadata=None)
    # When each is built, then it is that page, and all are counted
    for number, pixels in enumerate(pages):
        built(tmp_path / "source.tif", number)
        out = tmp_path / f"page {number}"
        assert np.array_equal(pictures.decode(pictures.deep_zoom(out / "pyramid.szi")[6, 0, 0]), pixels)
        source = json.loads((out / "pyramid.json").read_text())["source"]
        assert (source["pages"], source["page"]) == (3, number)


@pytest.mark.parametrize("below", [False, True])
def test_its_overview_gives_a_preview(below: bool, tmp_path: Path) -> None:
    # Given a picture of 9.7 megapixels with overviews of a half and a quarter of its edges
    pixels = zstd_tiffs.pyramid(tmp_path / "source.tif", 4400, 2200, below=below, tile=(512, 512))
    source = reader_of(tmp_path / "source.tif")
    # When a preview is made, then it is of the smaller one
    assert make_preview(source, source.header(), tmp_path, Meter(lambda *_: None)) == (1024, 512)
    small = source.open(subifd=1) if below else source.open(page=2)
    assert np.array_equal(small.numpy(), pixels[::4, ::4])
    seen = pictures.decode((tmp_path / "preview.jpg").read_bytes()).astype(int)
    assert np.abs(seen[:: 512 // 4, :: 1024 // 8] - pixels[:: 2200 // 4, :: 4400 // 8]).mean() < 40


def test_its_orientation_is_applied(tmp_path: Path) -> None:
    zstd_tiffs.save(tmp_path / "source.tif", SMALL, extratags=[(274, 3, 1, 6, True)])
    picture = open_picture(reader_of(tmp_path / "source.tif"), meter=Meter(lambda *_: None))
    assert np.array_equal(picture.image.numpy(), SMALL.transpose(1, 0, 2)[:, ::-1])


def test_bits_in_reverse_are_put_right(tmp_path: Path) -> None:
    # Given FillOrder 2: each byte's bits reversed after compression, as libtiff does
    reverse = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    path = written(tmp_path / "source.tif", zstd_tiffs.compress(RAW).translate(reverse))
    data = bytearray(path.read_bytes())
    # RowsPerStrip, which one strip does without, makes room for the tag
    at = data.index(struct.pack("<HHI", 278, 4, 1))
    data[at : at + 12] = struct.pack("<HHIHH", 266, 3, 1, 2, 0)
    path.write_bytes(data)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), SMALL)
    assert np.array_equal(reader_of(path).open().numpy(), SMALL)


def test_a_last_strip_padded_to_the_height_of_the_others_is_read(tmp_path: Path) -> None:
    # Given strips of 12 rows of a picture of 16, the last as long as the first
    tiffs.write(
        tmp_path / "source.tif",
        SMALL,
        rows=12,
        compression=zstd_tiffs.ZSTD,
        encode=lambda strip: zstd_tiffs.compress(strip.ljust(12 * 24 * 3, b"\0")),
    )
    assert np.array_equal(reader_of(tmp_path / "source.tif").open().numpy(), SMALL)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (zstd_tiffs.compress(RAW[:1000]), "holds 1,000 bytes, not 1,152"),
        (zstd_tiffs.compress(RAW + b"\0"), "holds more than its 1,152 bytes"),
        (zstd_tiffs.compress(RAW)[:-9], "has no end"),
        (b"", "has no end"),
        (b"not a frame", "is broken: Unable to decompress Zstandard data: Unknown frame descriptor"),
        (WINDOW_OF_2_GB, "is broken: Unable to decompress Zstandard data: Frame requires too much memory for decoding"),
    ],
)
def test_a_strip_that_is_not_what_the_directory_says_is_damage(frame: bytes, message: str, tmp_path: Path) -> None:
    error = refusal(written(tmp_path / "source.tif", frame))
    assert error.code == "image_corrupt"
    assert error.message.startswith(f"The image file is damaged (a compressed strip or tile {message}). Open it")


def test_a_frame_of_the_same_bytes_with_a_common_window_is_none(tmp_path: Path) -> None:
    # The one that is refused above is refused for its window alone
    frame = WINDOW_OF_2_GB[:5] + b"\x58" + WINDOW_OF_2_GB[6:]
    assert np.array_equal(reader_of(written(tmp_path / "source.tif", frame)).open().numpy(), SMALL)


def test_a_strip_that_the_file_ends_before_is_cut_short(tmp_path: Path) -> None:
    path = written(tmp_path / "source.tif", zstd_tiffs.compress(pictures.noise(24, 16).tobytes()))
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(path).code == "image_truncated"


def test_a_strip_that_lies_behind_the_file_is_cut_short(tmp_path: Path) -> None:
    path = written(tmp_path / "source.tif", zstd_tiffs.compress(RAW))
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHI", 273, 4, 1)) + 8
    data[at : at + 4] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    assert refusal(path).code == "image_truncated"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (struct.pack("<4sHH", b"II+", 8, 0), b"\xff" * 8),  # the directory
        (struct.pack("<HH", 296, 3), struct.pack("<Q", 1000) + b"\xff" * 8),  # values of one of its entries
        (struct.pack("<HHQ", 273, 16, 1), b"\xff" * 8),  # the strip
    ],
    ids=["directory", "values", "strip"],
)
def test_what_lies_further_than_any_file_reaches_is_cut_short(before: bytes, after: bytes, tmp_path: Path) -> None:
    # Given a BigTIFF of which a part is said to lie where no system can seek to
    path = tmp_path / "source.tif"
    zstd_tiffs.save(path, SMALL, bigtiff=True, rowsperstrip=16)
    data = bytearray(path.read_bytes())
    at = data.index(before) + len(before)
    data[at : at + len(after)] = after
    path.write_bytes(data)
    with pytest.raises(StageError) as caught:
        built(path)
    assert caught.value.code == "image_truncated"


def test_fewer_strips_than_the_picture_has_are_damage(tmp_path: Path) -> None:
    path = written(tmp_path / "source.tif", zstd_tiffs.compress(RAW))
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHI", 278, 4, 1)) + 8
    data[at : at + 4] = struct.pack("<I", 2)
    path.write_bytes(data)
    error = refusal(path)
    assert (error.code, error.message) == (
        "image_corrupt",
        "The image file is damaged (its directory lists 1 of 8 strips or tiles). "
        f"Open it in another program, save it again, then retry. {OFFER}",
    )


def test_coarser_colours_are_an_unsupported_format(tmp_path: Path) -> None:
    tiffs.write(
        tmp_path / "source.tif",
        SMALL,
        photometric=tiffs.YCBCR,
        compression=zstd_tiffs.ZSTD,
        encode=zstd_tiffs.compress,
    )
    assert refusal(tmp_path / "source.tif").code == "unsupported_format"


def test_a_bomb_costs_no_more_than_what_the_directory_says(tmp_path: Path) -> None:
    # Given a strip of 16 rows that holds two gigabytes
    path = written(tmp_path / "source.tif", many_zeros(2 << 30))
    assert path.stat().st_size < 70_000
    # When a child is given it, with little memory and time, then it is damage, and neither runs out
    with pytest.raises(StageError) as caught:
        built(path, memory_bytes=100 << 20, work_seconds=5)
    assert caught.value.code == "image_corrupt"


def many_zeros(size: int) -> bytes:
    """A frame of blocks of one byte repeated (RFC 8878, 3.1.1.2), 128 KiB each."""
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"\0"
    last = struct.pack("<I", 1 << 3 | 1 << 1 | 1)[:3] + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x70" + block * (size >> 17) + last


def test_one_strip_of_many_rows_takes_no_more_memory_than_many(tmp_path: Path) -> None:
    # Given 48 megabytes of pixels in one strip
    path = tmp_path / "source.tif"
    zstd_tiffs.save(path, np.tile(pictures.scene(4000, 40), (100, 1, 1)), rowsperstrip=4000)
    tracemalloc.start()
    with path.open("rb") as file:
        directory = tiff.find(file, 0)
        assert directory is not None
        recoded = Recoded(path, directory)
    source = recoded.source()
    # When it is read to the end
    image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error")
    assert image.avg() > 0
    # Then what Python holds of it was a few strips at any time
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert recoded.fault is None
    assert peak < 5 << 20


def test_a_header_somewhere_else_is_told(tmp_path: Path) -> None:
    zstd_tiffs.scene(tmp_path / "source.tif", 300, 280, tile=(64, 64))
    data = (tmp_path / "source.tif").read_bytes()

    class Remote:
        length: int | None = len(data)

        def read(self, first: int, end: int) -> bytes:
            return data[first:end]

    found = probe(Remote(), page=0, min_libvips="8.18.3", budget=Budget(1 << 20, 100, 60), folder=tmp_path)
    assert found.verdict is None
    assert found.header == Header("tiff", 300, 280, 1)


def test_other_pictures_do_not_wait_for_what_it_needs(tmp_path: Path) -> None:
    # Given a process that has read another TIFF
    makers.by_libvips(tmp_path / "source.tif", 30, 20)
    code = (
        "import sys; from pathlib import Path; from tiler.decode import reader_of;"
        "reader_of(Path(sys.argv[1])).open().avg();"
        "print(sorted(name for name in sys.modules if 'zstd' in name or 'recoded' in name))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "source.tif")],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert said.stdout == "[]\n"
