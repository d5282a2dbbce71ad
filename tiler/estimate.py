"""Estimate a pyramid's disk space before a pixel is decoded, and limit the size of its files.

The disk space is a rough guess; free space is watched during the build as well. The limits are bounds that no ordinary
image reaches. For CPU time see pipeline.formats.budget.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats.header import Header
from pipeline.pyramids import Format, Geometry
from pipeline.texts import amount
from tiler.job import Job

PIXEL_BYTES = {Format.JPEG: 0.3, Format.PNG: 2.5, Format.WEBP: 0.3}
"""Bytes of a tile for each pixel, somewhat above those of three large images of the Earth: 0.10 to 0.23 as JPEG of
quality 85, 0.6 to 2.1 as PNG. WebP is counted as JPEG."""

ALL_LEVELS = 4 / 3
"""Pixels of all levels together for each pixel of the largest: each level has a quarter of the pixels of the next."""

SOURCE_TIMES = 4.0
"""The guess is at most this many times the source's bytes, plus blank tiles; those three images need 1.3 to 3.3. A
drawing of few colours has many pixels but a small file, and so small tiles."""

BLANK_TILE, BLANK_PIXELS = 1024, 16
"""A tile of a single colour takes BLANK_TILE bytes, and a byte more for every BLANK_PIXELS pixels. This is three times
the measured size (256 x 256 pixels with the entry in the archive: 1.8 kB as JPEG, 0.5 to 2 as PNG, 0.4 as WebP)."""

MOST_TIMES = 256
"""A pyramid may take this many times its source's bytes, plus blank tiles: three times the most of ordinary images (58
times for scans of text in G4 with JPEG tiles of quality 100; 79 times for an AVIF of quality 25 with PNG tiles)."""

PIXEL_ROOM = 6
"""Bytes of the largest file for each pixel: all levels with alpha, and what the encoding of noise adds."""

TILE_ROOM = 4096
"""Bytes for each tile besides its pixels: the encoding's header, and the entry in the archive."""

LEAST_FILE = 64 << 20
"""Bytes that any file may have, such as the child's log."""


def largest_file(header: Header, tile_size: int) -> int:
    """Return the most bytes that a file of a build can have."""
    tiles = Geometry(header.width, header.height, tile_size).tile_count
    return LEAST_FILE + header.pixels * PIXEL_ROOM + tiles * TILE_ROOM


def largest_build(geometry: Geometry, source_bytes: int) -> int:
    """Return the most bytes that a build may have: blank tiles, and the detail that its source can hold."""
    return LEAST_FILE + _blank(geometry) + source_bytes * MOST_TIMES


def require_small(stored: int, geometry: Geometry, source_bytes: int) -> None:
    """Raise StageError("decoder_too_slow") if a build of `stored` bytes is too large for its source."""
    if stored > (most := largest_build(geometry, source_bytes)):
        raise StageError(
            "decoder_too_slow",
            f"The tiles of {geometry.width:,} x {geometry.height:,} pixels take more than {amount(most)}, the limit "
            f"for a file of {source_bytes:,} bytes. Save the file again with another program, or request tiles of a "
            "lower quality.",
        )


def pyramid_bytes(geometry: Geometry, tile_format: Format, source_bytes: int) -> int:
    """Estimate the bytes of a build."""
    by_pixels = geometry.width * geometry.height * PIXEL_BYTES[tile_format] * ALL_LEVELS
    return int(min(by_pixels, _blank(geometry) + source_bytes * SOURCE_TIMES))


def _blank(geometry: Geometry) -> int:
    tile = BLANK_TILE + geometry.tile_size**2 // BLANK_PIXELS
    return (geometry.tile_count + geometry.edge_count) * tile


def require_room(job: Job, geometry: Geometry, tile_format: Format) -> None:
    """Raise StageError("out_of_disk") if the build is not expected to fit."""
    if job.room is None:
        return
    needed = pyramid_bytes(geometry, tile_format, Path(job.source).stat().st_size)
    if needed > job.room:
        raise StageError(
            "out_of_disk",
            f"The tiles need about {amount(needed)}, but the storage has {amount(max(0, job.room))} to spare beyond "
            "the reserve (TILEWRIGHT_DISK_RESERVE_BYTES). Free space or enlarge the volume, then retry.",
        )
