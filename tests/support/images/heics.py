"""HEICs as phones write them, by `pillow-heif` (libheif and x265). Without loss, what is written must come back."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pyvips
from PIL import Image

from tests.support.images import pictures, profiles, signals
from tests.support.images.pictures import Pixels

LOSSLESS = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
"""Of colours as they are: green, blue and red instead of brightness and two differences."""


def encoded(pixels: Pixels, **options: Any) -> bytes:
    """A HEIC of 8-bit grey, RGB or RGBA pixels."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    saved = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(saved, **(LOSSLESS | options))
    return saved.getvalue()


def plain(path: Path, width: int, height: int, *, bands: int = 3) -> Pixels:
    pixels = pictures.scene(width, height, bands=bands)
    path.write_bytes(encoded(pixels))
    return np.repeat(pixels[..., :1], 3, axis=2) if bands == 1 else pixels


def deep(path: Path, width: int, height: int, *, bands: int, bits: int, premultiplied: bool = False) -> Pixels:
    """Samples of 10 or 12 bits: the upper 8 count. If premultiplied, the file says so of the same samples."""
    upper = pictures.scene(width, height, bands=bands)
    lower = pictures.scene(width, height, bands=bands, seed=2).astype("<u2") >> (16 - bits) << (16 - bits)
    samples = (upper.astype("<u2") << 8) | lower
    mode = {1: "L;16", 3: "RGB;16", 4: "RGBa;16" if premultiplied else "RGBA;16"}[bands]
    image = pillow_heif.from_bytes(mode, (width, height), samples.tobytes())
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    image.save(path, **LOSSLESS)
    return np.repeat(upper, 3, axis=2) if bands == 1 else upper


def lossy(path: Path, width: int, height: int) -> Pixels:
    """As a phone's, with coarser colours: what another build of libheif makes of it."""
    path.write_bytes(encoded(pictures.scene(width, height), quality=90, chroma=420, matrix_coefficients=6))
    return np.asarray(pillow_heif.open_heif(path))


def limited_grey(path: Path, width: int, height: int) -> Pixels:
    """Grey from 16 to 235, as the file says twice: the writer does not change the levels."""
    levels = pictures.scene(width, height, bands=1)
    path.write_bytes(encoded(levels, full_range_flag=0, save_nclx_profile=True, enc_params={"x265:range": "limited"}))
    return np.clip((levels.astype(float) - 16) * 255 / 219, 0, 255).round().repeat(3, axis=2)


def in_space(path: Path, width: int, height: int, *, primaries: int, transfer: int) -> signals.Floats:
    """10 bits of a colour space that the file states by numbers."""
    samples = pictures.scene(width, height).astype("<u2") << 8
    pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    pillow_heif.from_bytes("RGB;16", (width, height), samples.tobytes()).save(
        path, color_primaries=primaries, transfer_characteristics=transfer, save_nclx_profile=True, **LOSSLESS
    )
    return signals.srgb_of(samples, primaries, transfer, 65535)


def with_profile(path: Path, width: int, height: int, *, primaries: profiles.Primaries, gamma: float) -> Pixels:
    pixels = pictures.scene(width, height)
    saved = Image.fromarray(pixels)
    saved.info["icc_profile"] = profiles.rgb_profile(primaries, gamma)
    pillow_heif.from_pillow(saved).save(path, **LOSSLESS)
    return profiles.srgb_of(pixels, primaries, gamma)


def pages(path: Path, *pixels: Pixels, primary: int = 0) -> None:
    """Several pictures in one file."""
    images = pillow_heif.from_pillow(Image.fromarray(pixels[0]))
    for more in pixels[1:]:
        images.add_from_pillow(Image.fromarray(more))
    images.save(path, primary_index=primary, **LOSSLESS)


