"""The tiler's settings."""

from __future__ import annotations

from pydantic import Field

from pipeline.formats.settings import PictureSettings
from pipeline.settings import WorkerSettings


class TilerSettings(WorkerSettings, PictureSettings):
    """Settings of the tiler."""

    tiler_threads: int = Field(0, ge=0, description="Threads of libvips in one tiling; 0 for one per core.")
    max_pages: int = Field(
        500,
        ge=1,
        le=500,
        description=(
            "Most pages of a file of which all pages are shown. Each is a pyramid of its own, and they are made one "
            "after another, within one run's time limit."
        ),
    )
    preview: bool = Field(
        True,
        description=(
            "Whether to make a preview of up to 1,024 pixels before the tiles, if the source offers a cheap one. It "
            "costs a quarter of the tiling for a baseline JPEG, next to nothing for a TIFF with overviews."
        ),
    )
