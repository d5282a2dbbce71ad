"""What the tiler's child and its parent say to each other, in lines: see pipeline.sandbox.lines.

The parent writes one Job to the child's standard input and keeps it open as a life line. The child
writes reports to its standard output: one Opened, at most one Previewed, any number of Progress, then one Built; or, at
any point, one Failed.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.sandbox.lines import Codec


class Job(NamedTuple):
    """One pyramid to build.

    Parameters
    ----------
    source: path of the stored source.
    scratch: existing folder that the files of the build are written to.
    tile_id: the pyramid's id.
    source_sha256: SHA-256 of the source in hex, for pyramid.json.
    tile_size: edge of a tile in pixels.
    max_pixels: pixels of the largest picture taken.
    min_libvips: least version of libvips, such as "8.18.3".
    room: bytes that may be written to the scratch; None where nobody can tell.
    tile_format: of the tiles, a value of pipeline.pyramids.Format; empty for JPEG, or PNG where there is transparency.
    quality: of JPEG and WebP tiles, 1 to 100; 0 for the default.
    page: of the source, from 0.
    preview: whether to make a preview first.
    untrusted: formats that are read although they are not trusted: keys of pipeline.formats.libvips.UNTRUSTED_LOADERS.
    pixels_per_byte, memory_bytes: see pipeline.formats.admission.Limits.
    work_seconds: of all its threads together; None for no limit.
    """

    source: str
    scratch: str
    tile_id: str
    source_sha256: str
    tile_size: int
    max_pixels: int
    min_libvips: str
    room: int | None = None
    tile_format: str = ""
    quality: int = 0
    page: int = 0
    preview: bool = False
    pixels_per_byte: int = 5000
    memory_bytes: int | None = None
    work_seconds: int | None = None
    untrusted: tuple[str, ...] = ()


class Opened(NamedTuple):
    """What the source's header says: see pipeline.formats.header.Header."""

    format: str
    width: int
    height: int
    pages: int


class Previewed(NamedTuple):
    """A preview lies in the job's scratch; its size in pixels."""

    width: int
    height: int


class Progress(NamedTuple):
    """How far the child is; percent is 0 to 100 and never goes back."""

    tiles_done: int
    tiles_total: int
    percent: float


class Built(NamedTuple):
    """The finished build; its files lie in the job's scratch.

    Parameters
    ----------
    width, height: the full picture's, in pixels, upright.
    extension: of every tile, a value of pipeline.pyramids.geometry.Format.
    tile_count: Deep Zoom tiles over all levels.
    size: bytes of all files together.
    """

    width: int
    height: int
    extension: str
    tile_count: int
    size: int


class Failed(NamedTuple):
    """The build is impossible: a code of pipeline.errors and a sentence for a person."""

    code: str
    message: str


Report = Opened | Previewed | Progress | Built | Failed

JOBS = Codec[Job]("job", {"job": Job})

REPORTS = Codec[Report](
    "report", {"opened": Opened, "previewed": Previewed, "progress": Progress, "built": Built, "failed": Failed}
)
