"""Settings about which images are accepted, shared by ingest, which checks the header first, and the tiler."""

from __future__ import annotations

from pydantic import Field, field_validator

from pipeline import machine
from pipeline.formats.libvips import UNTRUSTED_LOADERS
from pipeline.settings import CommaSeparated, Settings


class PictureSettings(Settings):
    """Which images are accepted. Ingest and the tiler need the same values."""

    max_source_bytes: int = Field(
        100 * 1024**3,
        gt=0,
        description="Maximum bytes of a source: above the largest scans we know, below what fills a volume in a day.",
    )
    max_pixels: int = Field(
        100_000_000_000,
        gt=0,
        description=(
            "Most pixels of an image, by its header. An image of the default size takes about an hour at the 40 "
            "million pixels a second of two cores, far less than the stage's time limit."
        ),
    )
    max_pixels_per_byte: int = Field(
        5000,
        gt=0,
        description=(
            "Most pixels for each byte of a file, for images above the 1,073,741,824 pixels that any file may have. "
            "Photographs have 1 to 10. A map of all land at 43,200 x 21,600, black on white, has 500, and one of "
            "islands at 50,000 x 50,000, in G4, 2,100. Files crafted to keep a server busy have 8,000 and more."
        ),
    )
    decode_memory_bytes: int = Field(
        0,
        ge=0,
        description=(
            "Bytes of memory to decode and tile one image, not counting mapped pages of its file. An image that needs "
            "more by its header is refused. 0 stands for three quarters of the memory of the machine or container; "
            "the rest is left to the worker and the kernel's cache of files."
        ),
    )
    untrusted_formats: CommaSeparated = Field(
        (),
        description=(
            "Comma-separated formats to accept although libvips' authors do not trust their readers with untrusted "
            "files: svg. Empty by default, since such a reader is the likeliest to be exploited. Ingest and tiler "
            "need the same value."
        ),
    )
    min_libvips: str = Field(
        "8.18.3",
        pattern=r"^\d+\.\d+\.\d+$",
        description=(
            "Least version of libvips that may open untrusted files. 8.18.3 fixes a heap overflow by a TIFF of many "
            "bands (CVE-2026-69242). Lower it only if your distribution has patched its build."
        ),
    )

    @field_validator("untrusted_formats")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(names) - set(UNTRUSTED_LOADERS):
            raise ValueError(f"unknown format: {', '.join(sorted(unknown))}. Possible: {', '.join(UNTRUSTED_LOADERS)}")
        return names

    @property
    def memory_limit(self) -> int:
        """Bytes of memory that one decoding may use on this machine."""
        return self.decode_memory_bytes or machine.memory_bytes() * 3 // 4
