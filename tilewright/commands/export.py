"""`tilewright export`: write a pyramid as plain files, for any host for static files.

    dzi       <id>.dzi and <id>_files/<level>/<x>_<y>.<ext>   for OpenSeadragon and other Deep Zoom viewers
    xyz       <z>/<x>/<y>.<ext> and tilejson.json             for Leaflet, OpenLayers and other map viewers
    tms       <z>/<x>/<y>.<ext> and tilemapresource.xml       the same, with rows counted from the south
    iiif      info.json and <region>/<size>/0/default.<ext>   for IIIF viewers (Image API 3, level 0)
    zoomify   ImageProperties.xml and TileGroup<n>/           for Zoomify viewers
    pmtiles   <id>.pmtiles                                    one file, for map viewers, read by ranges
    mbtiles   <id>.mbtiles                                    one file, an SQLite database, for map programs
    szi       <id>.szi                                        one file, an uncompressed zip of the dzi files
    bucket    pyramid.json, tiles.idx and pyramid.szi         for packages/openseadragon-tilewright
    site      index.html, a viewer and the dzi files          a page for any web host, or to open from a disk

The pyramid is downloaded from the server as one file, or read from a storage. Its tiles are checked, written into a
working folder, and read again and compared. Then they are moved into place, the file that viewers open last.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.pyramids import DESCRIPTION, EDGES, FULL, INDEX, SZI, Format, Geometry, Index
from tiler.file_checksums import crc32_of
from tilewright.client import Client, Json
from tilewright.commands.exports import archives, trees
from tilewright.commands.exports.site import site
from tilewright.commands.exports.tiles import DamagedExport, Tiles
from tilewright.commands.exports.trees import NotExported
from tilewright.commands.layout import Layout
from tilewright.gauge import Gauge
from tilewright.gauge import gauge as quiet_gauge

UNFINISHED = ".tilewright-export-"
"""Prefix of the folder that an export fills, so that nobody takes it for a finished one."""

DOWNLOADED = ".pyramid.szi"
PADDED = ".edges.bin"
"""Files of the working folder that are not part of the export."""

WITH_EDGES = (Layout.XYZ, Layout.TMS, Layout.MBTILES, Layout.PMTILES)
"""Layouts of square tiles, which need the padded edge tiles."""


class Pyramid:
    """A pyramid to export.

    Parameters
    ----------
    dataset: the dataset, as the API returns it.

    Raises
    ------
    NotExported: if the dataset is not ready.
    """

    def __init__(self, dataset: Json) -> None:
        self.dataset = dataset
        self.name: str = dataset["dataset_id"]
        info = dataset.get("tile_info")
        if info is None:
            raise NotExported(
                f"{self.name} has no tiles: it is {dataset['status']}. See `tilewright status {self.name}`."
            )
        self.tile_id: str = info["tile_id"]
        self.format = Format(info["format"])
        self.geometry = Geometry(info["width"], info["height"], info["tile_size"])

    @contextmanager
    def tiles(self, archive: Path) -> Iterator[Tiles]:
        """Yield the tiles of a .szi file of this pyramid."""
        with Tiles(archive, self.geometry, self.format, self.name, self.tile_id) as tiles:
            yield tiles


class Served:
    """A pyramid on a server.

    Parameters
    ----------
    dataset: the dataset, as the API returns it.
    """

    def __init__(self, client: Client, dataset: Json) -> None:
        self._client = client
        self.pyramid = Pyramid(dataset)

    @contextmanager
    def open(self, work: Path, gauge: Gauge, *, edges: bool) -> Iterator[Tiles]:
        """Download the tiles into a working folder, with the padded edge tiles if `edges`."""
        tile_id = self.pyramid.tile_id
        gauge.step("Downloading", in_bytes=True)
        self._client.download(f"/tiles/{tile_id}.szi", work / DOWNLOADED, gauge.move)
        with self.pyramid.tiles(work / DOWNLOADED) as tiles:
            if edges:
                gauge.step("Fetching edge tiles")
                tiles.fetch_edges(
                    lambda path: self._client.tile_bytes(f"/tiles/{tile_id}/{path}"), work / PADDED, gauge
                )
            yield tiles

    def full(self) -> bytes:
        """Return the stored JPEG of the whole image."""
        width, height = self.pyramid.geometry.level(self.pyramid.geometry.full_level)[:2]
        return self._client.tile_bytes(f"/iiif/{self.pyramid.tile_id}/full/{width},{height}/0/default.jpg")

    def put_archive(self, tiles: Tiles, target: Path, gauge: Gauge) -> None:  # noqa: ARG002  there is nothing to wait for
        """Put the archive of the tiles at a path of the working folder."""
        tiles.archive.rename(target)


class Stored:
    """A pyramid in the directory of a storage, which needs no server.

    Parameters
    ----------
    build: the folder of the finished build.
    dataset: the dataset that shows it, as the API returns it; None if it is not known.
    """

    def __init__(self, build: Path, dataset: Json | None) -> None:
        self._build = build
        try:
            described = json.loads((build / DESCRIPTION).read_text(encoding="utf-8"))
            self._sums: dict[str, str] = described.get("crc32", {})
            self.pyramid = Pyramid({"dataset_id": build.parent.name[:12]} | (dataset or {}) | {"tile_info": described})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedExport(f"{build / DESCRIPTION} cannot be read ({error}).") from error

    @contextmanager
    def open(self, work: Path, gauge: Gauge, *, edges: bool) -> Iterator[Tiles]:  # noqa: ARG002  nothing is downloaded
        """Open the tiles where they are stored, with the padded edge tiles if `edges`."""
        with self.pyramid.tiles(self._build / SZI) as tiles:
            if edges:
                self._check(INDEX)
                self._check(EDGES)
                try:
                    tiles.use_edges(Index((self._build / INDEX).read_bytes()), self._build / EDGES)
                except (ValueError, IndexError) as error:
                    raise DamagedExport(f"{self._build / INDEX} cannot be used: {error}.") from error
            yield tiles

    def full(self) -> bytes:
        """Return the stored JPEG of the whole image."""
        self._check(FULL)
        return (self._build / FULL).read_bytes()

    def put_archive(self, tiles: Tiles, target: Path, gauge: Gauge) -> None:
        """Put the archive of the tiles at a path of the working folder."""
        archives.copy_archive(tiles, target, gauge)

    def _check(self, name: str) -> None:
        """Require that a file has the checksum that the description says."""
        if name in self._sums and crc32_of(self._build / name) != self._sums[name]:
            raise DamagedExport(
                f"{self._build / name} is damaged: its CRC-32 differs from the description's. "
                f"See `tilewright verify {self.pyramid.tile_id}`."
            )


class Part(NamedTuple):
    """One of several pyramids that are exported together.

    Parameters
    ----------
    folder: name of its folder in the target; empty for a layout of one file, which lies in the target itself.
    """

    source: Served | Stored
    folder: str


def export(source: Served | Stored, folder: Path, layout: Layout, gauge: Gauge, *, force: bool, url: str) -> Path:
    """Write a pyramid's files into a folder, and return the path of the file to open.

    Parameters
    ----------
    folder: created if it is missing.
    force: write into a folder that is not empty, and replace the files of an earlier export.
    url: public address of the folder, for the addresses in TileJSON and info.json. The TileJSON's are relative if it
        is empty.

    Raises
    ------
    NotExported, DamagedExport, ClientError
    """
    with unfinished(folder, force=force) as work:
        entrance = _export_into(work, source, layout, gauge, url)
        return _publish(work, folder, entrance)


def export_parts(
    parts: Sequence[Part], folder: Path, layout: Layout, gauge: Gauge, *, force: bool, url: str
) -> list[Path]:
    """Write several pyramids into a folder, all or none, and return the path of the file to open for each.

    The parameters and errors are those of `export`. The address of a part's folder is that of the folder with its name.
    """
    entrances = []
    with unfinished(folder, force=force) as work, quiet_gauge(quiet=True) as quiet:
        gauge.step("Exporting", unit="pages")
        for done, part in enumerate(parts, start=1):
            into = work / part.folder
            into.mkdir(exist_ok=True)
            address = f"{url.rstrip('/')}/{part.folder}" if url else ""
            try:
                entrance = _export_into(into, part.source, layout, quiet, address)
            except (NotExported, DamagedExport) as error:
                raise type(error)(f"{part.source.pyramid.name}: {error}") from error
            entrances.append(Path(part.folder, entrance))
            gauge.move(done, len(parts))
        _publish(work, folder, entrances[0].parts[0])
    return [folder / entrance for entrance in entrances]


def _export_into(work: Path, source: Served | Stored, layout: Layout, gauge: Gauge, url: str) -> str:
    """Write a pyramid's files into a working folder, check them, and return the name of the one to open."""
    with source.open(work, gauge, edges=layout in WITH_EDGES) as tiles:
        entrance = _write(source, tiles, layout, work, gauge, url)
    for name in (DOWNLOADED, PADDED):
        (work / name).unlink(missing_ok=True)
    return entrance


