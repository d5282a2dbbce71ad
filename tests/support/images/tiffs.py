"""Writes TIFFs byte by byte, for what other writers do not write: any sample type, order, plane layout, extra band."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.support.images import pictures

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
"""SampleFormat (TIFF 6.0, section 19)."""

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR = 0, 1, 2, 3, 5, 6
"""PhotometricInterpretation."""

_KINDS = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}


def write(
    path: Path,
    pixels: pictures.Pixels,
    *,
    photometric: int | None = None,
    planar: bool = False,
    big_endian: bool = False,
    extra: Sequence[int] = (),
    palette: Sequence[int] = (),
    bits: int = 0,
    rows: int = 0,
    tile: int = 0,
    compression: int = 1,
    encode: Callable[[bytes], bytes] = bytes,
    stored_once: bool = False,
    more: Mapping[int, tuple[str, Sequence[float]]] | None = None,
) -> Path:
    """Write pixels (rows, columns, bands) of any numpy type.

    Parameters
    ----------
    photometric: by default grey for 1 or 2 bands, RGB for more.
    planar: each band by itself.
    extra: ExtraSamples; none is written where it is empty.
    palette: 3 * 2**bits numbers of 16 bits.
    bits: of a sample, where they fill no whole bytes; rows are padded to whole bytes.
    rows: of a strip; 0 for all in one.
    tile: edge of a tile, those at the edges filled up with their last pixels; 0 for strips.
    compression: its number in the file.
    encode: compresses a strip or tile.
    stored_once: whether only the first strip or tile is stored, and stands for all.
    more: entries beside these or in their place: struct's letter and the values, by tag.
    """
    order = ">" if big_endian else "<"
    height, width, bands = pixels.shape
    if photometric is None:
        photometric = BLACK_IS_ZERO if bands < 3 else RGB
    planes = [pixels[..., band : band + 1] for band in range(bands)] if planar else [pixels]
    rows = rows or height
    if tile:
        strips = [encode(_rows(part, bits, order)) for plane in planes for part in _tiles(plane, tile)]
    else:
        tops = range(0, height, rows)
        strips = [encode(_rows(plane[top : top + rows], bits, order)) for plane in planes for top in tops]
    offsets, lengths = (324, 325) if tile else (273, 279)
    tags: dict[int, tuple[str, Sequence[float]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits or pixels.dtype.itemsize * 8] * bands),
        259: ("H", [compression]),
        262: ("H", [photometric]),
        offsets: ("I", [0] * len(strips)),
        277: ("H", [bands]),
        278: ("I", [] if tile else [rows]),
        lengths: ("I", [len(strip) for strip in strips]),
        284: ("H", [2 if planar else 1]),
        320: ("H", palette),
        322: ("I", [tile] if tile else []),
        323: ("I", [tile] if tile else []),
        338: ("H", extra),
        339: ("H", [_KINDS[pixels.dtype.kind]] * bands),
    } | dict(more or {})
    head = _directory(order, tags, [])
    places = [len(head) + sum(map(len, strips[:number])) for number in range(len(strips))]
    if stored_once:
        strips, places = strips[:1], [len(head)] * len(strips)
    path.write_bytes(_directory(order, tags, places) + b"".join(strips))
    return path


def _rows(plane: pictures.Pixels, bits: int, order: str) -> bytes:
    if not bits:
        return plane.astype(plane.dtype.newbyteorder("big" if order == ">" else "little")).tobytes()
    wide = (plane[..., None] >> np.arange(bits - 1, -1, -1, dtype=plane.dtype)) & 1
    return np.packbits(wide.reshape(plane.shape[0], -1).astype(np.uint8), axis=1).tobytes()


def _tiles(plane: pictures.Pixels, edge: int) -> list[pictures.Pixels]:
    height, width, _ = plane.shape
    filled = np.pad(plane, ((0, -height % edge), (0, -width % edge), (0, 0)), mode="edge")
    return [
        filled[top : top + edge, left : left + edge] for top in range(0, height, edge) for left in range(0, width, edge)
    ]


def _directory(order: str, tags: dict[int, tuple[str, Sequence[float]]], places: list[int]) -> bytes:
    kinds = {"B": 1, "H": 3, "I": 4, "f": 11, "d": 12}
    written = {tag: (kind, places if places and tag in {273, 324} else values) for tag, (kind, values) in tags.items()}
    written = {tag: (letter, values) for tag, (letter, values) in written.items() if len(values)}
    behind = 8 + 2 + 12 * len(written) + 4
    entries, stored = b"", b""
    for tag, (letter, values) in sorted(written.items()):
        raw = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(raw) > 4:
            place = struct.pack(f"{order}I", behind + len(stored))
            stored += raw + b"\0" * (len(raw) % 2)
            raw = place
        entries += struct.pack(f"{order}HHI", tag, kinds[letter], len(values)) + raw.ljust(4, b"\0")
    magic = b"MM\0*" if order == ">" else b"II*\0"
    count = struct.pack(f"{order}H", len(written))
    return magic + struct.pack(f"{order}I", 8) + count + entries + bytes(4) + stored


def sharing(path: Path, across: int, noise: int) -> Path:
    """Write a grey TIFF of `across` x `across` tiles that all lie at the same place: noise of so many pixels' edge."""
    pixels = np.random.default_rng(1).integers(0, 256, (noise, noise, 1), dtype=np.uint8)
    return write(path, np.tile(pixels, (across, across, 1)), tile=noise, stored_once=True)
