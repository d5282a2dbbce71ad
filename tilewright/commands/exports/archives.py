"""Layouts with the tiles in one file: szi, bucket, mbtiles, pmtiles."""

from __future__ import annotations

import errno
import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from pmtiles.reader import MmapSource, all_tiles
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer

from pipeline.pyramids import DESCRIPTION, INDEX, Entry, Format, Geometry, IndexWriter, index_bytes, tilejson
from tilewright.commands.exports.tiles import DamagedExport, Tiles
from tilewright.commands.exports.trees import map_tile_count, map_tiles
from tilewright.gauge import Gauge

MBTILES_ID = 0x4D504258
"""The application id of MBTiles 1.3: "MPBX"."""

TILE_TYPES = {Format.JPEG: TileType.JPEG, Format.PNG: TileType.PNG, Format.WEBP: TileType.WEBP}


def check_archive(tiles: Tiles, gauge: Gauge) -> None:
    """Check every tile of the archive itself."""
    gauge.step("Verifying")
    for position in range(tiles.geometry.tile_count):
        tiles.read(position)
        gauge.move(position + 1, tiles.geometry.tile_count)


def write_index(tiles: Tiles, folder: Path) -> None:
    """Write pyramid.json and tiles.idx beside the archive, as packages/openseadragon-tilewright reads them.

    The index has no entries of edge tiles, because XYZ is not served from these files.
    """
    geometry = tiles.geometry
    index = IndexWriter(geometry)
    for position in range(geometry.tile_count):
        index.put(position, Entry(0, *tiles.place(position)))
    data = bytearray(index.data[: index_bytes(geometry.tile_count, 0)])
    data[12:16] = bytes(4)
    (folder / INDEX).write_bytes(data)
    described = {
        "tile_id": tiles.tile_id,
        "width": geometry.width,
        "height": geometry.height,
        "tile_size": geometry.tile_size,
        "overlap": 0,
        "format": tiles.format.value,
        "tiles": geometry.tile_count,
    }
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def write_mbtiles(tiles: Tiles, path: Path, words: dict[str, str], gauge: Gauge) -> None:
    """Write an MBTiles 1.3 database, and compare its tiles with the pyramid's.

    Parameters
    ----------
    words: name, and description and attribution if there are any.
    """
    geometry, total = tiles.geometry, map_tile_count(tiles.geometry)
    described = tilejson(geometry, tiles.format, "")
    metadata = words | {
        "format": tiles.format.value,
        "type": "baselayer",
        "version": "1",
        "minzoom": "0",
        "maxzoom": str(geometry.max_zoom),
        "bounds": ",".join(map(str, described["bounds"])),
        "center": ",".join(map(str, described["center"])),
    }
    try:
        seen = _write_mbtiles(tiles, path, metadata, gauge)
    except sqlite3.Error as error:
        raise OSError(errno.EIO, str(error), str(path)) from error
    _require_all(seen, total, path)


def _write_mbtiles(tiles: Tiles, path: Path, metadata: dict[str, str], gauge: Gauge) -> int:
    """Write the database, and return the number of tiles that read back as they should."""
    geometry, total, seen = tiles.geometry, map_tile_count(tiles.geometry), 0
    gauge.step("Writing")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        # A half-written file is thrown away, so no journal is needed.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"PRAGMA application_id = {MBTILES_ID}")
        database.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
        database.execute(
            "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB)"
        )
        database.execute("BEGIN")
        database.executemany("INSERT INTO metadata VALUES (?, ?)", metadata.items())
        for done, (zoom, x, y, position) in enumerate(map_tiles(geometry), 1):
            row = (zoom, x, (1 << zoom) - 1 - y, tiles.read(position))
            database.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", row)
            gauge.move(done, total)
        database.execute("CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row)")
        database.execute("CREATE UNIQUE INDEX name ON metadata (name)")
        database.execute("COMMIT")
        gauge.step("Verifying")
        for zoom, x, row_number, data in database.execute("SELECT * FROM tiles"):
            position = geometry.xyz_position(zoom, x, (1 << zoom) - 1 - row_number)
            tiles.check_copy(position, data, path.name)
            seen += 1
            gauge.move(seen, total)
    return seen


def write_pmtiles(tiles: Tiles, path: Path, words: dict[str, str], gauge: Gauge) -> None:
    """Write a PMTiles 3 file, its tiles in the order of their ids, and compare them with the pyramid's."""
    geometry, total = tiles.geometry, map_tile_count(tiles.geometry)
    gauge.step("Writing")
    with path.open("xb") as file:
        writer = Writer(file)
        writer.tile_f.close()
        with tempfile.TemporaryFile(dir=path.parent) as tile_file:  # not in /tmp, which may be small
            writer.tile_f = tile_file
            placed = sorted((zxy_to_tileid(zoom, x, y), position) for zoom, x, y, position in map_tiles(geometry))
            for done, (number, position) in enumerate(placed, 1):
                writer.write_tile(number, tiles.read(position))
                gauge.move(done, total)
            metadata = words | {"type": "baselayer", "tile_size": geometry.tile_size}
            writer.finalize(_header(geometry, tiles.format), metadata)
    gauge.step("Verifying")
    seen = 0
    with path.open("rb") as file:
        source = MmapSource(file)
        for seen, ((zoom, x, y), data) in enumerate(all_tiles(source), 1):
            tiles.check_copy(geometry.xyz_position(zoom, x, y), data, path.name)
            gauge.move(seen, total)
    _require_all(seen, total, path)


def _header(geometry: Geometry, tile_format: Format) -> dict[str, Any]:
    described = tilejson(geometry, tile_format, "")
    west, south, east, north = (round(degrees * 10_000_000) for degrees in described["bounds"])
    longitude, latitude, zoom = described["center"]
    return {
        "tile_type": TILE_TYPES[tile_format],
        "tile_compression": Compression.NONE,
        "min_lon_e7": west,
        "min_lat_e7": south,
        "max_lon_e7": east,
        "max_lat_e7": north,
        "center_zoom": zoom,
        "center_lon_e7": round(longitude * 10_000_000),
        "center_lat_e7": round(latitude * 10_000_000),
    }


def _require_all(seen: int, total: int, path: Path) -> None:
    if seen != total:
        raise DamagedExport(f"{path.name} has {seen} tiles instead of {total}. Check the disk, and export again.")


def copy_archive(tiles: Tiles, target: Path, gauge: Gauge) -> None:
    """Copy the archive of a stored build."""
    gauge.step("Copying", in_bytes=True)
    total = tiles.archive.stat().st_size
    with tiles.archive.open("rb") as source, target.open("xb") as file:
        while piece := source.read(1 << 20):
            file.write(piece)
            gauge.move(file.tell(), total)
