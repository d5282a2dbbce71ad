"""Write all files of a build from an image: tiles, index, edge tiles, full.jpg, thumbnail, description."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyvips

from pipeline.channel_choice import hexadecimal
from pipeline.errors import StageError
from pipeline.georeference import Georeference, located_by_formula
from pipeline.pyramids import (
    CHECKED,
    DEFAULT_QUALITY,
    DESCRIPTION,
    EDGES,
    FILES,
    INDEX,
    PYRAMID_VERSION,
    SZI,
    Entry,
    Format,
    Geometry,
    Index,
    IndexWriter,
    sealed,
)
from pipeline.storage import written_back
from tiler import szi
from tiler.build.edges import pad_all
from tiler.build.small import write_small
from tiler.decode import ERRORS, Picture
from tiler.estimate import require_small
from tiler.file_checksums import crc32_of
from tiler.image_progress import follow
from tiler.job import Built, Job
from tiler.progress import Meter

EDGE_COST = 3
"""An edge tile takes the time of this many other tiles, since it is decoded and encoded on its own (measured)."""

Require = Callable[[int], None]
"""Takes the bytes of a build so far. Raises StageError if they exceed the limit."""

WEBP_EFFORT = 2
"""Effort of 0 to 6. It takes half the time of libvips' default, 4, and the size differs by at most a twentieth."""


