"""Layouts with a file for each tile: dzi, xyz, tms, iiif, zoomify."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

from pipeline.errors import TilewrightError
from pipeline.pyramids import Format, Geometry, deep_zoom_descriptor, tilejson
from tilewright.commands.exports.tiles import DamagedExport, Tiles
from tilewright.gauge import Gauge

WORLD = 2 * 20037508.342789244
"""Edge of the square world of web maps (EPSG:3857), in metres."""

GROUP = 256
"""Tiles in a TileGroup folder of Zoomify."""


class NotExported(TilewrightError):
    """Raised when there is nothing to export, or nowhere to write it. The message says what to do."""


Placed = Iterator[tuple[str, int]]
"""Paths of files, each with the position of its tile."""


@dataclass
class Tree:
    """A layout with a file for each tile.

    Parameters
    ----------
    entrance: the path that viewers open.
    placed: returns the tiles' paths.
    count: how many there are.
    texts: the content of the other files, by path.
    """

    entrance: str
    placed: Callable[[], Iterable[tuple[str, int]]]
    count: int
    texts: dict[str, bytes] = field(default_factory=dict)


def write_tree(tree: Tree, tiles: Tiles, folder: Path, gauge: Gauge) -> None:
    """Write all files, then read them again and compare each tile's CRC-32. Raises DamagedExport."""
    gauge.step("Unpacking")
    for done, (path, position) in enumerate(tree.placed(), 1):
        _write(folder / path, tiles.read(position))
        gauge.move(done, tree.count)
    for path, content in tree.texts.items():
        _write(folder / path, content)
    gauge.step("Verifying")
    seen = 0
    for seen, (path, position) in enumerate(tree.placed(), 1):
        tiles.check_copy(position, (folder / path).read_bytes(), path)
        gauge.move(seen, tree.count)
    if seen != tree.count:
        raise DamagedExport(f"{seen} tiles were written instead of {tree.count}.")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def deep_zoom(tiles: Tiles, name: str) -> Tree:
    """Return name.dzi and name_files/<level>/<x>_<y>.<ext>."""
    geometry, extension = tiles.geometry, tiles.format.value

    def placed() -> Placed:
        position = 0
        for number, level in enumerate(geometry.levels):
            for y in range(level.rows):
                for x in range(level.columns):
                    yield f"{name}_files/{number}/{x}_{y}.{extension}", position
                    position += 1

    text = deep_zoom_descriptor(geometry, tiles.format).encode()
    return Tree(f"{name}.dzi", placed, geometry.tile_count, {f"{name}.dzi": text})


def map_tiles(geometry: Geometry) -> Iterator[tuple[int, int, int, int]]:
    """Yield zoom, column, row and position of every XYZ tile."""
    for zoom in range(geometry.max_zoom + 1):
        level = geometry.level(geometry.level_of_zoom(zoom))
        for x in range(level.columns):
            for y in range(level.rows):
                yield zoom, x, y, geometry.xyz_position(zoom, x, y)


def map_tile_count(geometry: Geometry) -> int:
    """Return the number of XYZ tiles."""
    return sum(level.tile_count for level in geometry.levels[geometry.level_of_zoom(0) :])


def xyz(tiles: Tiles, url: str) -> Tree:
    """Return <z>/<x>/<y>.<ext> and tilejson.json.

    Parameters
    ----------
    url: the public address of the folder; if empty, the addresses in the TileJSON are relative.
    """
    geometry, extension = tiles.geometry, tiles.format.value
    base = f"{url.rstrip('/')}/" if url else ""
    document = tilejson(geometry, tiles.format, f"{base}{{z}}/{{x}}/{{y}}.{extension}")
    text = json.dumps(document, indent=2) + "\n"
    return Tree(
        "tilejson.json",
        lambda: ((f"{zoom}/{x}/{y}.{extension}", position) for zoom, x, y, position in map_tiles(geometry)),
        map_tile_count(geometry),
        {"tilejson.json": text.encode()},
    )


def tms(tiles: Tiles, title: str) -> Tree:
    """Return <z>/<x>/<y>.<ext>, rows counted from the south, and tilemapresource.xml (OSGeo's TMS 1.0.0)."""
    geometry, extension = tiles.geometry, tiles.format.value
    half, resolution = WORLD / 2, WORLD / geometry.tile_size
    east = -half + WORLD * geometry.width / (geometry.tile_size << geometry.max_zoom)
    south = half - WORLD * geometry.height / (geometry.tile_size << geometry.max_zoom)
    sets = "".join(
        f'    <TileSet href="{zoom}" units-per-pixel="{resolution / (1 << zoom)!r}" order="{zoom}"/>\n'
        for zoom in range(geometry.max_zoom + 1)
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<TileMap version="1.0.0" tilemapservice="http://tms.osgeo.org/1.0.0">\n'
        f"  <Title>{quoteattr(title)[1:-1]}</Title>\n  <Abstract/>\n  <SRS>EPSG:3857</SRS>\n"
        f'  <BoundingBox minx="{-half!r}" miny="{south!r}" maxx="{east!r}" maxy="{half!r}"/>\n'
        f'  <Origin x="{-half!r}" y="{-half!r}"/>\n'
        f'  <TileFormat width="{geometry.tile_size}" height="{geometry.tile_size}" '
        f'mime-type="{tiles.format.media_type}" extension="{extension}"/>\n'
        f'  <TileSets profile="mercator">\n{sets}  </TileSets>\n</TileMap>\n'
    )
    return Tree(
        "tilemapresource.xml",
        lambda: (
            (f"{zoom}/{x}/{(1 << zoom) - 1 - y}.{extension}", position) for zoom, x, y, position in map_tiles(geometry)
        ),
        map_tile_count(geometry),
        {"tilemapresource.xml": text.encode()},
    )


