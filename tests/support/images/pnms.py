"""Makers of the formats of Netpbm; the pixels are Pillow's where it reads them, or those that were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.images import pictures
from tests.support.images.pictures import Pixels
from tests.support.images.stretched import stretched


def plain(
    path: Path, width: int, height: int, *, bands: int = 3, most: int = 255, text: bool = False, note: bytes = b""
) -> Pixels:
    """A PGM or PPM; samples above 255 keep their upper 8 bits once they are spread over 16."""
    pixels = pictures.scene(width, height, bands=bands)
    stored = _up_to(pixels, most)
    number = (2 if bands == 1 else 3) + (0 if text else 3)
    path.write_bytes(b"P%d\n%b%d %d\n%d\n" % (number, note, width, height, most) + _stored(stored, most, text=text))
    expected = _shown(stored, most)
    if most == 255:
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image.convert("RGB")), expected)
    return expected


def pam(path: Path, width: int, height: int, *, bands: int, kind: str, most: int = 255) -> Pixels:
    """A PAM; the last band is transparency if its kind says so."""
    pixels = pictures.scene(width, height, bands=bands)
    stored = _up_to(pixels, most)
    head = f"P7\n# a note\nWIDTH {width}\nHEIGHT {height}\nDEPTH {bands}\nMAXVAL {most}\nTUPLTYPE {kind}\nENDHDR\n"
    path.write_bytes(head.encode() + _stored(stored, most, text=False))
    expected = _shown(stored, most)
    return expected if kind.endswith("_ALPHA") else expected[..., :3]


def bits(path: Path, width: int, height: int, *, text: bool = False) -> Pixels:
    """A PBM, in which 1 is black."""
    black = pictures.scene(width, height, bands=1)[..., 0] > 127
    body = np.packbits(black, axis=1).tobytes()
    if text:
        lines = ("".join("01"[bit] for bit in row) for row in black.astype(int))
        body = "\n".join(f"{line[:30]} {line[30:]}" for line in lines).encode()
    path.write_bytes(b"P%d %d %d\n" % (1 if text else 4, width, height) + body)
    expected = np.where(black[..., None], 0, 255).astype(np.uint8).repeat(3, axis=2)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), expected)
    return expected


def floats(path: Path, width: int, height: int, *, bands: int = 1, order: str = "<") -> Pixels:
    """A PFM, whose rows begin at the bottom; expected are its percentiles over 0 to 255."""
    values = pictures.scene(width, height, bands=bands).astype(np.float32) * 3 - 60
    head = f"P{'F' if bands == 3 else 'f'}\n{width} {height}\n{-1.0 if order == '<' else 1.0}\n"
    path.write_bytes(head.encode() + values[::-1].astype(f"{order}f4").tobytes())
    return stretched(values)


def _up_to(pixels: Pixels, most: int) -> Pixels:
    found: Pixels = np.rint(pixels.astype(float) * most / 255).astype(np.uint16 if most > 255 else np.uint8)
    return found


def _stored(samples: Pixels, most: int, *, text: bool) -> bytes:
    if text:
        rows = (" ".join(map(str, row.reshape(-1))) for row in samples)
        return ("\n# between two rows\n".join(rows) + "\n").encode()
    return samples.astype(">u2" if most > 255 else "u1").tobytes()


def _shown(samples: Pixels, most: int) -> Pixels:
    """Levels of the whole range where the header states another than that of the type; else as for any 16 bits."""
    if most == 65535:
        return stretched(samples)
    levels = np.floor(samples.astype(float) * 255 / most + 0.5).astype(np.uint8)
    if samples.shape[2] > 2:
        return levels
    return np.concatenate([levels[..., :1].repeat(3, axis=2), levels[..., 1:]], axis=2)
