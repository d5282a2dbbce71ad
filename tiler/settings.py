"""The tiler's settings."""

from __future__ import annotations

from pydantic import Field

from pipeline.formats.settings import PictureSettings
from pipeline.settings import WorkerSettings


class TilerSettings(WorkerSettings, PictureSettings):
    """What a tiler needs to know."""

    tiler_threads: int = Field(
        0, ge=0, description="Threads of libvips in one tiling; 0 stands for as many as there are cores."
    )
    preview: bool = Field(
        True,
        description=(
            "Whether to make a preview of up to 1,024 pixels before the tiles, where the source gives one cheaply: "
            "a quarter of a baseline JPEG's tiling, next to nothing for a TIFF with overviews."
        ),
    )
