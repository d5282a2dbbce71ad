"""TIFFs whose samples libvips does not read, beyond the matrix: every layout, what they leave out, damage, cost."""

from __future__ import annotations

import itertools
import lzma
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from pipeline.errors import StageError
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.child import find_header
from pipeline.formats.probe.protocol import Found
from pipeline.stretch import Kind, Stretch
from tests.support.images import pictures, tiffs
from tests.support.images.pictures import Pixels
from tiler.decode import open_picture, reader_of
from tiler.failures import decoding_error
from tiler.progress import Meter

WIDTH, HEIGHT = 53, 50

COMPRESSIONS: dict[int, Any] = {
    1: bytes,
    5: imagecodecs.lzw_encode,
    8: zlib.compress,
    32773: imagecodecs.packbits_encode,
    34925: imagecodecs.lzma_encode,
    50000: imagecodecs.zstd_encode,
}
"""Encoders by the number of the compression."""

CUTS: tuple[dict[str, Any], ...] = ({}, {"tile": (32, 16)}, {"rowsperstrip": 7})

RANDOM = np.random.default_rng(1)


def samples(dtype: str, bands: int) -> Any:
    values = RANDOM.random((HEIGHT, WIDTH, bands)) * 1e12
    if "c" in dtype:
        values = values + 1j * RANDOM.random(values.shape) * 1e12
    return (values - 4e11).astype(dtype) if "i" in dtype else values.astype(dtype)


def read(path: Path) -> Pixels:
    """The samples of a page, and whether its header is known before the download."""
    reader = reader_of(path)
    try:
        with reader.heeded():
            found: Pixels = reader.open().numpy()
    except Exception as error:
        raise decoding_error(reader.cause(error), path) from error
    data = path.read_bytes()
    seen = find_header(pyvips, Blocks(lambda at, size: data[at : at + size], len(data)), 0)
    assert isinstance(seen, Found)
    assert (seen.width, seen.height) == (found.shape[1], found.shape[0])
    return found if found.ndim == 3 else found[..., None]


@pytest.mark.parametrize("dtype", ["f8", "c8", "c16", "i8", "u8"])
def test_wide_samples_are_those_that_were_written(dtype: str, tmp_path: Path) -> None:
    ways = list(
        itertools.product((None, "lzw", "zlib", "zstd", "lzma", "packbits"), CUTS, "<>", (False, True), (None, 3))
    )
    for number, (compression, cut, order, planar, predictor) in enumerate(ways):
        if predictor and (dtype != "f8" or compression in {None, "packbits"}):
            continue
        values = samples(dtype, 3)
        options: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate" if planar else "contig", **cut}
        stored = np.moveaxis(values, 2, 0) if planar else values
        tifffile.imwrite(
            tmp_path / f"{number}.tif",
            np.ascontiguousarray(stored),
            compression=compression,
            predictor=predictor,
            byteorder=order,
            metadata=None,
            **options,
        )
        expected = np.abs(values) if "c" in dtype else values.astype(float)
        found = read(tmp_path / f"{number}.tif")
        assert np.allclose(found, expected, rtol=1e-6 if "c" in dtype else 0, atol=0), (compression, options, predictor)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("dtype", ["f8", "i8", "u8"])
def test_differences_of_64_bit_samples_are_added_up(dtype: str, order: str, tmp_path: Path) -> None:
    # Given the predictor as libtiff writes it: differences of the bits, of floats as well
    for bands, tile in itertools.product((1, 3), (0, 16)):
        values = samples(dtype, bands)
        bits = values.view("u8")
        padded = np.pad(bits, ((0, -HEIGHT % tile), (0, -WIDTH % tile), (0, 0)), mode="edge") if tile else bits
        parts = np.split(padded, range(tile, padded.shape[1], tile), axis=1) if tile else [padded]
        parts = [np.diff(part, axis=1, prepend=np.zeros_like(part[:, :1])) for part in parts]
        stored = np.concatenate(parts, axis=1)[:, : None if tile else WIDTH]
        path = tiffs.write(
            tmp_path / f"{bands}-{tile}.tif",
            stored,
            tile=tile,
            big_endian=order == "big",
            compression=8,
            encode=zlib.compress,
            more={
                256: ("I", [WIDTH]),
                257: ("I", [HEIGHT]),
                317: ("H", [2]),
                339: ("H", [{"f": 3, "i": 2, "u": 1}[dtype[0]]] * bands),
            },
        )
        assert np.array_equal(read(path), values.astype(float)), (bands, tile)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17, 20, 24, 31])