def iiif(tiles: Tiles, url: str, full: Callable[[], bytes]) -> Tree:
    """Return the image by the IIIF Image API 3.0, level 0, as static files, and its info.json.

    Parameters
    ----------
    url: the public address of the folder, which becomes the image's id.
    full: returns the stored JPEG of the whole image, of the size of the full_level. It is not called if that is a tile.
    """
    geometry, extension = tiles.geometry, tiles.format.value
    whole = geometry.level(geometry.full_level)
    single = [(number, level) for number, level in enumerate(geometry.levels) if level.tile_count == 1]

    def placed() -> Placed:
        for number, level in single:
            path = f"full/{level.width},{level.height}/0/default.{extension}"
            yield path, geometry.deep_zoom_position(number, 0, 0)
        for number in range(geometry.level_of_zoom(0), geometry.max_level + 1):
            level, halvings = geometry.level(number), geometry.max_level - number
            step = geometry.tile_size << halvings
            for y in range(level.rows):
                for x in range(level.columns):
                    width = min(step, geometry.width - x * step)
                    height = min(step, geometry.height - y * step)
                    region = f"{x * step},{y * step},{width},{height}"
                    size = f"{-(-width >> halvings)},{-(-height >> halvings)}"
                    path = f"{region}/{size}/0/default.{extension}"
                    yield path, geometry.deep_zoom_position(number, x, y)

    info = {
        "@context": "http://iiif.io/api/image/3/context.json",
        "id": url.rstrip("/"),
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level0",
        "width": geometry.width,
        "height": geometry.height,
        "sizes": [{"width": level.width, "height": level.height} for _, level in single],
        "tiles": [
            {"width": geometry.tile_size, "scaleFactors": [1 << zoom for zoom in range(geometry.max_zoom + 1)]},
        ],
    }
    if tiles.format is Format.JPEG and whole.tile_count > 1:
        info["sizes"].append({"width": whole.width, "height": whole.height})  # type: ignore[attr-defined]
    if geometry.full_level < geometry.max_level:
        info["maxWidth"] = max(whole[:2])
    if tiles.format is not Format.JPEG:
        info |= {"preferredFormats": [extension], "extraFormats": [extension]}
    if tiles.format is Format.JPEG and whole.tile_count == 1:
        texts = {"full/max/0/default.jpg": tiles.read(geometry.deep_zoom_position(geometry.full_level, 0, 0))}
    else:
        picture = full()
        texts = {f"full/{size}/0/default.jpg": picture for size in ("max", f"{whole.width},{whole.height}")}
    texts["info.json"] = (json.dumps(info, indent=2) + "\n").encode()
    count = len(single) + map_tile_count(geometry)
    return Tree("info.json", placed, count, texts)


def zoomify(tiles: Tiles) -> Tree:
    """Return TileGroup<n>/<tier>-<x>-<y>.jpg and ImageProperties.xml.

    Zoomify rounds the sizes of smaller levels down, Deep Zoom up. A column or row that has one pixel more by that, and
    nothing else, is left out.

    Raises
    ------
    NotExported: if the tiles are no JPEG, or the image is so narrow that a level would have no pixels.
    """
    geometry, size = tiles.geometry, tiles.geometry.tile_size
    if tiles.format is not Format.JPEG:
        raise NotExported(
            f"Zoomify's tiles are JPEG, and those of {tiles.name} are {tiles.format.name}. "
            "Submit the image with format jpeg, or choose another layout."
        )
    tiers: list[tuple[int, int, int]] = []
    halvings = 0
    while True:
        width, height = geometry.width >> halvings, geometry.height >> halvings
        if not (width and height):
            raise NotExported(
                f"{tiles.name} is too narrow for Zoomify ({geometry.width} x {geometry.height} pixels): "
                "a smaller level would have no pixels. Choose another layout."
            )
        tiers.insert(0, (geometry.max_level - halvings, -(-width // size), -(-height // size)))
        if max(width, height) <= size:
            break
        halvings += 1

    def placed() -> Placed:
        number = 0
        for tier, (level, columns, rows) in enumerate(tiers):
            for y in range(rows):
                for x in range(columns):
                    yield f"TileGroup{number // GROUP}/{tier}-{x}-{y}.jpg", geometry.deep_zoom_position(level, x, y)
                    number += 1

    count = sum(columns * rows for _, columns, rows in tiers)
    text = (
        f'<IMAGE_PROPERTIES WIDTH="{geometry.width}" HEIGHT="{geometry.height}" NUMTILES="{count}" NUMIMAGES="1" '
        f'VERSION="1.8" TILESIZE="{size}"/>\n'
    )
    return Tree("ImageProperties.xml", placed, count, {"ImageProperties.xml": text.encode()})