def _write(source: Served | Stored, tiles: Tiles, layout: Layout, work: Path, gauge: Gauge, url: str) -> str:
    """Write the files of a layout, check them, and return the name of the one to open."""
    dataset, name = source.pyramid.dataset, source.pyramid.name
    match layout:
        case Layout.DZI:
            tree = trees.deep_zoom(tiles, name)
        case Layout.XYZ:
            tree = trees.xyz(tiles, url)
        case Layout.TMS:
            tree = trees.tms(tiles, dataset.get("name") or name)
        case Layout.IIIF:
            tree = trees.iiif(tiles, url, source.full)
        case Layout.ZOOMIFY:
            tree = trees.zoomify(tiles)
        case Layout.SITE:
            tree = site(tiles, name, dataset)
        case _:
            return _write_archive(source, tiles, layout, work, gauge)
    trees.write_tree(tree, tiles, work, gauge)
    return tree.entrance


def _write_archive(source: Served | Stored, tiles: Tiles, layout: Layout, work: Path, gauge: Gauge) -> str:
    pyramid = source.pyramid
    name = SZI if layout is Layout.BUCKET else f"{pyramid.name}.{layout}"
    match layout:
        case Layout.PMTILES:
            archives.write_pmtiles(tiles, work / name, _words(pyramid.dataset, pyramid.name), gauge)
        case Layout.MBTILES:
            archives.write_mbtiles(tiles, work / name, _words(pyramid.dataset, pyramid.name), gauge)
        case Layout.BUCKET:
            source.put_archive(tiles, work / name, gauge)
            archives.write_index(tiles, work)
            with pyramid.tiles(work / name) as copied:
                archives.check_archive(copied, gauge)
            return DESCRIPTION
        case _:
            source.put_archive(tiles, work / name, gauge)
            with pyramid.tiles(work / name) as copied:
                archives.check_archive(copied, gauge)
    return name


