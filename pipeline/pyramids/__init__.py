"""Pure arithmetic of a tile pyramid: levels, tile addresses, the index file, the descriptors.

Imports nothing else of this project. Everyone else imports what is listed here.
"""

from pipeline.pyramids.descriptors import deep_zoom_descriptor, sealed, tilejson
from pipeline.pyramids.geometry import (
    CHECKED,
    DEFAULT_QUALITY,
    DEFAULT_TILE_SIZE,
    DESCRIPTION,
    EDGES,
    FILES,
    FULL,
    INDEX,
    PARTS,
    PREVIEW,
    PREVIEW_EDGE,
    PREVIEW_THUMBNAIL,
    PYRAMID_VERSION,
    SMALL_FILE,
    SZI,
    THUMBNAIL,
    THUMBNAIL_EDGE,
    Format,
    Geometry,
    Level,
    Options,
    tile_id,
    version_of,
)
from pipeline.pyramids.index import Buffer, Entry, Index, IndexWriter, index_bytes
from pipeline.pyramids.thumbnails import thumbnail_size

__all__ = [
    "CHECKED",
    "DEFAULT_QUALITY",
    "DEFAULT_TILE_SIZE",
    "DESCRIPTION",
    "EDGES",
    "FILES",
    "FULL",
    "INDEX",
    "PARTS",
    "PREVIEW",
    "PREVIEW_EDGE",
    "PREVIEW_THUMBNAIL",
    "PYRAMID_VERSION",
    "SMALL_FILE",
    "SZI",
    "THUMBNAIL",
    "THUMBNAIL_EDGE",
    "Buffer",
    "Entry",
    "Format",
    "Geometry",
    "Index",
    "IndexWriter",
    "Level",
    "Options",
    "deep_zoom_descriptor",
    "index_bytes",
    "sealed",
    "thumbnail_size",
    "tile_id",
    "tilejson",
    "version_of",
]
