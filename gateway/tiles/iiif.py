"""IIIF Image API 3.0, level 0, below /iiif/. It serves the stored tiles as they are, and decodes nothing.

    /iiif/<tile_id>                                            redirects to info.json
    /iiif/<tile_id>/info.json                                  describes the image
    /iiif/<tile_id>/<x>,<y>,<w>,<h>/<w>,<h>/0/default.<ext>    a tile: its region of the full image, and its own size
    /iiif/<tile_id>/full/<w>,<h>/0/default.<ext>               a level that consists of one tile
    /iiif/<tile_id>/full/max/0/default.jpg                     the whole image, with edges of at most FULL_EDGE pixels

    /iiif/<dataset_id>/manifest.json                           Presentation API 3.0: the dataset's texts and its image

In place of the tile_id, a dataset's id stands for the pyramid that the dataset shows now.

Section numbers refer to the Image API 3.0.0 (iiif.io/api/image/3.0).
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Scope

from gateway.tiles.dataset_addresses import DatasetAddresses
from gateway.tiles.manifest import CONTEXT as MANIFEST_CONTEXT
from gateway.tiles.manifest import manifest
from gateway.tiles.pyramid_app import Found, Headers, Malformed, PyramidApp, fixed, number
from gateway.tiles.pyramid_cache import OpenPyramid, PyramidCache
from pipeline.pyramids import FULL, Format, Geometry, Level
from protos.tilewright.status.v1 import status_pb2 as pb

IIIF_PREFIX = "/iiif/"

CONTEXT = "http://iiif.io/api/image/3/context.json"
PROTOCOL = "http://iiif.io/api/image"

PROFILE_LINK = (b"link", b'<http://iiif.io/api/image/3/level0.json>;rel="profile"')

FEATURES = ["baseUriRedirect", "cors", "jsonldMediaType", "profileLinkHeader"]
"""Features beyond level 0 (section 5.7)."""

_DECIMAL = r"[0-9]+(?:\.[0-9]+)?"
_SYNTAX = {
    "region": re.compile(rf"full|square|[0-9]+,[0-9]+,[0-9]+,[0-9]+|pct:{_DECIMAL},{_DECIMAL},{_DECIMAL},{_DECIMAL}"),
    "size": re.compile(rf"\^?(?:max|[0-9]+,|,[0-9]+|pct:{_DECIMAL}|!?[0-9]+,[0-9]+)"),
    "rotation": re.compile(rf"!?{_DECIMAL}"),
    "quality": re.compile(r"(?:color|gray|bitonal|default)\.(?:jpg|tif|png|gif|jp2|pdf|webp)"),
}
"""Syntax of section 4. A request that breaks it is answered with 400; a valid one that is not stored, with 404."""


GetDataset = Callable[[str], Awaitable[pb.Dataset]]
"""Returns a dataset; raises NotFound or StatusUnavailable."""


class Iiif(PyramidApp):
    """The ASGI app for IIIF.

    Parameters
    ----------
    get_dataset: for manifests; None if there are none.
    """

    noun = "stored image"

    def __init__(
        self,
        pyramids: PyramidCache,
        addresses: DatasetAddresses | None = None,
        get_dataset: GetDataset | None = None,
        *,
        public_url: str = "",
    ) -> None:
        super().__init__(pyramids, addresses, public_url=public_url)
        self._get_dataset = get_dataset

    def split(self, path: str) -> tuple[str, list[str]]:
        name, *rest = path.removeprefix(IIIF_PREFIX).split("/")
        return name, rest

    async def find(self, pyramid: OpenPyramid, name: str, parts: list[str], scope: Scope) -> Found | None:
        address = f"{self.base(scope)}{IIIF_PREFIX}{name}"
        match parts:
            case []:
                return _redirect(pyramid, f"{address}/info.json", self.address_cache)
            case ["info.json"]:
                return _info(pyramid, address, scope, self.address_cache)
            case ["manifest.json"] if self._get_dataset is not None and name != pyramid.tile_id:
                return _manifest(pyramid, await self._get_dataset(name), self.base(scope), scope, self.address_cache)
            case [region, size, rotation, file]:
                _check_syntax(region, size, rotation, file)
                quality, _, extension = file.partition(".")
                if (rotation, quality) != ("0", "default"):
                    return None
                return _picture(pyramid, region, size, extension)
        return None


def info(geometry: Geometry, tile_format: Format, address: str) -> dict[str, Any]:
    """Return the content of a pyramid's info.json (section 5).

    Parameters
    ----------
    address: URL of the image, without a trailing slash.
    """
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "id": address,
        "type": "ImageService3",
        "protocol": PROTOCOL,
        "profile": "level0",
        "width": geometry.width,
        "height": geometry.height,
        "sizes": [{"width": level.width, "height": level.height} for level in _sizes(geometry, tile_format)],
        "tiles": [
            {"width": geometry.tile_size, "scaleFactors": [1 << zoom for zoom in range(geometry.max_zoom + 1)]},
        ],
        "extraFeatures": FEATURES,
    }
    if geometry.full_level < geometry.max_level:
        # maxWidth limits both edges. It is above any tile's edge: full.jpg's longer edge exceeds FULL_EDGE / 2.
        document["maxWidth"] = max(geometry.level(geometry.full_level)[:2])
    if tile_format is not Format.JPEG:
        document |= {"preferredFormats": [tile_format.value], "extraFormats": [tile_format.value]}
    return document


def _sizes(geometry: Geometry, tile_format: Format) -> list[Level]:
    """Return the levels that are stored as one file in the tiles' format: one tile, or full.jpg for JPEG tiles."""
    full = geometry.level(geometry.full_level)
    return [
        level for level in geometry.levels if level.tile_count == 1 or (level == full and tile_format is Format.JPEG)
    ]


