"""Serve tiles and descriptors from stored pyramids as Deep Zoom, XYZ and IIIF. A tile takes one positioned read.

Imports `gateway.http`, `gateway.storage` and `pipeline`. The app and the server import what is listed here.
"""

from gateway.tiles.dataset_addresses import DatasetAddresses, page_of
from gateway.tiles.iiif import IIIF_PREFIX, Iiif
from gateway.tiles.pyramid_app import PyramidApp
from gateway.tiles.pyramid_cache import PyramidCache
from gateway.tiles.quick_tiles import QuickTiles
from gateway.tiles.region_cache import RegionCache
from gateway.tiles.regions import Regions
from gateway.tiles.tile_app import TILES_PREFIX, Tiles

__all__ = [
    "IIIF_PREFIX",
    "TILES_PREFIX",
    "DatasetAddresses",
    "Iiif",
    "PyramidApp",
    "PyramidCache",
    "QuickTiles",
    "RegionCache",
    "Regions",
    "Tiles",
    "page_of",
]