def grid(path: Path, width: int, height: int, *, edge: int = 64) -> Pixels:
    """One picture in tiles, those of the last row and column filled up. Source: ISO/IEC 23008-12, 6.6.2.3."""
    pixels = pictures.scene(width, height)
    columns, rows = -(-width // edge), -(-height // edge)
    filled = np.pad(pixels, ((0, rows * edge - height), (0, columns * edge - width), (0, 0)), mode="edge")
    tiles = [
        encoded(np.ascontiguousarray(filled[y : y + edge, x : x + edge]))
        for y in range(0, rows * edge, edge)
        for x in range(0, columns * edge, edge)
    ]
    path.write_bytes(_gridded(tiles, columns, rows, width, height, edge))
    return pixels


def hoarding(path: Path, *, edge: int, count: int) -> None:
    """A grid that shows 64 x 64 pixels, put together from so many tiles."""
    tile = encoded(np.zeros((edge, edge, 3), np.uint8))
    path.write_bytes(_gridded([tile] * count, count, 1, 64, 64, edge))


def hoarding_avif(path: Path, edge: int, count: int, said: int = 0) -> None:
    """As `hoarding`, coded by AV1; `said` is what the tiles' edge is said to be, where that is a lie."""
    plain = pyvips.Image.black(edge, edge, bands=3).copy(interpretation="srgb")
    tile = bytes(plain.heifsave_buffer(compression="av1", effort=0, keep="none"))
    found = _gridded([tile] * count, count, 1, 64, 64, said or edge, config=b"av1C")
    path.write_bytes(found.replace(b"hvc1", b"av01").replace(b"ftypheic", b"ftypavif"))


def with_auxiliaries(path: Path, width: int, height: int, *, edge: int, count: int) -> Pixels:
    """A picture, and others that belong to it as depths or gain maps do: larger ones, of which none is decoded."""
    grid(path, width, height, edge=width)
    tiles = [encoded(pictures.scene(width, height)), *[encoded(np.zeros((edge, edge, 3), np.uint8))] * count]
    path.write_bytes(_gridded(tiles, 1, 1, width, height, width, [1], auxiliary=range(2, count + 2)))
    return pictures.scene(width, height)


def _gridded(
    tiles: list[bytes],
    columns: int,
    rows: int,
    width: int,
    height: int,
    edge: int,
    shown: Sequence[int] = (),
    auxiliary: Sequence[int] = (),
    config: bytes = b"hvcC",
) -> bytes:
    number = len(tiles) + 1  # the grid's own is behind those of its tiles
    shown = shown or range(1, number)
    coded = [tile[tile.index(b"mdat") + 4 :] for tile in tiles]
    structure = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    properties = [
        _inner(tiles[0], config),
        _inner(tiles[0], b"colr" if b"colr" in tiles[0] else b"pixi"),
        _full(b"ispe", struct.pack(">II", edge, edge)),
        _full(b"ispe", struct.pack(">II", width, height)),
        _full(b"auxC", b"urn:mpeg:hevc:2015:auxid:2\0"),  # depths
    ]
    kinds = [(one, b"hvc1", 1) for one in range(1, number)] + [(number, b"grid", 0)]
    entries = b"".join(
        _box(b"infe", bytes([2, 0, 0, hidden]) + struct.pack(">HH4sB", one, 0, kind, 0)) for one, kind, hidden in kinds
    )
    associations = b"".join(
        struct.pack(">HBBBBB", one, 4, 0x81, 2, 0x83, 5)
        if one in auxiliary
        else struct.pack(">HBBBB", one, 3, 0x81, 2, 0x83)
        for one in range(1, number)
    )
    associations += struct.pack(">HBBB", number, 2, 2, 0x84)
    references = _box(b"dimg", struct.pack(f">HH{len(shown)}H", number, len(shown), *shown))
    references += b"".join(_box(b"auxl", struct.pack(">HHH", one, 1, number)) for one in auxiliary)

    def meta(first: int) -> bytes:
        places, at = b"", first
        for one, data in enumerate([*coded, structure], 1):
            places += struct.pack(">HHHII", one, 0, 1, at, len(data))
            at += len(data)
        return _full(
            b"meta",
            _full(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + _full(b"pitm", struct.pack(">H", number))
            + _full(b"iloc", b"\x44\x00" + struct.pack(">H", number) + places)
            + _full(b"iinf", struct.pack(">H", number) + entries)
            + _full(b"iref", references)
            + _box(
                b"iprp", _box(b"ipco", b"".join(properties)) + _full(b"ipma", struct.pack(">I", number) + associations)
            ),
        )

    head = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    first = len(head) + len(meta(0)) + 8
    return head + meta(first) + _box(b"mdat", b"".join([*coded, structure]))


def _inner(file: bytes, kind: bytes) -> bytes:
    """A whole box of a file, found by its name."""
    at = file.index(kind) - 4
    (length,) = struct.unpack_from(">I", file, at)
    return file[at : at + length]


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, body: bytes) -> bytes:
    """A box of version 0 and without flags."""
    return _box(kind, bytes(4) + body)


pillow_heif.register_heif_opener()
