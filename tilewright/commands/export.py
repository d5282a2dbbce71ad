"""`tilewright export`: write a pyramid as plain files, for any host for static files.

    dzi   <id>.dzi and <id>_files/<level>/<x>_<y>.<ext>     for OpenSeadragon and other Deep Zoom viewers
    xyz   <z>/<x>/<y>.<ext> and tilejson.json               for Leaflet, OpenLayers and other map viewers
    szi   <id>.szi                                          one file, an uncompressed zip of the dzi files

The pyramid is downloaded from the server as one file. Its tiles are checked and unpacked one by one. When all are
there, they are moved into place, and the file that viewers open is moved last.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path

from pipeline.errors import TilewrightError
from pipeline.pyramids import Format, Geometry, deep_zoom_descriptor, tilejson
from tiler import szi
from tilewright.client import Client, Json
from tilewright.commands.layout import Layout
from tilewright.gauge import Gauge

UNFINISHED = ".tilewright-export-"
"""Prefix of the folder that an export fills, so that nobody takes it for a finished one."""

TILEJSON = "tilejson.json"

FETCHERS = 8
"""Edge tiles that are fetched at once: they are few, and a distant server answers slowly."""


class NotExported(TilewrightError):
    """Raised when there is nothing to export, or nowhere to write it. The message says what to do."""


class DamagedExport(TilewrightError):
    """Raised when the downloaded file is not the pyramid that the server described."""


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
        self.dataset_id: str = dataset["dataset_id"]
        info = dataset.get("tile_info")
        if info is None:
            raise NotExported(
                f"{self.dataset_id} has no tiles: it is {dataset['status']}. See `tilewright status {self.dataset_id}`."
            )
        self.tile_id: str = info["tile_id"]
        self.format = Format(info["format"])
        self.geometry = Geometry(info["width"], info["height"], info["tile_size"])

    @property
    def archive(self) -> str:
        """The server's path of all tiles as one file."""
        return f"/tiles/{self.tile_id}.szi"

    def xyz(self, zoom: int, x: int, y: int) -> str:
        """Return the path of an XYZ tile, below `/tiles/{tile_id}/` and below the folder of an export."""
        return f"{zoom}/{x}/{y}.{self.format}"


def export(
    client: Client, dataset_id: str, folder: Path, layout: Layout, gauge: Gauge, *, force: bool, url: str
) -> Path:
    """Write a pyramid's files into a folder, and return the path of the file to open.

    Parameters
    ----------
    folder: created if it is missing.
    force: write into a folder that is not empty, and replace the files of an earlier export.
    url: public address of the folder, for the addresses in the TileJSON; if empty, they are relative.

    Raises
    ------
    NotExported, DamagedExport, ClientError
    """
    pyramid = Pyramid(client.get(dataset_id))
    with unfinished(folder, force=force) as work:
        gauge.step("Downloading", in_bytes=True)
        archive = work / f"{dataset_id}.szi"
        client.download(pyramid.archive, archive, gauge.move)
        match layout:
            case Layout.DZI:
                _deep_zoom(pyramid, archive, work, gauge)
            case Layout.XYZ:
                _xyz(client, pyramid, archive, work, gauge, url)
            case Layout.SZI:
                _check(pyramid, archive, gauge)
        if layout is not Layout.SZI:
            archive.unlink()
        return _publish(work, folder, _entrance(dataset_id, layout))


def _entrance(dataset_id: str, layout: Layout) -> str:
    return {Layout.DZI: f"{dataset_id}.dzi", Layout.XYZ: TILEJSON, Layout.SZI: f"{dataset_id}.szi"}[layout]


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


def _check(pyramid: Pyramid, archive: Path, gauge: Gauge) -> None:
    gauge.step("Checking")
    for _ in _tiles(pyramid, archive, gauge):
        pass


def _deep_zoom(pyramid: Pyramid, archive: Path, work: Path, gauge: Gauge) -> None:
    gauge.step("Unpacking")
    for (level, x, y), data in _tiles(pyramid, archive, gauge):
        _write(work / f"{pyramid.dataset_id}_files/{level}/{x}_{y}.{pyramid.format}", data)
    text = deep_zoom_descriptor(pyramid.geometry, pyramid.format)
    (work / f"{pyramid.dataset_id}.dzi").write_text(text, encoding="utf-8")


def _xyz(client: Client, pyramid: Pyramid, archive: Path, work: Path, gauge: Gauge, url: str) -> None:
    geometry = pyramid.geometry
    first = geometry.level_of_zoom(0)
    gauge.step("Unpacking")
    for (level, x, y), data in _tiles(pyramid, archive, gauge):
        if level >= first and geometry.edge_position(level - first, x, y) is None:
            _write(work / pyramid.xyz(level - first, x, y), data)

    def fetch(edge: tuple[int, int, int]) -> None:
        path = pyramid.xyz(*edge)
        _write(work / path, client.tile_bytes(f"/tiles/{pyramid.tile_id}/{path}"))

    gauge.step("Fetching edge tiles")
    with ThreadPoolExecutor(FETCHERS) as pool:
        for done, _ in enumerate(pool.map(fetch, geometry.edges()), 1):
            gauge.move(done, geometry.edge_count)
    base = f"{url.rstrip('/')}/" if url else ""
    document = tilejson(geometry, pyramid.format, f"{base}{{z}}/{{x}}/{{y}}.{pyramid.format}")
    (work / TILEJSON).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _tiles(pyramid: Pyramid, archive: Path, gauge: Gauge) -> Iterator[tuple[tuple[int, int, int], bytes]]:
    """Yield every tile of the zip as (level, column, row) and bytes, checked. Raises DamagedExport."""
    total, seen = pyramid.geometry.tile_count, set()
    try:
        with archive.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            for stored in szi.files(archive):
                if stored.tile is None:
                    continue
                tile = data[stored.offset : stored.offset + stored.length]
                if zlib.crc32(tile) != stored.crc32:
                    advice = f"Have the operator run `tilewright verify {pyramid.tile_id}`."
                    raise DamagedExport(f"{stored.name} is damaged: its CRC-32 differs from the zip's. {advice}")
                seen.add(pyramid.geometry.deep_zoom_position(*stored.tile))
                yield stored.tile, tile
                gauge.move(len(seen), total)
    except (ValueError, IndexError) as error:
        raise DamagedExport(
            f"The file that the server sent for {pyramid.dataset_id} does not match its pyramid: {error}."
        ) from error
    if len(seen) != total:
        raise DamagedExport(f"{total - len(seen)} of {total} tiles are missing from {pyramid.archive}.")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


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
