"""What a pyramid will take, before a pixel is decoded: room, the largest file, the largest build.

Its work: pipeline.formats.budget. The room is a rough guess: what is free is watched all the same. The file and the
build are bounds that no honest picture reaches.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats.header import Header
from pipeline.pyramids import Format, Geometry
from pipeline.texts import amount
from tiler.job import Job

PIXEL_BYTES = {Format.JPEG: 0.3, Format.PNG: 2.5, Format.WEBP: 0.3}
"""Bytes of a tile a pixel, somewhat above what three large pictures of the Earth take: 0.10 to 0.23 as JPEG at Q 85,
0.6 to 2.1 as PNG. WebP is counted as JPEG."""

ALL_LEVELS = 4 / 3
"""All levels together, of the largest one: each has a quarter of the pixels of the one below."""

SOURCE_TIMES = 4.0
"""Times its source that a pyramid is taken for at most, beside its blank tiles; those three take 1.3 to 3.3. A drawing
of few colours has many pixels and a small file, and so small tiles."""

BLANK_TILE, BLANK_PIXELS = 1024, 16
"""Bytes of a tile of one colour, and its pixels for each byte besides: three times what is found (of 256 pixels square
and with its entry in the archive, 1.8 kB as JPEG, 0.5 to 2 as PNG, 0.4 as WebP)."""

MOST_TIMES = 256
"""Times its source that a pyramid may take beside that: three times what honest pictures take at most (scans of text in
G4 58 times, with tiles as JPEG at Q 100; an AVIF of quality 25 as PNG 79 times)."""

PIXEL_ROOM = 6
"""Bytes a pixel of the largest file: all levels with alpha, and what encoding noise adds."""

TILE_ROOM = 4096
"""Bytes a tile besides its pixels: its encoding's header, and its entry in the archive."""

LEAST_FILE = 64 << 20
"""Bytes that a file may have in any case: the child's log is one."""


def largest_file(header: Header, tile_size: int) -> int:
    """Give the bytes that no file of a build can exceed."""
    tiles = Geometry(header.width, header.height, tile_size).tile_count
    return LEAST_FILE + header.pixels * PIXEL_ROOM + tiles * TILE_ROOM


def largest_build(geometry: Geometry, source_bytes: int) -> int:
    """Give the bytes that a build may take: as many tiles of one colour, and its source's detail."""
    return LEAST_FILE + _blank(geometry) + source_bytes * MOST_TIMES


def require_small(stored: int, geometry: Geometry, source_bytes: int) -> None:
    """Raise StageError("decoder_too_slow") where a build of so many bytes is larger than its source's may be."""
    if stored > (most := largest_build(geometry, source_bytes)):
        raise StageError(
            "decoder_too_slow",
            f"The tiles of {geometry.width:,} x {geometry.height:,} pixels take more than {amount(most)}, which is "
            f"more than a file of {source_bytes:,} bytes may become. Save it again with another program, or ask for "
            "tiles of a lower quality.",
        )


def pyramid_bytes(geometry: Geometry, tile_format: Format, source_bytes: int) -> int:
    """Guess the bytes of a build."""
    by_pixels = geometry.width * geometry.height * PIXEL_BYTES[tile_format] * ALL_LEVELS
    return int(min(by_pixels, _blank(geometry) + source_bytes * SOURCE_TIMES))


def _blank(geometry: Geometry) -> int:
    tile = BLANK_TILE + geometry.tile_size**2 // BLANK_PIXELS
    return (geometry.tile_count + geometry.edge_count) * tile


def require_room(job: Job, geometry: Geometry, tile_format: Format) -> None:
    """Raise StageError("out_of_disk") where the build will hardly fit."""
    if job.room is None:
        return
    needed = pyramid_bytes(geometry, tile_format, Path(job.source).stat().st_size)
    if needed > job.room:
        raise StageError(
            "out_of_disk",
            f"The tiles need about {amount(needed)}, and the storage has {amount(max(0, job.room))} to spare beyond "
            "what stays free (TILEWRIGHT_DISK_RESERVE_BYTES). Free space or enlarge the volume, then retry.",
        )