def _redirect(pyramid: OpenPyramid, target: str, cache_control: bytes) -> Found:
    """Redirect from the image's URL to its info.json (section 3.1)."""

    async def body() -> bytes:
        return b""

    headers = [(b"location", target.encode())]
    return Found(
        f"{pyramid.tile_id}-iiif",
        "text/plain",
        body,
        0,
        cache_control=cache_control,
        headers=headers,
        status=303,
        suffix=None,
    )


def _manifest(pyramid: OpenPyramid, dataset: pb.Dataset, base: str, scope: Scope, cache_control: bytes) -> Found:
    """Return the manifest, as JSON-LD if the Accept header names it (Presentation API 3.0, section 6.2)."""
    text = json.dumps(manifest(dataset, pyramid.geometry, base))
    return _json(pyramid, "manifest", text, MANIFEST_CONTEXT, scope, cache_control)


def _info(pyramid: OpenPyramid, address: str, scope: Scope, cache_control: bytes) -> Found:
    """Return info.json, as JSON-LD if the Accept header names it (section 5.1)."""
    text = json.dumps(info(pyramid.geometry, pyramid.format, address))
    return _json(pyramid, "info", text, CONTEXT, scope, cache_control, [PROFILE_LINK])


def _json(
    pyramid: OpenPyramid,
    name: str,
    text: str,
    context: str,
    scope: Scope,
    cache_control: bytes,
    headers: Headers = (),
) -> Found:
    accept = b",".join(value for header, value in scope["headers"] if header == b"accept")
    is_linked_data = b"application/ld+json" in accept
    media_type = f'application/ld+json;profile="{context}"' if is_linked_data else "application/json"
    name = f"{name}-ld" if is_linked_data else name
    headers = [*headers, (b"vary", b"Accept")]
    # It contains the address by which it was requested, so it is the same at no other one.
    return fixed(pyramid, name, media_type, text, cache_control, headers, suffix=None)


def _check_syntax(*parts: str) -> None:
    for (name, pattern), part in zip(_SYNTAX.items(), parts, strict=True):
        if not pattern.fullmatch(part):
            raise Malformed(f"{part[:50]} is not a valid {name} in the IIIF Image API 3.0 (section 4).")


def _picture(pyramid: OpenPyramid, region: str, size: str, extension: str) -> Found | None:
    geometry = pyramid.geometry
    area = _area(geometry, region)
    if area is None:
        return None
    x, y, width, height = area
    if not (width and height and x < geometry.width and y < geometry.height):
        raise Malformed(f"Region {region} is empty, or outside the image of {geometry.width} x {geometry.height}.")
    full = geometry.level(geometry.full_level)
    wanted = full[:2] if size == "max" and area[2:] == geometry.level(geometry.max_level)[:2] else _pair(size)
    if wanted is None:
        return None
    if extension == pyramid.format.value and (place := _tile(geometry, area, wanted)):
        position = geometry.deep_zoom_position(*place)
        etag = "{}-i-{}-{}-{}".format(pyramid.tile_id, *place)
        read = pyramid.files.read
        media_type = pyramid.format.media_type
        return Found(etag, media_type, lambda: read(position), headers=[PROFILE_LINK])
    if extension == Format.JPEG.value and area == (0, 0, geometry.width, geometry.height) and wanted == full[:2]:
        read_file = pyramid.files.read_file
        etag = f"{pyramid.tile_id}-i-full"
        return Found(etag, Format.JPEG.media_type, lambda: read_file(FULL), headers=[PROFILE_LINK])
    return None


def _area(geometry: Geometry, region: str) -> tuple[int, int, int, int] | None:
    """Return a region as x, y, width, height in pixels; None for a form that never names a stored region."""
    if region == "full":
        return 0, 0, geometry.width, geometry.height
    try:
        x, y, width, height = map(number, region.split(","))
    except ValueError:
        return None
    return x, y, width, height


def _pair(size: str) -> tuple[int, int] | None:
    try:
        width, height = map(number, size.split(","))
    except ValueError:
        return None
    return width, height


def _tile(geometry: Geometry, area: tuple[int, int, int, int], wanted: tuple[int, int]) -> tuple[int, int, int] | None:
    """Return level, column and row of the tile that shows a region at a size, at the largest level if several do.

    A tile of scale factor s covers s times its pixels, cropped at the image's edge. Its size is rounded up (section
    5.4).
    """
    x, y, width, height = area
    for halvings in range(geometry.max_level + 1):
        step = geometry.tile_size << halvings
        column, row = x // step, y // step
        if (
            wanted == (-(-width >> halvings), -(-height >> halvings))
            and (x, y) == (column * step, row * step)
            and (width, height) == (min(step, geometry.width - x), min(step, geometry.height - y))
        ):
            return geometry.max_level - halvings, column, row
    return None
