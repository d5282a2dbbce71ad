"""The tiles of a pyramid on this machine's disk, by their positions in the index, each with its checksum."""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import TilewrightError
from pipeline.pyramids import Format, Geometry, Index
from tiler import szi
from tilewright.gauge import Gauge

FETCHERS = 8
"""Edge tiles that are fetched at once: they are few, and a distant server answers slowly."""

EDGES = "edges"


class DamagedExport(TilewrightError):
    """Raised when a tile or file is not as the pyramid says, where it is read or where it was written."""


class Tiles(AbstractContextManager["Tiles"]):
    """Tiles of a .szi file, and the padded XYZ edge tiles once they were added.

    Parameters
    ----------
    name: of the dataset or pyramid, for messages.
    tile_id: of the pyramid.

    Raises
    ------
    DamagedExport: if the archive is not one of this geometry. Every method may raise it.
    """

    def __init__(self, archive: Path, geometry: Geometry, tile_format: Format, name: str, tile_id: str) -> None:
        self.archive = archive
        self.geometry = geometry
        self.format = tile_format
        self.name = name
        self.tile_id = tile_id
        count = geometry.tile_count + geometry.edge_count
        self._offsets = array("Q", bytes(8 * count))
        self._lengths = array("L", bytes(array("L").itemsize * count))
        self._sums = array("L", bytes(array("L").itemsize * count))
        self._files = ExitStack()
        self._archive = self._files.enter_context(archive.open("rb"))
        self._edges = self._archive
        try:
            self._read_directory()
        except BaseException:
            self._files.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._files.close()

    def _read_directory(self) -> None:
        geometry, seen = self.geometry, 0
        try:
            for stored in szi.files(self.archive):
                if stored.tile is None:
                    continue
                position = geometry.deep_zoom_position(*stored.tile)
                seen += not self._lengths[position]
                self._offsets[position], self._lengths[position] = stored.offset, stored.length
                self._sums[position] = stored.crc32
        except (ValueError, IndexError) as error:
            raise DamagedExport(f"The tiles of {self.name} do not match its pyramid: {error}.") from error
        if seen != geometry.tile_count:
            raise DamagedExport(
                f"{geometry.tile_count - seen} of {geometry.tile_count} tiles of {self.name} are missing."
            )

    def fetch_edges(self, fetch: Callable[[str], bytes], path: Path, gauge: Gauge) -> None:
        """Fetch all edge tiles into a new file.

        Parameters
        ----------
        fetch: returns an XYZ tile by its path, such as 3/1/2.jpg.
        """
        first = self.geometry.tile_count
        total, offset = self.geometry.edge_count, 0
        names = (f"{zoom}/{x}/{y}.{self.format}" for zoom, x, y in self.geometry.edges())
        with path.open("xb") as file, ThreadPoolExecutor(FETCHERS) as pool:
            for done, data in enumerate(pool.map(fetch, names)):
                file.write(data)
                self._place(first + done, offset, data)
                offset += len(data)
                gauge.move(done + 1, total)
        self._edges = self._files.enter_context(path.open("rb"))

    def use_edges(self, index: Index, path: Path) -> None:
        """Use the edge tiles of a stored build."""
        self._edges = self._files.enter_context(path.open("rb"))
        for position in range(self.geometry.tile_count, len(self._offsets)):
            entry = index.entry(position)
            self._place(position, entry.offset, os.pread(self._edges.fileno(), entry.length, entry.offset))

    def _place(self, position: int, offset: int, data: bytes) -> None:
        self._offsets[position], self._lengths[position] = offset, len(data)
        self._sums[position] = zlib.crc32(data)

    def place(self, position: int) -> tuple[int, int]:
        """Return where a Deep Zoom tile lies in the archive: offset and length."""
        return self._offsets[position], self._lengths[position]

    def read(self, position: int) -> bytes:
        """Return a tile, checked by its CRC-32."""
        file = self._archive if position < self.geometry.tile_count else self._edges
        data = os.pread(file.fileno(), self._lengths[position], self._offsets[position])
        if zlib.crc32(data) != self._sums[position]:
            advice = f"Have the operator run `tilewright verify {self.tile_id}`."
            raise DamagedExport(f"{self._label(position)} is damaged: its CRC-32 differs from the zip's. {advice}")
        return data

    def check_copy(self, position: int, data: bytes, where: object) -> None:
        """Require that `data`, read back from an export, is the tile at a position."""
        if zlib.crc32(data) != self._sums[position]:
            raise DamagedExport(
                f"{where} is not as it was written: {self._label(position)} reads back with another CRC-32. "
                "Check the disk, and export again."
            )

    def _label(self, position: int) -> str:
        """Return how messages name a tile: Tile /12/3_4.jpeg is in column 3 and row 4 of level 12."""
        for number, level in enumerate(self.geometry.levels):
            if position < level.tile_count:
                y, x = divmod(position, level.columns)
                return f"Tile /{number}/{x}_{y}.{'jpeg' if self.format is Format.JPEG else self.format}"
            position -= level.tile_count
        return f"Edge tile {position}"
