"""Which pictures are taken: settings of whoever looks at a header first, and of the tiler."""

from __future__ import annotations

from pydantic import Field, field_validator

from pipeline import machine
from pipeline.formats.libvips import UNTRUSTED_LOADERS
from pipeline.settings import CommaSeparated, Settings


class PictureSettings(Settings):
    """Which pictures are taken: the same for whoever looks at a header first and for the tiler."""

    max_pixels: int = Field(
        100_000_000_000,
        gt=0,
        description=(
            "Pixels of the largest picture taken, judged by its header. The default takes about an hour at the "
            "40 million pixels a second that two cores reach, far inside the stage's time limit."
        ),
    )
    max_pixels_per_byte: int = Field(
        5000,
        gt=0,
        description=(
            "Pixels that each byte of a file may unpack to, above the 1,073,741,824 that any file may have. A map of "
            "all land at 43,200 x 21,600, black on white, has 500, and one of islands at 50,000 x 50,000, in G4, "
            "2,100; files that are made to keep a server busy have 8,000 and more. Photographs have 1 to 10."
        ),
    )
    decode_memory_bytes: int = Field(
        0,
        ge=0,
        description=(
            "Bytes of memory that decoding and tiling one picture may take, the file's own pages left out; what would "
            "take more by its header is refused. 0 stands for three quarters of what the machine or the container has: "
            "the rest is for the worker and for the kernel's copies of files."
        ),
    )
    untrusted_formats: CommaSeparated = Field(
        (),
        description=(
            "Comma-separated formats that are read although libvips' authors do not hold their readers fit for "
            "strangers' files: svg. Empty, since such a reader is the likeliest to be taken over. Give ingest workers "
            "the same as tilers."
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

    @field_validator("untrusted_formats")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(names) - set(UNTRUSTED_LOADERS):
            raise ValueError(f"no such format: {', '.join(sorted(unknown))}. There is: {', '.join(UNTRUSTED_LOADERS)}")
        return names

    @property
    def memory_limit(self) -> int:
        """Bytes that one decoding may take on this machine."""
        return self.decode_memory_bytes or machine.memory_bytes() * 3 // 4
