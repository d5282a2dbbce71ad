"""IIIF Image API 3.0 and 2.1, level 0, below /iiif/. It serves the stored tiles as they are, and decodes nothing.

    /iiif/<tile_id>                                            redirects to info.json
    /iiif/<tile_id>/info.json                                  describes the image
    /iiif/<tile_id>/<x>,<y>,<w>,<h>/<w>,<h>/0/default.<ext>    a tile: its region of the full image, and its own size
    /iiif/<tile_id>/full/<w>,<h>/0/default.<ext>               a level that consists of one tile
    /iiif/<tile_id>/full/max/0/default.jpg                     the whole image, with edges of at most FULL_EDGE pixels

    /iiif/<dataset_id>/manifest.json                           Presentation API 3.0: the dataset's texts and its image
    /iiif/<dataset_id>/georeference.json                       Georeference Extension 1.0: where the image lies on Earth
    /iiif/3/…                                                  the same
    /iiif/2/…                                                  the same by Image API 2.1 and Presentation API 2.1

In place of the tile_id, a dataset's id stands for the pyramid that the dataset shows now.

Section numbers refer to the Image API 3.0.0 (iiif.io/api/image/3.0), or 2.1.1 for version 2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Scope

from gateway.tiles import georeference, iiif_2
from gateway.tiles.dataset_addresses import DatasetAddresses
from gateway.tiles.manifest import CONTEXT as MANIFEST_CONTEXT
from gateway.tiles.manifest import manifest
from gateway.tiles.pyramid_app import Found, Headers, Malformed, PyramidApp, fixed, number
from gateway.tiles.pyramid_cache import OpenPyramid, PyramidCache
from gateway.tiles.scale import service_2, service_3
from pipeline.pyramids import FULL, Format, Geometry, Level
from protos.tilewright.status.v1 import status_pb2 as pb

IIIF_PREFIX = "/iiif/"

CONTEXT = "http://iiif.io/api/image/3/context.json"
PROTOCOL = "http://iiif.io/api/image"

PROFILE_LINK = {
    version: (b"link", b'<http://iiif.io/api/image/%b/level0.json>;rel="profile"' % version.encode())
    for version in ("2", "3")
}
"""The header that names the level, by version."""

FEATURES = ["baseUriRedirect", "cors", "jsonldMediaType", "profileLinkHeader"]
"""Features beyond level 0 (section 5.7)."""

_DECIMAL = r"[0-9]+(?:\.[0-9]+)?"
_SIZE = rf"max|[0-9]+,|,[0-9]+|pct:{_DECIMAL}|!?[0-9]+,[0-9]+"
_FORMATS = "jpg|tif|png|gif|jp2|pdf|webp"
_SYNTAX_3 = {
    "region": re.compile(rf"full|square|[0-9]+,[0-9]+,[0-9]+,[0-9]+|pct:{_DECIMAL},{_DECIMAL},{_DECIMAL},{_DECIMAL}"),
    "size": re.compile(rf"\^?(?:{_SIZE})"),
    "rotation": re.compile(rf"!?{_DECIMAL}"),
    "quality": re.compile(rf"(?:color|gray|bitonal|default)\.(?:{_FORMATS})"),
}
_SYNTAX_2 = _SYNTAX_3 | {
    "size": re.compile(rf"full|{_SIZE}"),
    # Clients of version 1 send `native`.
    "quality": re.compile(rf"(?:color|gray|bitonal|default|native)\.(?:{_FORMATS})"),
}
_SYNTAX = {"2": _SYNTAX_2, "3": _SYNTAX_3}
"""Syntax of section 4. A request that breaks it is answered with 400; a valid one that is not stored, with 404."""


GetDataset = Callable[[str], Awaitable[pb.Dataset]]
"""Returns a dataset; raises NotFound or StatusUnavailable."""


_Wanted = tuple[int, int | None]
"""A width and a height in pixels; the height is None if it follows from the width."""


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
        """As PyramidApp.split. The first of the other parts is the version."""
        version, *rest = path.removeprefix(IIIF_PREFIX).split("/", 1)
        if version in PROFILE_LINK and rest:
            path = rest[0]
        else:
            version, path = "", path.removeprefix(IIIF_PREFIX)
        name, *parts = path.split("/")
        return name, [version, *parts]

    async def find(self, pyramid: OpenPyramid, name: str, parts: list[str], scope: Scope) -> Found | None:
        named, *parts = parts
        version = named or ("2" if parts == ["info.json"] and _accepts(scope, iiif_2.IMAGE_CONTEXT) else "3")
        base = self.base(scope)
        prefix = f"{version}/" if named or version == "2" else ""
        address = f"{base}{IIIF_PREFIX}{prefix}{name}"
        match parts:
            case []:
                return _redirect(pyramid, f"{address}/info.json", self.address_cache)
            case ["info.json"]:
                return _info(pyramid, self.said_of(pyramid, name), address, version, scope, self.address_cache)
            case ["manifest.json"] if self._get_dataset is not None and name != pyramid.tile_id:
                return _manifest(pyramid, await self._get_dataset(name), base, version, scope, self.address_cache)
            case [georeference.PATH] if self._get_dataset is not None and name != pyramid.tile_id and not named:
                found = georeference.annotation_page(await self._get_dataset(name), pyramid.geometry, base)
                context = georeference.CONTEXT
                return _json(pyramid, "place", json.dumps(found), context, scope, self.address_cache) if found else None
            case [region, size, rotation, file]:
                _check_syntax(version, region, size, rotation, file)
                quality, _, extension = file.partition(".")
                if rotation != "0" or quality not in {"default", "native"}:
                    return None
                return _picture(pyramid, region, size, extension, PROFILE_LINK[version])
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


def _manifest(
    pyramid: OpenPyramid, dataset: pb.Dataset, base: str, version: str, scope: Scope, cache_control: bytes
) -> Found:
    """Return the manifest, as JSON-LD if the Accept header names it (Presentation API 3.0, section 6.2)."""
    if version == "2":
        text, context = json.dumps(iiif_2.manifest_2(dataset, pyramid.geometry, base)), iiif_2.PRESENTATION_CONTEXT
    else:
        text, context = json.dumps(manifest(dataset, pyramid.geometry, base)), MANIFEST_CONTEXT
    return _json(pyramid, "manifest", text, context, scope, cache_control)


def _info(
    pyramid: OpenPyramid, said: pb.Pyramid, address: str, version: str, scope: Scope, cache_control: bytes
) -> Found:
    """Return info.json, as JSON-LD if the Accept header names it (section 5.1)."""
    geometry, tile_format = pyramid.geometry, pyramid.format
    if version == "2":
        document = iiif_2.info_2(geometry, tile_format, address, _sizes(geometry, tile_format)) | service_2(said)
    else:
        document = info(geometry, tile_format, address) | service_3(said, address)
    context = iiif_2.IMAGE_CONTEXT if version == "2" else CONTEXT
    return _json(pyramid, "info", json.dumps(document), context, scope, cache_control, [PROFILE_LINK[version]])


def _accept(scope: Scope) -> bytes:
    return b",".join(value for header, value in scope["headers"] if header == b"accept")


def _accepts(scope: Scope, context: str) -> bool:
    """Return whether a request prefers the version with this context (Image API 3.0, section 5.1)."""
    return context.encode() in _accept(scope)


def _json(
    pyramid: OpenPyramid,
    name: str,
    text: str,
    context: str,
    scope: Scope,
    cache_control: bytes,
    headers: Headers = (),
) -> Found:
    is_linked_data = b"application/ld+json" in _accept(scope)
    media_type = f'application/ld+json;profile="{context}"' if is_linked_data else "application/json"
    name = f"{name}-ld" if is_linked_data else name
    headers = [*headers, (b"vary", b"Accept")]
    # It contains the address by which it was requested, so it is the same at no other one.
    return fixed(pyramid, name, media_type, text, cache_control, headers, suffix=None)


def _check_syntax(version: str, *parts: str) -> None:
    for (name, pattern), part in zip(_SYNTAX[version].items(), parts, strict=True):
        if not pattern.fullmatch(part):
            raise Malformed(f"{part[:50]} is not a valid {name} in the IIIF Image API {version} (section 4).")


def _picture(
    pyramid: OpenPyramid, region: str, size: str, extension: str, profile_link: tuple[bytes, bytes]
) -> Found | None:
    geometry = pyramid.geometry
    area = _area(geometry, region)
    if area is None:
        return None
    x, y, width, height = area
    if not (width and height and x < geometry.width and y < geometry.height):
        raise Malformed(f"Region {region} is empty, or outside the image of {geometry.width} x {geometry.height}.")
    full = geometry.level(geometry.full_level)
    is_all = area[2:] == geometry.level(geometry.max_level)[:2]
    wanted = full[:2] if size in {"max", "full"} and is_all else _pair(size)
    if wanted is None:
        return None
    if extension == pyramid.format.value and (place := _tile(geometry, area, wanted)):
        position = geometry.deep_zoom_position(*place)
        etag = "{}-i-{}-{}-{}".format(pyramid.tile_id, *place)
        read = pyramid.files.read
        media_type = pyramid.format.media_type
        return Found(etag, media_type, lambda: read(position), headers=[profile_link])
    if extension == Format.JPEG.value and area == (0, 0, geometry.width, geometry.height) and _fits(wanted, *full[:2]):
        read_file = pyramid.files.read_file
        etag = f"{pyramid.tile_id}-i-full"
        return Found(etag, Format.JPEG.media_type, lambda: read_file(FULL), headers=[profile_link])
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


def _pair(size: str) -> _Wanted | None:
    """Return a size as width and height in pixels; None for a form that never names a stored size.

    `w,` has no height. It is the canonical form of version 2 (section 4.7 there).
    """
    width, comma, height = size.partition(",")
    try:
        return (number(width), number(height) if height else None) if comma else None
    except ValueError:
        return None


def _fits(wanted: _Wanted, width: int, height: int) -> bool:
    return wanted[0] == width and wanted[1] in (None, height)


def _tile(geometry: Geometry, area: tuple[int, int, int, int], wanted: _Wanted) -> tuple[int, int, int] | None:
    """Return level, column and row of the tile that shows a region at a size, at the largest level if several do.

    A tile of scale factor s covers s times its pixels, cropped at the image's edge. Its size is rounded up (section
    5.4).
    """
    x, y, width, height = area
    for halvings in range(geometry.max_level + 1):
        step = geometry.tile_size << halvings
        column, row = x // step, y // step
        if (
            _fits(wanted, -(-width >> halvings), -(-height >> halvings))
            and (x, y) == (column * step, row * step)
            and (width, height) == (min(step, geometry.width - x), min(step, geometry.height - y))
        ):
            return geometry.max_level - halvings, column, row
    return None
