"""IIIF Image API 3.0 and 2.1, level 2, below /iiif/. Stored tiles are served as they are; all else is joined from them.

    /iiif/<tile_id>                                            redirects to info.json
    /iiif/<tile_id>/info.json                                  describes the image
    /iiif/<tile_id>/<region>/<size>/<rotation>/<quality>.<ext> any region in any size, within limits.
                                                               These are stored:
    /iiif/<tile_id>/<x>,<y>,<w>,<h>/<w>,<h>/0/default.<ext>    a tile: its region of the full image, and its own size
    /iiif/<tile_id>/full/<w>,<h>/0/default.<ext>               a level that consists of one tile
    /iiif/<tile_id>/full/<w>,<h>/0/default.jpg                 the largest level with edges of at most FULL_EDGE pixels

    /iiif/<dataset_id>/manifest.json                           Presentation API 3.0: the dataset's texts and its image
    /iiif/<dataset_id>/georeference.json                       Georeference Extension 1.0: where the image lies on Earth
    /iiif/3/…                                                  the same
    /iiif/2/…                                                  the same by Image API 2.1 and Presentation API 2.1

In place of the tile_id, a dataset's id stands for the pyramid that the dataset shows now.

Section numbers refer to the Image API 3.0.0 (iiif.io/api/image/3.0), or 2.1.1 for version 2.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.types import Scope

from gateway.tiles import georeference, iiif_2
from gateway.tiles.dataset_addresses import DatasetAddresses, page_of
from gateway.tiles.image_request import ImageRequest, Limits, parse
from gateway.tiles.manifest import CONTEXT as MANIFEST_CONTEXT
from gateway.tiles.manifest import manifest
from gateway.tiles.pyramid_app import Found, Headers, PyramidApp, fixed
from gateway.tiles.pyramid_cache import OpenPyramid, PyramidCache
from gateway.tiles.regions import Regions
from gateway.tiles.scale import service_2, service_3
from pipeline.pyramids import FULL, Format, Geometry
from pipeline.regions import QUALITIES
from protos.tilewright.status.v1 import status_pb2 as pb

IIIF_PREFIX = "/iiif/"

CONTEXT = "http://iiif.io/api/image/3/context.json"
PROTOCOL = "http://iiif.io/api/image"

PROFILE_LINK = {
    version: (b"link", b'<http://iiif.io/api/image/%b/level2.json>;rel="profile"' % version.encode())
    for version in ("2", "3")
}
"""The header that names the level, by version."""

FEATURES = ["baseUriRedirect", "cors", "jsonldMediaType", "mirroring", "profileLinkHeader", "sizeUpscaling"]
"""Features beyond level 2 (section 5.7)."""

GetDataset = Callable[[str], Awaitable[pb.Dataset]]
"""Returns a dataset; raises NotFound or StatusUnavailable."""


class Iiif(PyramidApp):
    """The ASGI app for IIIF.

    Parameters
    ----------
    regions: makes what is not stored.
    get_dataset: for manifests; None if there are none.
    """

    noun = "stored image"

    def __init__(
        self,
        pyramids: PyramidCache,
        regions: Regions,
        addresses: DatasetAddresses | None = None,
        get_dataset: GetDataset | None = None,
        *,
        public_url: str = "",
    ) -> None:
        super().__init__(pyramids, addresses, public_url=public_url)
        self._regions = regions
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
                return self._info(pyramid, self.said_of(pyramid, name), address, version, scope)
            case ["manifest.json" | georeference.PATH] if page_of(name)[1]:
                return None
            case ["manifest.json"] if self._get_dataset is not None and name != pyramid.tile_id:
                return _manifest(pyramid, await self._get_dataset(name), base, version, scope, self.address_cache)
            case [georeference.PATH] if self._get_dataset is not None and name != pyramid.tile_id and not named:
                found = georeference.annotation_page(await self._get_dataset(name), pyramid.geometry, base)
                context = georeference.CONTEXT
                return _json(pyramid, "place", json.dumps(found), context, scope, self.address_cache) if found else None
            case [region, size, rotation, file]:
                geometry, limits = pyramid.geometry, self._regions.limits
                request = parse(version, region, size, rotation, file, geometry, limits)
                return _stored(pyramid, request, PROFILE_LINK[version]) or self._made(pyramid, request, version)
        return None

    def _made(self, pyramid: OpenPyramid, request: ImageRequest, version: str) -> Found:
        etag = self._regions.etag(pyramid, request)
        make = partial(self._regions.get, pyramid, request)
        return Found(etag, request.format.media_type, make, headers=[PROFILE_LINK[version]], is_slow=True)

    def _info(self, pyramid: OpenPyramid, said: pb.Pyramid, address: str, version: str, scope: Scope) -> Found:
        """Return info.json, as JSON-LD if the Accept header names it (section 5.1)."""
        geometry, tile_format, limits = pyramid.geometry, pyramid.format, self._regions.limits
        if version == "2":
            stored = _stored_sizes(geometry, tile_format)
            document = iiif_2.info_2(geometry, tile_format, address, stored, limits) | service_2(said)
        else:
            document = info(geometry, tile_format, address, limits) | service_3(said, address)
        context = iiif_2.IMAGE_CONTEXT if version == "2" else CONTEXT
        return _json(pyramid, "info", json.dumps(document), context, scope, self.address_cache, [PROFILE_LINK[version]])


def info(geometry: Geometry, tile_format: Format, address: str, limits: Limits) -> dict[str, Any]:
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
        "profile": "level2",
        "width": geometry.width,
        "height": geometry.height,
        "maxWidth": limits.edge,
        "maxArea": limits.area,
        **_stored_sizes(geometry, tile_format),
        "extraFormats": [Format.WEBP.value],
        "extraQualities": [quality for quality in QUALITIES if quality != "default"],
        "extraFeatures": FEATURES,
    }
    if tile_format is not Format.JPEG:
        document["preferredFormats"] = [tile_format.value]
    return document


def _stored_sizes(geometry: Geometry, tile_format: Format) -> dict[str, Any]:
    """Return the fields of info.json about what is stored, which are the same in both versions.

    `sizes` are the levels that are one file in the tiles' format: one tile, or full.jpg for JPEG tiles.
    """
    full = geometry.level(geometry.full_level)
    return {
        "sizes": [
            {"width": level.width, "height": level.height}
            for level in geometry.levels
            if level.tile_count == 1 or (level == full and tile_format is Format.JPEG)
        ],
        "tiles": [
            {
                "width": geometry.tile_size,
                # It may be left out, but then OpenLayers 10.10 draws the tiles distorted.
                "height": geometry.tile_size,
                "scaleFactors": [1 << zoom for zoom in range(geometry.max_zoom + 1)],
            },
        ],
    }


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


def _stored(pyramid: OpenPyramid, request: ImageRequest, profile_link: tuple[bytes, bytes]) -> Found | None:
    """Return what a request leads to if it is stored: a tile, or full.jpg."""
    if not request.is_plain:
        return None
    geometry = pyramid.geometry
    if request.format is pyramid.format and (place := _tile(geometry, request)):
        position = geometry.deep_zoom_position(*place)
        etag = "{}-i-{}-{}-{}".format(pyramid.tile_id, *place)
        read = pyramid.files.read
        media_type = pyramid.format.media_type
        return Found(etag, media_type, lambda: read(position), headers=[profile_link])
    full = geometry.level(geometry.full_level)
    is_all = request.region[:4] == (0, 0, geometry.width, geometry.height)
    if request.format is Format.JPEG and is_all and _fits(request, full.width, full.height):
        read_file = pyramid.files.read_file
        etag = f"{pyramid.tile_id}-i-full"
        return Found(etag, Format.JPEG.media_type, lambda: read_file(FULL), headers=[profile_link])
    return None


def _fits(request: ImageRequest, width: int, height: int) -> bool:
    return request.region.to_width == width and (request.is_height_free or request.region.to_height == height)


def _tile(geometry: Geometry, request: ImageRequest) -> tuple[int, int, int] | None:
    """Return level, column and row of the tile that shows a region at a size, at the largest level if several do.

    A tile of scale factor s covers s times its pixels, cropped at the image's edge. Its size is rounded up (section
    5.4).
    """
    x, y, width, height = request.region[:4]
    for halvings in range(geometry.max_level + 1):
        step = geometry.tile_size << halvings
        column, row = x // step, y // step
        if (
            _fits(request, -(-width >> halvings), -(-height >> halvings))
            and (x, y) == (column * step, row * step)
            and (width, height) == (min(step, geometry.width - x), min(step, geometry.height - y))
        ):
            return geometry.max_level - halvings, column, row
    return None
