"""Files of coded rows that ask for much work: BMP and TGA in runs, and PNM as text; and honest ones to compare with."""

from __future__ import annotations

import struct

from tests.support.images import bmps, pictures, tgas

RLE8, RLE4 = 1, 2
_LINE, _END, _STAY = b"\0\0", b"\0\1", b"\0\2\0\0"
_PALETTE = bytes(range(256)) * 4


def bmp(width: int, height: int, runs: bytes, *, bits: int = 8) -> bytes:
    """A BMP in runs."""
    tables = _PALETTE if bits == 8 else _PALETTE[:64]
    return bmps.bmp((width, height), bits, runs, compression=RLE8 if bits == 8 else RLE4, tables=tables)


def tga(width: int, height: int, runs: bytes) -> bytes:
    """A grey TGA in runs."""
    return struct.pack("<BBBHHBHHHHBB", 0, 0, 11, 0, 0, 0, 0, 0, width, height, 8, 32) + runs


def text(number: int, width: int, height: int, words: bytes, most: int = 255) -> bytes:
    """A PNM as text."""
    return b"P%d %d %d%b\n" % (number, width, height, b"" if number == 1 else b" %d" % most) + words


def honest_bmp(edge: int = 2000) -> bytes:
    """A scene in runs and single pixels."""
    return bmp(edge, edge, bmps.in_runs(pictures.scene(edge, edge, bands=1)[..., 0]))


def honest_tga(edge: int = 2000) -> bytes:
    """A scene in runs and single pixels."""
    return tga(edge, edge, tgas.in_runs(pictures.scene(edge, edge, bands=1).tobytes(), 1))


def honest_pnm(edge: int = 1500) -> bytes:
    """Noise as text."""
    samples = pictures.noise(edge, edge).ravel()
    return text(3, edge, edge, " ".join(map(str, samples.tolist())).encode())


def left_out() -> bytes:
    """A gigapixel of which no pixel is stored."""
    return bmp(32_000, 32_000, _END)


def single_runs(bits: int = 8) -> bytes:
    """A BMP whose runs have one pixel."""
    return bmp(2000, 2000, (b"\1\x77" * 2000 + _LINE) * 2000 + _END, bits=bits)


def short_literals() -> bytes:
    """A BMP of 4 bits whose pixels are stored three by three."""
    return bmp(3000, 2000, (b"\0\3\x77\x70" * 1000 + _LINE) * 2000 + _END, bits=4)


def idle_moves() -> bytes:
    """A BMP that moves by nothing, again and again."""
    return bmp(100, 100, _STAY * 2_000_000 + _END)


def one_colour() -> bytes:
    """A gigapixel as a TGA in runs."""
    return tga(32_000, 32_000, b"\xff\7" * (32_000 * 250))


def single_packets() -> bytes:
    """A TGA whose pixels are stored one by one."""
    return tga(2000, 2000, b"\0\7" * 4_000_000)


def wide_zeros() -> bytes:
    """A PGM of 16 bits, with as many samples in its bytes as there can be."""
    return text(2, 2000, 2000, b"0 " * 4_000_000, 65535)


def empty_comments() -> bytes:
    """A PGM of four samples behind as many comments as there can be."""
    return text(2, 2, 2, b"#\n" * 4_000_000 + b"1 2 3 4\n")


def long_numbers() -> bytes:
    """A PGM of numbers with as many digits as Python reads."""
    return text(2, 50, 50, (b"0" * 4000 + b" ") * 2500)