def test_packed_samples_are_those_that_were_written(bits: int, tmp_path: Path) -> None:
    most = (1 << bits) - 1
    dtype = np.uint8 if bits < 8 else np.uint16 if bits < 16 else np.uint32
    ways = itertools.product((1, 3), (0, 16), (False, True), (False, True), (1, 5, 8, 32773))
    for number, (bands, tile, big_endian, planar, compression) in enumerate(ways):
        values = RANDOM.integers(0, most, (21, 37, bands), endpoint=True).astype(dtype)
        path = tiffs.write(
            tmp_path / f"{number}.tif",
            values,
            bits=bits,
            tile=tile,
            rows=0 if tile else 5,
            big_endian=big_endian,
            planar=planar,
            compression=compression,
            encode=COMPRESSIONS[compression],
        )
        expected = np.rint(values.astype(float) * 255 / most) if bits < 8 else values
        assert np.array_equal(read(path), expected), (bands, tile, big_endian, planar, compression)


def shown(path: Path) -> Pixels:
    picture = open_picture(reader_of(path), meter=Meter(lambda *_: None))
    with picture.heeded():
        return np.asarray(picture.image.numpy())


def test_white_may_be_zero_and_a_last_band_transparency(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 4095, (20, 30, 1), endpoint=True).astype(np.uint16)
    path = tiffs.write(tmp_path / "source.tif", values, bits=12, photometric=tiffs.WHITE_IS_ZERO)
    levels = 255 - np.rint(values * (255 / 4095))
    assert np.abs(shown(path).astype(int) - levels).max() <= 1
    path = tiffs.write(tmp_path / "plain.tif", values // 8, bits=12)
    picture = open_picture(reader_of(path), meter=Meter(lambda *_: None), stretch=Stretch(Kind.NONE))
    assert np.abs(picture.image.numpy() - values // 8 * (255 / 4095)).max() <= 1
    both = np.concatenate([values, values[::-1]], axis=2)
    path = tiffs.write(tmp_path / "both.tif", both, bits=12, extra=[2])
    found = shown(path)
    assert found.shape[2] == 4
    assert np.abs(found[..., 3] - both[..., 1] * (255 / 4095)).max() <= 1
    # Colours that are multiplied by it become no more than white, even if they are more than it
    colours = pictures.scene(60, 40, bands=4).astype(np.uint16) * 16
    for planar in (False, True):
        path = tiffs.write(tmp_path / f"{planar}.tif", colours, bits=12, extra=[1], planar=planar)
        expected = np.clip(colours[..., :3] / (np.maximum(colours[..., 3:], 1) / 4095), 0, 4095) * (255 / 4095)
        assert np.abs(shown(path)[..., :3] - expected).max() <= 1
    for dtype in (np.float64, np.int64):
        path = tiffs.write(tmp_path / f"{dtype.__name__}.tif", values.astype(dtype), photometric=tiffs.WHITE_IS_ZERO)
        found = shown(path)[..., 0]
        assert (found[values[..., 0] > 4050] == 0).all(), dtype
        assert (found[values[..., 0] < 40] == 255).all(), dtype


@pytest.mark.parametrize("dtype", ["f8", "i8"])
def test_nodata_and_what_a_page_leaves_out_are_transparent(dtype: str, tmp_path: Path) -> None:
    values = samples(dtype, 1)[:32, :48]
    values[:16, :16] = -9999
    path = tmp_path / "source.tif"
    tifffile.imwrite(path, values[..., 0], tile=(16, 16), extratags=[(42113, 2, 6, "-9999", True)], metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        page = file.pages.first
        offsets, lengths = list(page.dataoffsets), list(page.databytecounts)
        offsets[-1] = lengths[-1] = 0
        page.tags[324].overwrite(offsets)
        page.tags[325].overwrite(lengths)
    alpha = shown(path)[..., 3]
    expected = np.full((32, 48), 255)
    expected[:16, :16] = expected[16:, 32:] = 0
    assert np.array_equal(alpha, expected)


def written(path: Path, compression: int, kind: str) -> Pixels:
    if kind == "12":
        values = RANDOM.integers(0, 4095, (64, 48, 1), endpoint=True).astype(np.uint16) // 64
        options = {"bits": 12}
    else:
        values, options = np.rint(RANDOM.random((64, 48, 1)) * 9), {}
    tiffs.write(path, values, rows=16, compression=compression, encode=COMPRESSIONS[compression], **options)  # type: ignore[arg-type]
    return values


@pytest.mark.parametrize("kind", ["12", "f8"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_damage_ends_by_a_code_and_the_rest_is_shown_on_request(compression: int, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    values = written(path, compression, kind)
    data = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        offsets, lengths = file.pages.first.dataoffsets, file.pages.first.databytecounts
    # Given a file that ends within its last strip, and one whose third strip is noise
    cut = data[: offsets[3] + lengths[3] // 2]
    noise = RANDOM.bytes(lengths[2]) if compression != 32773 else b"\x80" * lengths[2]
    torn = data[: offsets[2]] + noise + data[offsets[2] + lengths[2] :]
    for number, (damage, lost) in enumerate(((cut, slice(48, 64)), (torn, slice(32, 48)))):
        if damage is torn and compression == 1:
            continue  # any bytes are samples
        path = tmp_path / f"{number}.tif"
        path.write_bytes(damage)
        with pytest.raises(StageError) as caught:
            read(path)
        assert caught.value.code in {"image_corrupt", "image_truncated"}
        reader = reader_of(path)
        assert reader.salvage("It is damaged.")
        assert reader.missing is not None
        with reader.heeded():
            found = reader.open().numpy()
        kept = np.ones(64, bool)
        kept[lost] = False
        assert np.array_equal(np.asarray(found)[kept].reshape(values[kept].shape), values[kept])
        assert np.array_equal(reader.missing.mask().numpy()[:, 0] > 0, ~kept)


@pytest.mark.parametrize("bands", [1, 3])
def test_damage_in_a_12_bit_jpeg_is_seen(bands: int, tmp_path: Path) -> None:
    values = pictures.scene(61, 64, bands=bands).astype(np.uint16) * 16
    path = tmp_path / "source.tif"
    look: Any = {"photometric": "rgb" if bands == 3 else "minisblack", "rowsperstrip": 16, "metadata": None}
    tifffile.imwrite(path, values if bands == 3 else values[..., 0], compression="jpeg", **look)
    data = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        offsets, lengths = file.pages.first.dataoffsets, file.pages.first.databytecounts
    whole = tifffile.imread(path).reshape(64, 61, bands)
    assert np.abs(read(path).astype(int) - whole).max() <= 1
    # And Pillow, which reads TIFFs with the same library and has it keep silent
    tifffile.imwrite(tmp_path / "lzw.tif", values.astype(np.uint8)[..., 0], compression="lzw")
    Image.open(tmp_path / "lzw.tif").load()
    at, end = offsets[2], offsets[2] + lengths[2]
    middle = (at + end) // 2
    # Given a strip that is none, one whose second half is noise, one that ends too early, and a file that does
    for number, damage in enumerate(
        (
            data[:at] + RANDOM.bytes(end - at) + data[end:],
            data[:middle] + RANDOM.bytes(end - middle) + data[end:],
            data[:middle] + b"\xff\xd9" + bytes(end - middle - 2) + data[end:],
            data[: offsets[3] + lengths[3] // 2],
        )
    ):
        path = tmp_path / f"{number}.tif"
        path.write_bytes(damage)
        with pytest.raises(StageError) as caught:
            read(path)
        assert caught.value.code in {"image_corrupt", "image_truncated"}, number
        reader = reader_of(path)
        assert reader.salvage("It is damaged.")
        assert reader.missing is not None
        lost = reader.missing.mask().numpy()[:, 0] > 0
        assert lost.sum() == 16
        with reader.heeded():
            found = reader.open().numpy().reshape(64, 61, bands)
        assert np.abs(found[~lost].astype(int) - whole[~lost]).max() <= 1


def test_a_strip_that_libtiff_decodes_as_a_whole_counts_for_the_memory(tmp_path: Path) -> None:
    # Given 64 MB of zeros in one strip, once by LZW, which is decoded as a whole
    needed = {}
    for name in ("lzw", "zlib"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((4000, 2000)), compression=name, rowsperstrip=4000)
        needed[name] = reader_of(tmp_path / f"{name}.tif").memory(256)
    assert needed["lzw"] >= needed["zlib"] + (64 << 20)


def test_the_dictionary_of_lzma_is_bounded(tmp_path: Path) -> None:
    # Given a strip that asks for a dictionary of 1.5 GB (the .xz file format, 5.3.1)
    def encode(data: bytes) -> bytes:
        whole = bytearray(lzma.compress(data))
        size = 4 * (whole[12] + 1)
        assert whole[14:16] == b"\x21\x01"
        whole[16] = 37
        whole[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(whole[12 : 12 + size - 4]))
        return bytes(whole)

    path = tiffs.write(tmp_path / "source.tif", pictures.scene(24, 16), compression=34925, encode=encode)
    with pytest.raises(StageError, match="usage limit") as caught:
        read(path)
    assert caught.value.code == "image_corrupt"
