"""Decide whether a file's resolution says how large the pictured thing is: docs/decisions/0037. Pure functions.

Sources: JFIF 1.02; Exif 3.0, 4.6; Portable Network Graphics (third edition), 11.3.4.3.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import BinaryIO

from pipeline import pixel_size
from pipeline.formats import tiff
from pipeline.formats.tiff.decimals import decimals
from pipeline.pixel_size import PixelSize

INCH, CENTIMETRE = 2, 3
"""Values of ResolutionUnit."""

METRES: Mapping[float, float] = {INCH: 0.0254, CENTIMETRE: 0.01}

DEFAULTS = (1, 25.4, 72, 96, 100, 120, 144, 180, 192, 240, 300, 314, 350)
"""Pixels per inch that cameras, screens and programs write without having measured anything: 1 and 25.4 (libvips), 72,
96, 120, 144 and 192 (screens), 100 (Matplotlib), 180, 300, 314 and 350 (cameras), 240 and 300 (photo editors)."""

TOLERANCE = 0.004
"""Relative difference to a default that rounding explains: 28.3 pixels per centimetre stand for 72 per inch."""

LEAST, MOST = 1e-9, 1e-2
"""Least and greatest edge of a pixel, in metres, that a resolution may state."""

PHOTOGRAPHED = (33434, 33437, 37386)
"""EXIF's ExposureTime, FNumber and FocalLength: only cameras write them."""

_SEGMENTS, _CHUNKS = 100, 1000
_JFIF, _EXIF = b"JFIF\0", b"Exif\0\0"
_APP0, _APP1 = 0xE0, 0xE1
_MOST_EXIF = 1 << 16
_READ = {b"pHYs", b"eXIf"}
_PER_METRE = 1


def measured(per_unit_x: float, per_unit_y: float, metres: float) -> PixelSize | None:
    """Return the size of a pixel by a resolution; None if it is a default, or implausible.

    Parameters
    ----------
    per_unit_x, per_unit_y: pixels in a unit of so many metres.
    """
    if not (per_unit_x > 0 and per_unit_y > 0):
        return None
    x, y = metres / per_unit_x, metres / per_unit_y
    if not (LEAST <= x <= MOST and LEAST <= y <= MOST) or (_is_default(x) and _is_default(y)):
        return None
    return pixel_size.of_metres(x, y)


def _is_default(edge: float) -> bool:
    per_inch = METRES[INCH] / edge
    return any(abs(per_inch / default - 1) <= TOLERANCE for default in DEFAULTS)


def by_directory(directory: tiff.Directory) -> PixelSize | None:
    """Return the size of a pixel by the resolution in a TIFF's directory, or in EXIF's first one."""
    metres = METRES.get((decimals(directory, tiff.Tag.RESOLUTION_UNIT, 1) or (INCH,))[0])
    across = decimals(directory, tiff.Tag.X_RESOLUTION, 1)
    down = decimals(directory, tiff.Tag.Y_RESOLUTION, 1) or across
    return measured(across[0], down[0], metres) if metres and across else None


def is_photograph(file: tiff.File, directory: tiff.Directory) -> bool:
    """Return whether the EXIF to which a directory refers is that of a camera.

    Raises
    ------
    struct.error: if the file ends within that EXIF.
    """
    offset = decimals(directory, tiff.Tag.EXIF, 1)
    if not offset:
        return False
    exif = tiff.Directory(file, directory.order, directory.big, int(offset[0]))
    return any(tag in exif.entries for tag in PHOTOGRAPHED)


def of_jpeg(segments: Iterable[tuple[int | None, bytes]]) -> PixelSize | None:
    """Return the size of a pixel by JFIF's density, or else by EXIF's; None if nothing plausible is stated.

    Parameters
    ----------
    segments: of a JPEG, up to its first scan: marker and body.

    Raises
    ------
    struct.error: if the EXIF is broken.
    """
    jfif: PixelSize | None = None
    for marker, body in islice(segments, _SEGMENTS):
        if marker == _APP0 and body.startswith(_JFIF) and len(body) >= 12:
            unit, across, down = struct.unpack_from(">BHH", body, 7)
            metres = METRES.get(unit + 1)  # 1 and 2 here
            jfif = measured(across, down, metres) if metres else None
        if marker == _APP1 and body.startswith(_EXIF):
            exif = io.BytesIO(body.removeprefix(_EXIF))
            directory = _first(exif)
            if directory is None or is_photograph(exif, directory):
                return None
            return jfif or by_directory(directory)
    return jfif


def of_png(file: BinaryIO) -> PixelSize | None:
    """Return the size of a pixel by a PNG's chunk pHYs; None if nothing plausible is stated.

    Raises
    ------
    struct.error: if the EXIF is broken.
    """
    found: PixelSize | None = None
    file.seek(8)
    for _ in range(_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            break
        behind = file.tell() + int.from_bytes(head[:4], "big") + 4
        body = file.read(min(behind - 4 - file.tell(), _MOST_EXIF)) if head[4:] in _READ else b""
        # libpng reads a chunk with a wrong checksum, too, but then its numbers may be wrong.
        if head[4:] == b"pHYs" and len(body) == 9 and zlib.crc32(head[4:] + body).to_bytes(4, "big") == file.read(4):
            across, down, unit = struct.unpack(">IIB", body)
            found = measured(across, down, 1.0) if unit == _PER_METRE else None
        if head[4:] == b"eXIf":
            exif = io.BytesIO(body)
            directory = _first(exif)
            if directory is not None and is_photograph(exif, directory):
                return None
        file.seek(behind)
    return found


def _first(exif: io.BytesIO) -> tiff.Directory | None:
    return tiff.find(exif, 0) if exif.getvalue()[:4] in {b"II*\0", b"MM\0*"} else None
