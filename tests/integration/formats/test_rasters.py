"""Files of plain rows: what is wrong with them, what a probe sees of them, and what is held in memory."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips

from pipeline.errors import StageError
from pipeline.formats import rasters
from pipeline.formats.kinds import kind_of
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.child import find_header
from pipeline.formats.probe.protocol import Failed, Found, Unknown
from tests.support.images import bmps, pnms, tgas
from tests.support.images.matrix import CASES, Case
from tests.support.images.pictures import Pixels
from tiler.decode import open_picture, reader_of
from tiler.decode.readers.raster import text
from tiler.progress import Meter

NO_METER = Meter(lambda *_: None)

MINE = [case for case in CASES if case.kind in {"BMP", "PNM", "PAM", "TGA"}]


def outcome(data: bytes, folder: Path) -> Pixels | str:
    """The pixels of a file, or the code of the error."""
    path = folder / "source"
    path.write_bytes(data)
    try:
        pixels: Pixels = open_picture(reader_of(path), meter=NO_METER).image.numpy()
    except StageError as error:
        return error.code
    return pixels


def probed(data: bytes, *, until: int | None = None) -> Found | Failed | Unknown:
    """What a probe finds that is served the bytes up to `until`."""

    def ask(at: int, size: int) -> bytes | None:
        return data[at : at + size] if until is None else data[at : min(at + size, until)] or None

    return find_header(pyvips, Blocks(ask, len(data)), 0)


@pytest.mark.parametrize("case", MINE, ids=lambda case: case.name)
def test_a_cut_file_is_never_shown_and_a_probe_knows_what_the_tiler_does(case: Case, tmp_path: Path) -> None:
    # Given a file
    path = tmp_path / f"source.{case.ending}"
    case.make(path, 61, 37)
    data = path.read_bytes()
    # Then a probe finds the header that the tiler finds, and the memory
    reader = reader_of(path)
    found = probed(data)
    assert isinstance(found, Found)
    assert (found[:4], found.memory) == (tuple(reader.header()), reader.memory(256))
    # And wherever the file is cut within its pixels, nothing is shown; a probe that sees the cut says the same
    with path.open("rb") as file:
        raster = rasters.parse(kind_of(data), file)
    end = raster.least_length if raster.coding is rasters.Coding.PLAIN else len(data) - 30  # Pillow's footer has 26
    for cut in sorted({*range(20, min(raster.offset, 400), 7), raster.offset, (raster.offset + end) // 2, end - 1}):
        code = outcome(data[:cut], tmp_path)
        assert code in {"image_truncated", "image_corrupt", "unsupported_format"}, cut
        if cut >= raster.offset and raster.coding is rasters.Coding.PLAIN:
            assert code == "image_truncated"
            seen = probed(data[:cut])
            assert isinstance(seen, Failed)
            assert seen.code == code
    # And a probe that is served no more than the first bytes refuses nothing
    assert not isinstance(probed(data, until=24), Failed)


def of_runs(*codes: int) -> bytes:
    """An RLE8 of 4 x 2 pixels."""
    table = b"".join(bytes([level] * 3 + [0]) for level in range(256))
    return bmps.bmp((4, 2), 8, bytes(codes), compression=1, tables=table)


def with_masks(*masks: int) -> bytes:
    return bmps.bmp((1, 1), 32, bytes(4), compression=3, tables=struct.pack("<3I", *masks))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (of_runs(5, 1, 0, 1), "image_corrupt"),  # a run beyond its row
        (of_runs(0, 5, 1, 1, 1, 1, 1, 0, 0, 1), "image_corrupt"),  # pixels beyond their row
        (of_runs(0, 0, 0, 0, 0, 0), "image_corrupt"),  # rows beyond the last
        (of_runs(0, 2, 0, 9, 0, 1), "image_corrupt"),  # a step beyond the last
        (of_runs(4, 1, 0, 0, 2, 1), "image_truncated"),
        (of_runs(4, 1, 0, 0, 0, 4, 1), "image_truncated"),
        (bmps.bmp((0, 2), 24, bytes(8)), "image_corrupt"),
        (bmps.bmp((-4, 2), 24, bytes(24)), "image_corrupt"),
        (bmps.bmp((4, 2), 8, bytes(8)), "image_corrupt"),  # no palette
        (bmps.bmp((4, -2), 8, bytes(8), compression=1, tables=bytes(1024)), "image_corrupt"),
        (bmps.bmp((4, 2), 7, bytes(8)), "unsupported_format"),
        (bmps.bmp((4, 2), 0, bytes(8), compression=4), "unsupported_format"),  # a JPEG inside
        (bmps.bmp((4, 2), 1, bytes(8), compression=3, length=64), "unsupported_format"),
        (with_masks(0xFF, 0xFF00, 0x180), "image_corrupt"),
        (with_masks(0xFF, 0xFF00, 0x50000), "image_corrupt"),
        (with_masks(0xFF, 0xFF00, 0), "image_corrupt"),
        (bmps.bmp((1 << 30, 1 << 30), 24, b""), "image_truncated"),
    ],
)
def test_a_damaged_or_odd_bmp_ends_with_its_reason(data: bytes, code: str, tmp_path: Path) -> None:
    assert outcome(data, tmp_path) == code


@pytest.mark.parametrize(
    "codes",
    [
        (2, 1, 0, 2, 1, 0, 1, 2, 0, 0, 0, 2, 1, 0, 2, 3, 1, 0),  # steps, and no mark of the end
        (2, 1, 1, 0, 1, 2, 0, 0, 1, 0, 2, 3, 0, 1),  # the end before the last row's
    ],
)
def test_pixels_that_runs_skip_have_the_first_colour(codes: tuple[int, ...], tmp_path: Path) -> None:
    found = outcome(of_runs(*codes), tmp_path)
    assert not isinstance(found, str)
    assert found[..., 0].tolist() == [[0, 3, 3, 0], [1, 1, 0, 2]]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"P3 1 1 255\n1 2", "image_truncated"),
        (b"P3 1 1 255\n1 2 # 3", "image_truncated"),
        (b"P3 1 1 255\n1 2 25", "image_truncated"),  # 250 to 255, or 25
        (b"P3 1 1 255\n1 2 00", "image_truncated"),  # of three digits
        (b"P2 1 1 65535\n6553", "image_truncated"),
        (b"P3 1 1 9\n1 2 10", "image_corrupt"),
        (b"P3 1 1 9\n1 2 -3", "image_corrupt"),
        (b"P3 1 1 9\n1 2 x ", "image_corrupt"),
        (b"P2 1 2 255\n" + b"9" * 5000, "image_corrupt"),
        (b"P1 2 1\n01x", "image_corrupt"),
        (b"P1 2 1\n0 ", "image_truncated"),
        (b"P2 1 1 255 " + b"#" * (3 << 20), "image_truncated"),
        (b"P6 1 1 0\n" + bytes(9), "image_corrupt"),
        (b"P6 1 1 65536\n" + bytes(9), "image_corrupt"),
        (b"P6 0 1 255\n" + bytes(9), "image_corrupt"),
        (b"P6 1 1x 255\n" + bytes(9), "image_corrupt"),
        (b"P6 99999999999 1 255\n" + bytes(9), "image_corrupt"),
        (b"P6 100000 100000 255\n" + bytes(9), "image_truncated"),
        (b"P6 1 #" + b"x" * 70_000, "image_corrupt"),
        (b"P6 1 # x", "image_truncated"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nENDHDR\n" + bytes(9), "image_corrupt"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\n", "image_truncated"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 99999\nMAXVAL 255\nENDHDR\n" + bytes(9), "image_corrupt"),
        (b"PF 1 1 0\n" + bytes(12), "image_corrupt"),
        (b"Pf 1 1 x\n" + bytes(12), "image_corrupt"),
    ],
)
def test_a_damaged_or_odd_file_of_netpbm_ends_with_its_reason(data: bytes, code: str, tmp_path: Path) -> None:
    assert outcome(data, tmp_path) == code


@pytest.mark.parametrize(
    "data",
    [
        b"P2 1 1 255\n26",
        b"P2 1 1 255\n255",
        b"P2 1 1 255\n0",
        b"P2 1 1 255\n25\n",
        b"P2 1 1 255\n25#",
        b"P2 1 1 255\n25 9",
        b"P2 1 1 9\n1",
    ],
)
def test_a_last_number_that_has_all_its_digits_is_read(data: bytes, tmp_path: Path) -> None:
    number, most = data[11:].split(b"#")[0].split()[0] if b"255" in data else b"1", 255 if b"255" in data else 9
    found = outcome(data, tmp_path)
    assert not isinstance(found, str)
    assert found[0, 0, 0] == round(int(number) * 255 / most)


@pytest.mark.parametrize("piece", [7, 16, 64])
def test_text_is_read_in_pieces_that_end_anywhere(piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "source"
    expected = pnms.plain(path, 20, 5, text=True)
    monkeypatch.setattr(text, "PIECE", piece)
    found = outcome(path.read_bytes().replace(b"# between two rows", b"#"), tmp_path)
    assert not isinstance(found, str)
    assert np.array_equal(found, expected)


def test_bits_without_space_between_them_are_read_whatever_their_number(tmp_path: Path) -> None:
    # Given more bits than are read at once, and then a comment and white space
    bits = np.random.default_rng(1).integers(0, 2, (1100, 1000), np.uint8)
    data = b"P1 1000 1100\n" + (bits + ord("0")).tobytes() + b" # the end\n"
    assert bits.size > text.PIECE
    found = outcome(data, tmp_path)
    assert not isinstance(found, str)
    assert np.array_equal(found[..., 0] == 0, bits == 1)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (tgas.tga((4, 2), 10, 24, b"\x87\1\2\3"), ""),
        (tgas.tga((4, 2), 10, 24, b"\x88\1\2\3"), "image_corrupt"),  # a run beyond the last pixel
        (tgas.tga((4, 2), 10, 24, b"\x86\1\2\3"), "image_truncated"),
        (tgas.tga((4, 2), 10, 24, b"\x86\1\2\3\0\1"), "image_truncated"),
        (tgas.tga((4, 2), 1, 8, b"", table=(0, 4, 24), colours=bytes(11)), "image_truncated"),
    ],
)
def test_runs_of_a_tga_are_whole_or_damage(data: bytes, code: str, tmp_path: Path) -> None:
    found = outcome(data, tmp_path)
    assert (found if isinstance(found, str) else "") == code


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\2\0\1\0\x20\x20\0\0\0\0\1\0\1\0\x20\0",  # a cursor of Windows
        b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x18\0\1\0\x18\0",  # an icon
        b"\0\0\1\xba\x44\0\4\0\4\1\1\x89\xc3\xf8\0\0\1\xbb",  # an MPEG
        tgas.tga((0, 2), 2, 24, b""),
        tgas.tga((2, 2), 4, 24, b""),
        tgas.tga((2, 2), 3, 16, b""),  # one sample of 16 bits, or two
        tgas.tga((2, 2), 2, 24, b"", flags=0x40),
        tgas.tga((2, 2), 2, 24, b"")[:17],
    ],
)
def test_what_is_not_surely_a_tga_is_none(head: bytes) -> None:
    assert kind_of(head) == "other"


def test_plain_rows_are_mapped_and_coded_ones_counted_as_memory() -> None:
    plain = rasters.Raster("bmp", 100_000, 100_000, 54, 300_000, 24)
    coded = plain._replace(coding=rasters.Coding.BMP_RUNS_8, row_bytes=100_000)
    assert plain.memory(256) < 1 << 30
    assert coded.memory(256) >= 10**10