def build(picture: Picture, job: Job, meter: Meter) -> Built:
    """Write all files of a build into the job's scratch folder, the description last.

    Raises
    ------
    StageError: decoder_too_slow, if the build is too large for its source.
    pyvips.Error, OSError: if the image cannot be decoded, or the disk is full.
    """
    out = Path(job.scratch)
    geometry = Geometry(picture.image.width, picture.image.height, job.tile_size)
    meter.begin(geometry.tile_count / (geometry.tile_count + EDGE_COST * geometry.edge_count))
    size = Path(job.source).stat().st_size
    _tiles(picture, out / SZI, job, meter, lambda stored: require_small(stored, geometry, size))
    meter.begin(1.0)
    index = IndexWriter(geometry)
    frame = _index_tiles(out / SZI, geometry, index)
    _edges(out, geometry, picture.format, index, meter, lambda stored: require_small(stored, geometry, size))
    if index.missing:
        raise RuntimeError(f"libvips left out {index.missing} of {geometry.tile_count} tiles")
    (out / INDEX).write_bytes(index.data)
    write_small(out, geometry, picture.format, Index(index.data))
    sums = {SZI: f"{frame:08x}"} | {name: crc32_of(out / name) for name in CHECKED}
    warnings = picture.warnings()
    described = _description(picture, geometry, job) | {"warnings": [warned._asdict() for warned in warnings]}
    description = sealed(described | {"crc32": sums})
    (out / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    return Built(
        width=geometry.width,
        height=geometry.height,
        extension=picture.format.value,
        tile_count=geometry.tile_count,
        size=sum((out / name).stat().st_size for name in FILES),
        warnings=tuple(warned.message for warned in warnings),
        warning_codes=tuple(warned.code for warned in warnings),
        **_shown(picture),
        **_channels(picture),
        **_scale(picture),
    )


def _channels(picture: Picture) -> dict[str, Any]:
    """Return the channels that were composed, as fields of Built."""
    return {
        "channels": tuple(layer.number for layer, _ in picture.channels),
        "channel_names": tuple(layer.name for layer, _ in picture.channels),
        "channel_colours": tuple(hexadecimal(layer.colour) for layer, _ in picture.channels),
        "channel_rules": tuple(str(shown.rule) for _, shown in picture.channels),
        "channel_lows": tuple(shown.low or 0.0 for _, shown in picture.channels),
        "channel_highs": tuple(shown.high or 0.0 for _, shown in picture.channels),
    }


def _shown(picture: Picture) -> dict[str, Any]:
    """Return how samples became 8 bits, as fields of Built; none if they already were."""
    if picture.shown is None:
        return {}
    rule, low, high = picture.shown.rule, picture.shown.low, picture.shown.high
    return {"stretch": str(rule), "low": low or 0.0, "high": high or 0.0}


def _scale(picture: Picture) -> dict[str, Any]:
    """Return how large a pixel is and where the image lies, as fields of Built; none if that is unknown."""
    size, place = picture.pixel_size, picture.georeference
    found: dict[str, Any] = {"pixel_size": (size.x, size.y), "pixel_unit": size.unit} if size else {}
    if place is not None:
        found |= {"crs": place.crs, "transform": place.transform}
        found["geo_points"] = tuple(number for point in place.points for number in point)
    return found


def _place(found: Georeference, geometry: Geometry) -> dict[str, Any]:
    """Return where the image lies, for pyramid.json: in WGS 84 only if that takes no more than a formula."""
    described: dict[str, Any] = {"crs": found.crs}
    described |= {"transform": found.transform} if found.transform else {"control_points": found.points}
    located = located_by_formula(found, geometry.width, geometry.height)
    return described | ({"bounds": located.bounds} if located else {})


def _tiles(picture: Picture, target: Path, job: Job, meter: Meter, require: Require) -> None:
    image = picture.image.copy()
    larger: list[StageError] = []

    def is_too_large() -> bool:
        # pyvips prints an error of a callback and drops it, so it is kept here.
        try:
            require(target.stat().st_size)
        except FileNotFoundError:
            return False
        except StageError as error:
            larger.append(error)
            return True
        return False

    follow(image, meter, is_too_large)
    try:
        with written_back(target), picture.heeded():
            image.dzsave(
                str(target),
                container="szi",
                overlap=0,
                tile_size=job.tile_size,
                keep="none",
                **_encoder(picture.format, job.quality or DEFAULT_QUALITY),
            )
    except ERRORS as error:
        if larger:
            raise larger[0] from error
        raise
    require(target.stat().st_size)


def _encoder(tile_format: Format, quality: int) -> dict[str, str | int]:
    match tile_format:
        case Format.JPEG:
            # With its default suffix (.jpeg) dzsave encodes straight from its buffers; .jpg takes 1.6 times as long.
            return {"Q": quality}
        case Format.WEBP:
            return {"suffix": f".webp[Q={quality},effort={WEBP_EFFORT}]"}
        case Format.PNG:
            return {"suffix": ".png"}


def _index_tiles(archive: Path, geometry: Geometry, index: IndexWriter) -> int:
    """Fill the index, and return the CRC-32 of the archive's frame (see tiler.szi)."""
    checksum = 0
    with archive.open("rb") as file:
        # dzsave's threads finish in any order, so each tile's position is taken from its name.
        for stored in szi.files(archive):
            checksum = szi.crc32_around(file, stored, checksum)
            if stored.tile is not None:
                index.put(geometry.deep_zoom_position(*stored.tile), Entry(0, stored.offset, stored.length))
        return szi.crc32_of_directory(file, checksum)


def _edges(
    out: Path, geometry: Geometry, tile_format: Format, index: IndexWriter, meter: Meter, require: Require
) -> None:
    entries = Index(index.data)
    offset = 0
    before = (out / SZI).stat().st_size
    with (out / SZI).open("rb") as archive, (out / EDGES).open("wb") as file:
        tiles = (
            _read(archive, entries.entry(geometry.deep_zoom_position(geometry.level_of_zoom(zoom), x, y)))
            for zoom, x, y in geometry.edges()
        )
        for done, (like, data) in enumerate(pad_all(tiles, tile_format, geometry.tile_size)):
            entry = Entry(1, offset, len(data)) if like is None else entries.entry(geometry.tile_count + like)
            file.write(data)
            index.put(geometry.tile_count + done, entry)
            offset += len(data)
            require(before + offset)
            meter.move(done / geometry.edge_count)


def _read(archive: BinaryIO, tile: Entry) -> bytes:
    return os.pread(archive.fileno(), tile.length, tile.offset)


def _description(picture: Picture, geometry: Geometry, job: Job) -> dict[str, object]:
    described: dict[str, object] = {
        "tile_id": job.tile_id,
        "version": PYRAMID_VERSION,
        "width": geometry.width,
        "height": geometry.height,
        "tile_size": geometry.tile_size,
        "overlap": 0,
        "format": picture.format.value,
    }
    if job.stretch:
        described["stretch"] = job.stretch
    if shown := _shown(picture):
        described["shown"] = shown
    if job.channels:
        described["channels"] = list(job.channels)
    if picture.channels:
        described["shown_channels"] = [
            dict(zip(("number", "name", "colour", "stretch", "low", "high"), values, strict=True))
            for values in zip(*_channels(picture).values(), strict=True)
        ]
    if picture.pixel_size:
        described["pixel_size"] = picture.pixel_size._asdict()
    if picture.georeference:
        described["georeference"] = _place(picture.georeference, geometry)
    if job.accept_damage:
        described["damage"] = "accept"
    if picture.missing is not None:
        described["missing_pixels"] = picture.missing.pixels()
    if picture.format is not Format.PNG:
        described["quality"] = job.quality or DEFAULT_QUALITY
    return described | {
        "levels": geometry.max_level + 1,
        "max_zoom": geometry.max_zoom,
        "tiles": geometry.tile_count,
        "edge_tiles": geometry.edge_count,
        "source": {"sha256": job.source_sha256} | picture.source | _archive(job),
        "pixels": picture.decisions or ["untouched"],
        "libvips": ".".join(str(pyvips.version(part)) for part in range(3)),
    }


def _archive(job: Job) -> dict[str, str]:
    """Return which file in an archive the source is, if it was unpacked."""
    if not job.archive:
        return {}
    return {"archive": job.archive} | ({"member": job.member} if job.member else {})
