"""The size of a thumbnail."""

from __future__ import annotations

from pipeline.pyramids.geometry import THUMBNAIL_EDGE, Geometry


def thumbnail_size(geometry: Geometry) -> tuple[int, int]:
    """Return width and height of a pyramid's thumbnail in pixels.

    The tiler makes it from the level that full.jpg shows, by vips_thumbnail_image() with size=down.
    """
    whole = geometry.level(geometry.full_level)
    shrink = max(whole.width, whole.height) / THUMBNAIL_EDGE
    if shrink <= 1:
        return whole.width, whole.height
    return max(1, int(whole.width / shrink + 0.5)), max(1, int(whole.height / shrink + 0.5))
