"""The tiler's settings."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings import WorkerSettings


class TilerSettings(WorkerSettings):
    """What a tiler needs to know."""

    max_pixels: int = Field(
        100_000_000_000,
        gt=0,
        description=(
            "Pixels of the largest picture taken, judged by its header. The default takes about an hour at the "
            "40 million pixels a second that two cores reach, far inside the stage's time limit."
        ),
    )
    tiler_threads: int = Field(
        0, ge=0, description="Threads of libvips in one tiling; 0 stands for as many as there are cores."
    )
    preview: bool = Field(
        True,
        description=(
            "Whether to make a preview of up to 1,024 pixels before the tiles, where the source gives one cheaply: "
            "some 15 % of a baseline JPEG's tiling, next to nothing for a TIFF with overviews."
        ),
    )
    min_libvips: str = Field(
        "8.18.3",
        pattern=r"^\d+\.\d+\.\d+$",
        description=(
            "Least version of libvips that may open a stranger's file. 8.18.3 closes a heap write by a many-band "
            "TIFF (CVE-2026-69242); lower it only where the distribution has patched its own build."
        ),
    )