def _words(dataset: Json, name: str) -> dict[str, str]:
    """Return what a map file says of its image."""
    words = {"name": dataset.get("name") or name, "description": dataset.get("description") or ""}
    said = dataset.get("attribution") or {}
    words["attribution"] = said.get("text") or said.get("url") or ""
    return {key: value for key, value in words.items() if value}


@contextmanager
def unfinished(folder: Path, *, force: bool) -> Iterator[Path]:
    """Yield a working folder inside `folder`, and remove it with its content after the block."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(folder):
            for path in folder.iterdir():
                if path.name.startswith(UNFINISHED):
                    shutil.rmtree(path)  # left by an export that was killed
                elif not force:
                    advice = "Choose another folder, or use --force to write into this one."
                    raise NotExported(f"{folder} is not empty. {advice}")
            work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
            work.chmod(0o755)  # mkdtemp makes it private, but others have to read what is moved out of it.
            try:
                yield work
            finally:
                shutil.rmtree(work)
    except OSError as error:
        raise NotExported(f"{error.filename or folder}: {error.strerror or error}.") from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder against other exports: they would delete this one's files as left over. Leaves no file behind."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # On a file system without locks, go on without one.
        with suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                advice = "Wait until it ends, or choose another folder."
                raise NotExported(f"Another export is writing into {folder}. {advice}") from None
        yield
    finally:
        os.close(descriptor)


def _publish(work: Path, folder: Path, entrance: str) -> Path:
    """Move everything from the working folder into place, the entrance last.

    Existing files of the same names are deleted first, beginning with the entrance: viewers never open a mixture.
    """
    names = sorted((path.name for path in work.iterdir()), key=lambda name: name == entrance)
    for name in reversed(names):
        target = folder / name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
    for name in names:
        (work / name).replace(folder / name)
    return folder / entrance
