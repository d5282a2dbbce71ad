"""The tiler's settings."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings import PictureSettings, WorkerSettings


class TilerSettings(WorkerSettings, PictureSettings):
    """What a tiler needs to know."""

    tiler_threads: int = Field(
        0, ge=0, description="Threads of libvips in one tiling; 0 stands for as many as there are cores."
    )
