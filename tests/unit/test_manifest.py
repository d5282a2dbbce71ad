"""The size of a thumbnail, as a manifest states it."""

from __future__ import annotations

import pyvips
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pyramids import THUMBNAIL_EDGE, Geometry, thumbnail_size


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_thumbnail_is_stated_with_the_size_that_libvips_makes(width: int, height: int) -> None:
    geometry = Geometry(width, height)
    whole = geometry.level(geometry.full_level)
    made = pyvips.Image.black(whole.width, whole.height).thumbnail_image(
        THUMBNAIL_EDGE, height=THUMBNAIL_EDGE, size="down"
    )
    assert thumbnail_size(geometry) == (made.width, made.height)
