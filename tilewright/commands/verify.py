"""`tilewright verify`: read every tile of a stored pyramid, and report what is wrong and where.

The index is compared with the zip's directory, each tile with its CRC-32 in the zip, and the other files with their
CRC-32 in pyramid.json. The gateway serves tiles without checking them, so this is the only way to find silent losses
of a disk.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from pipeline.errors import TilewrightError
from pipeline.pyramids import CHECKED, DESCRIPTION, EDGES, FILES, INDEX, SZI, Entry, Geometry, Index, sealed
from tiler import szi
from tiler.file_checksums import crc32_of
from tilewright.gauge import Gauge
from tilewright.output import print_line

MOST = 20
"""Most findings that are listed for one build: if a whole file is lost, each of its tiles is a finding."""


class NothingToVerify(TilewrightError):
    """Raised when no stored pyramid matches. The message says what to do."""


@dataclass
class Report:
    """What was found in one build.

    Parameters
    ----------
    tiles: number of tiles that were read, including edge tiles.
    compared: number of tiles that were compared with the original; None if none were.
    missing: what cannot be decoded of a damaged original that was compared; empty if nothing.
    original_is_gone: whether a comparison was requested, but no original with the pyramid's SHA-256 is stored.
    findings: what is wrong and where; at most MOST entries.
    total: number of all findings.
    """

    tile_id: str
    build: str
    tiles: int = 0
    compared: int | None = None
    missing: str = ""
    original_is_gone: bool = False
    findings: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, finding: str) -> None:
        """Add a finding."""
        self.total += 1
        if len(self.findings) < MOST:
            self.findings.append(finding)

    def as_json(self) -> dict[str, Any]:
        return {
            "tile_id": self.tile_id,
            "build": self.build,
            "ok": not self.total,
            "tiles": self.tiles,
            "compared": self.compared,
            "missing": self.missing,
            "original_is_gone": self.original_is_gone,
            "findings": self.findings,
            "findings_total": self.total,
        }


def builds(storage: Path, tile_id: str | None) -> list[Path]:
    """Return the folders of all finished builds, of one pyramid or of all. Raises NothingToVerify if there is none."""
    if not (storage / "pyramids").is_dir():
        raise NothingToVerify(f"{storage} is not a storage of Tilewright. Give the right one with --storage.")
    # The description is stored last. A build without one is unfinished or left over, and nobody reads it.
    found = sorted(path.parent for path in (storage / "pyramids").glob(f"{tile_id or '*'}/*/{DESCRIPTION}"))
    if not found:
        what = f"pyramid {tile_id}" if tile_id else "pyramid"
        raise NothingToVerify(f"There is no {what} in {storage}.")
    return found


def verify(build: Path, gauge: Gauge) -> Report:
    """Check one build. Changes nothing; a file that cannot be read is a finding like any other."""
    report = Report(build.parent.name, build.name)
    missing = [name for name in FILES if not (build / name).is_file()]
    for name in missing:
        report.add(f"{name} is missing")
    try:
        description = json.loads((build / DESCRIPTION).read_text(encoding="utf-8"))
        geometry = Geometry(description["width"], description["height"], description["tile_size"])
        sums = dict(description.get("crc32", {}))
        if {SZI, DESCRIPTION} & sums.keys() and sealed(description)["crc32"] != sums:
            report.add(f"{DESCRIPTION} is damaged: its CRC-32 differs from the stored one")
        if description["tile_id"] != report.tile_id:
            report.add(f"{DESCRIPTION} belongs to pyramid {description['tile_id']}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        report.add(f"{DESCRIPTION} cannot be read ({error})")
        return report
    if not missing and _readable(build, report, gauge):
        for name in CHECKED:
            if name in sums and (found := crc32_of(build / name)) != sums[name]:
                report.add(f"{name} is damaged: its CRC-32 is {found}, not {sums[name]}")
        _verify_index(build, geometry, sums.get(SZI), report, gauge)
    return report


def print_report(report: Report) -> None:
    """Print one line for the build, and below it one for each finding."""
    name = f"{report.tile_id}/{report.build}"
    if not report.total:
        compared = "" if report.compared is None else f"; {report.compared:,} match the original"
        compared += "; not compared: the original is no longer stored" * report.original_is_gone
        compared += f"; the original is damaged, {report.missing} cannot be decoded" if report.missing else ""
        print_line(f"{name}: {report.tiles:,} tiles, no damage{compared}")
        return
    print_line(f"{name}: {report.total:,} finding{'s' if report.total > 1 else ''}")
    for finding in report.findings:
        print_line(f"  {finding}")
    if report.total > len(report.findings):
        print_line(f"  and {report.total - len(report.findings):,} more")


def _readable(build: Path, report: Report, gauge: Gauge) -> bool:
    """Read every byte once: a read error in a file that is mapped into memory later would kill the process."""
    gauge.step(f"Reading {report.tile_id[:12]}", in_bytes=True)
    total, done = sum((build / name).stat().st_size for name in FILES), 0
    readable = True
    for name in FILES:
        try:
            with (build / name).open("rb") as file:
                while piece := file.read(1 << 20):
                    done += len(piece)
                    gauge.move(done, total)
        except OSError as error:
            report.add(f"{name} cannot be read: {error.strerror or error}")
            readable = False
    return readable


def _verify_index(build: Path, geometry: Geometry, frame: str | None, report: Report, gauge: Gauge) -> None:
    try:
        index = Index((build / INDEX).read_bytes())
    except ValueError as error:
        report.add(f"{INDEX} cannot be used: {error}")
        return
    if (index.tile_count, index.edge_count) != (geometry.tile_count, geometry.edge_count):
        report.add(f"{INDEX} does not belong to an image of {geometry.width} x {geometry.height} pixels")
        return
    gauge.step(f"Checking {report.tile_id[:12]}")
    _verify_archive(build / SZI, frame, geometry, index, report, gauge)
    _verify_edges(build / EDGES, geometry, index, report)


def _verify_archive(
    archive: Path, frame: str | None, geometry: Geometry, index: Index, report: Report, gauge: Gauge
) -> None:
    """Compare each tile with its CRC-32, and the bytes between the tiles with the CRC-32 of the zip's headers."""
    seen = bytearray(geometry.tile_count)
    checksum = 0
    try:
        with archive.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            for done, one in enumerate(szi.files(archive), 1):
                checksum = szi.crc32_around(file, one, checksum)
                if zlib.crc32(data[one.offset : one.offset + one.length]) != one.crc32:
                    place = f"{one.length} bytes at {one.offset}"
                    report.add(f"{SZI}: {one.name} is damaged ({place}): its CRC-32 differs from the zip's")
                if one.tile is not None:
                    _verify_entry(one, geometry, index, seen, report)
                gauge.move(min(done, geometry.tile_count), geometry.tile_count)
            checksum = szi.crc32_of_directory(file, checksum)
    except ValueError as error:
        report.add(f"{SZI} is not a readable zip: {error}")
        return
    report.tiles += sum(seen)
    for level, x, y in _addresses(geometry):
        if not seen[geometry.deep_zoom_position(level, x, y)]:
            report.add(f"{SZI}: tile {x}, {y} of level {level} is missing")
    # These bytes are served too, as part of the .szi, and other programs read them.
    if frame is not None and f"{checksum:08x}" != frame:
        report.add(f"{SZI} is damaged between its tiles: the CRC-32 of its headers is {checksum:08x}, not {frame}")


