"""`tilewright verify --source`: find stored originals by their SHA-256, and compare pyramids with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import StageError
from pipeline.formats import admission
from pipeline.formats.settings import PictureSettings
from pipeline.pyramids import DEFAULT_QUALITY, DESCRIPTION, Format, Geometry
from tiler.compare.parent import compare
from tiler.compare.protocol import Job
from tiler.unpack import unpacked
from tilewright.commands.verify import Report
from tilewright.gauge import Gauge

SAMPLE = 1000
"""Tiles of a pyramid that are compared without --all-tiles. The whole original is decoded in any case."""

BLOCK = 1 << 20
"""Bytes to read at once."""


@dataclass
class Originals:
    """The originals of a storage. Each is read at most once, however many pyramids are looked up.

    Parameters
    ----------
    storage: folder of the storage.
    dataset_id: dataset whose originals are read first; "" if it is not known.
    """

    storage: Path
    dataset_id: str = ""
    _known: dict[str, Path] = field(default_factory=dict)
    _rest: Iterator[Path] | None = None

    def find(self, sha256: str, gauge: Gauge) -> Path | None:
        """Return the original with this SHA-256; None if it is not stored, or its bytes have changed."""
        if self._rest is None:
            self._rest = self._paths()
        if sha256 not in self._known:
            gauge.step("Looking for the original", in_bytes=True)
            for path in self._rest:
                found = _sha256(path, gauge)
                self._known[found] = path
                if found == sha256:
                    break
        return self._known.get(sha256)

    def _paths(self) -> Iterator[Path]:
        folder = self.storage / "sources"
        own = folder / self.dataset_id if self.dataset_id else None
        yield from sorted(own.glob("*"), reverse=True) if own else ()
        yield from (path for path in sorted(folder.glob("*/*")) if path.is_file() and path.parent != own)


def compare_build(build: Path, originals: Originals, report: Report, gauge: Gauge, *, all_tiles: bool) -> None:
    """Decode a build's original again, in the sandbox, and compare its finest level. Add differences to the report."""
    try:
        description: dict[str, Any] = json.loads((build / DESCRIPTION).read_text(encoding="utf-8"))
        geometry = Geometry(description["width"], description["height"], description["tile_size"])
        sha256 = description["source"]["sha256"]
        original = originals.find(sha256, gauge)
        job = _job(build, original, description, most=0 if all_tiles else SAMPLE) if original else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        report.add(f"{DESCRIPTION} does not identify its original: {error!r}")
        return
    if job is None:
        report.original_is_gone = True
        return
    level = geometry.level(geometry.max_level)
    gauge.step(f"Comparing {report.tile_id[:12]}")
    with TemporaryDirectory(prefix="tilewright-") as scratch:
        settings = PictureSettings()
        try:
            source = unpacked(
                Path(job.source),
                Path(scratch),
                member=description["source"].get("member", ""),
                most=settings.max_source_bytes,
                limits=admission.Limits(settings.max_pixels, settings.max_pixels_per_byte),
                min_libvips=settings.min_libvips,
            )
            job = job._replace(source=str(source.path), archive_bytes=source.archive_bytes, scratch=scratch)
            compared, differing = compare(job, moved=lambda done, _: gauge.move(done * level.columns, level.tile_count))
        except StageError as error:
            report.add(f"the original cannot be tiled: {error.message} ({error.code})")
            return
    report.compared = compared.tiles
    report.missing = compared.missing
    if (told := description.get("missing_pixels", 0)) != compared.missing_pixels:
        report.add(
            f"{compared.missing_pixels:,} pixels of the original cannot be decoded, but {DESCRIPTION} says {told:,}"
        )
    for tile in differing:
        how = "cannot be read" if tile.levels < 0 else f"differs from the original by up to {tile.levels:g} levels"
        report.add(f"tile {tile.x}, {tile.y} of level {geometry.max_level} {how}")
    report.total += max(0, compared.differing - len(differing))


def _job(build: Path, original: Path, description: dict[str, Any], most: int) -> Job:
    settings = PictureSettings()
    return Job(
        source=str(original.absolute()),
        build=str(build.absolute()),
        scratch="",
        width=description["width"],
        height=description["height"],
        tile_size=description["tile_size"],
        tile_format=Format(description["format"]).value,
        quality=description.get("quality", DEFAULT_QUALITY),
        page=description["source"].get("page", 0),
        is_damaged="missing_pixels" in description,
        stretch=description.get("stretch", ""),
        channels=tuple(str(channel["number"]) for channel in description.get("shown_channels", ())),
        most=most,
        min_libvips=settings.min_libvips,
        max_pixels=settings.max_pixels,
        pixels_per_byte=settings.max_pixels_per_byte,
        memory_bytes=settings.memory_limit,
        untrusted=settings.untrusted_formats,
    )


def _sha256(path: Path, gauge: Gauge) -> str:
    digest, done = hashlib.sha256(), 0
    try:
        total = path.stat().st_size
        with path.open("rb") as file:
            while piece := file.read(BLOCK):
                digest.update(piece)
                done += len(piece)
                gauge.move(done, total)
    except OSError:
        return ""  # the disk cannot read it: it matches no SHA-256
    return digest.hexdigest()