def _verify_entry(one: szi.Stored, geometry: Geometry, index: Index, seen: bytearray, report: Report) -> None:
    try:
        position = geometry.deep_zoom_position(*(one.tile or ()))
    except IndexError as error:
        report.add(f"{SZI}: {one.name} is not a tile of this image: {error}")
        return
    seen[position] = 1
    entry = index.entry(position)
    if entry != Entry(0, one.offset, one.length):
        report.add(
            f"{INDEX}: {one.name} is at {one.offset} ({one.length} bytes), "
            f"but the index says part {entry.part}, {entry.offset} ({entry.length} bytes)"
        )


def _verify_edges(path: Path, geometry: Geometry, index: Index, report: Report) -> None:
    """Check that edge tiles are stored back to back, in the order of the index; equal tiles are stored once."""
    end = 0
    seen: set[Entry] = set()
    for position, (zoom, x, y) in enumerate(geometry.edges(), geometry.tile_count):
        entry = index.entry(position)
        report.tiles += 1
        if entry in seen:
            continue
        if entry.part != 1 or entry.offset != end or entry.length == 0:
            report.add(f"{INDEX}: edge tile {x}, {y} of zoom {zoom} does not follow the one before it")
        seen.add(entry)
        end = entry.offset + entry.length
    size = path.stat().st_size
    if end != size:
        report.add(f"{EDGES} has {size} bytes, but the index says {end}")


def _addresses(geometry: Geometry) -> Iterator[tuple[int, int, int]]:
    for number, level in enumerate(geometry.levels):
        yield from ((number, x, y) for y in range(level.rows) for x in range(level.columns))
