"""Messages between the tiler's child process and its parent, one a line: see pipeline.sandbox.lines.

The parent writes one Job to the child's standard input and keeps it open: if the parent dies, the input closes, and the
child ends. The child writes reports to its standard output: one Opened, at most one Previewed, any number of Progress,
then one Built. At any point, it may end with one Failed instead.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.formats.header import Header
from pipeline.georeference import Georeference
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
    max_pixels: most pixels of a source.
    min_libvips: least version of libvips, such as "8.18.3".
    room: bytes that may be written to the scratch folder; None if unknown.
    tile_format: of the tiles, a value of pipeline.pyramids.Format; empty for PNG with transparency, else JPEG.
    quality: of JPEG and WebP tiles, 1 to 100; 0 for the default.
    page: of the source, from 0; None for the main picture.
    most_pages: to show all pages, of which `page` is the first: how many there may be. None to show one page.
    accept_damage: whether to show what can be decoded of a damaged source.
    preview: whether to make a preview first.
    untrusted: untrusted formats that are allowed: keys of pipeline.formats.libvips.UNTRUSTED_LOADERS.
    pixels_per_byte, memory_bytes: see pipeline.formats.admission.Limits.
    stretch: how samples become 8 bits: a value that pipeline.stretch.parse takes.
    channels: the channels of a stack to compose, as pipeline.channel_choice.parse returns them.
    archive, archive_bytes, member: see tiler.unpack.Source.
    world, projection, auxiliary: see pipeline.formats.side_files.SideFiles.
    work_seconds: CPU seconds of all threads together; None for no limit.
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
    page: int | None = None
    most_pages: int | None = None
    accept_damage: bool = False
    preview: bool = False
    pixels_per_byte: int = 5000
    memory_bytes: int | None = None
    work_seconds: int | None = None
    untrusted: tuple[str, ...] = ()
    archive: str = ""
    archive_bytes: int | None = None
    member: str = ""
    stretch: str = ""
    channels: tuple[str, ...] = ()
    world: str = ""
    projection: str = ""
    auxiliary: str = ""


class Opened(NamedTuple):
    """The source's header: see pipeline.formats.header.Header.

    Parameters
    ----------
    shown: the numbers of all pages to show, if the job asks for them.
    """

    format: str
    width: int
    height: int
    pages: int
    shown: tuple[int, ...] = ()

    @property
    def header(self) -> Header:
        return Header(*self[:4])


class Previewed(NamedTuple):
    """A preview was written to the job's scratch folder; its size in pixels."""

    width: int
    height: int


class Progress(NamedTuple):
    """Progress of the child; `percent` is 0 to 100 and never decreases."""

    tiles_done: int
    tiles_total: int
    percent: float


class Built(NamedTuple):
    """The build is complete; its files lie in the job's scratch folder.

    Parameters
    ----------
    width, height: of the full, upright image, in pixels.
    extension: of every tile, a value of pipeline.pyramids.geometry.Format.
    tile_count: Deep Zoom tiles over all levels.
    size: bytes of all files together.
    stretch, low, high: how samples became 8 bits, and the samples that became 0 and 255; empty if they already were.
    channels: the numbers of the channels that were composed, from 0; none if a page was shown as it is.
    channel_names, channel_colours, channel_rules, channel_lows, channel_highs: for each its name, its colour such as
        "#00ff00", and as `stretch`, `low` and `high`.
    pixel_size, pixel_unit: width and height of a pixel, and their unit: see pipeline.pixel_size. Empty if unknown.
    crs, transform, geo_points: see pipeline.georeference.Georeference; the numbers of all points in a row. Empty if
        unknown.
    warnings, warning_codes: what is to know about the image: messages, and for each a key of WARNING_CODES
        (pipeline.errors).
    """

    width: int
    height: int
    extension: str
    tile_count: int
    size: int
    warnings: tuple[str, ...] = ()
    warning_codes: tuple[str, ...] = ()
    stretch: str = ""
    low: float = 0.0
    high: float = 0.0
    channels: tuple[int, ...] = ()
    channel_names: tuple[str, ...] = ()
    channel_colours: tuple[str, ...] = ()
    channel_rules: tuple[str, ...] = ()
    channel_lows: tuple[float, ...] = ()
    channel_highs: tuple[float, ...] = ()
    pixel_size: tuple[float, ...] = ()
    pixel_unit: str = ""
    crs: str = ""
    transform: tuple[float, ...] = ()
    geo_points: tuple[float, ...] = ()


def place_of(built: Built) -> Georeference | None:
    """Return where the image of a report lies; None if that is unknown."""
    if not (built.transform or built.geo_points):
        return None
    numbers = built.geo_points
    points = tuple(zip(numbers[::4], numbers[1::4], numbers[2::4], numbers[3::4], strict=True))
    return Georeference(built.crs, built.transform, points)


class Failed(NamedTuple):
    """The build failed: a code of pipeline.errors, and a message for people."""

    code: str
    message: str


Report = Opened | Previewed | Progress | Built | Failed

JOBS = Codec[Job]("job", {"job": Job})

REPORTS = Codec[Report](
    "report", {"opened": Opened, "previewed": Previewed, "progress": Progress, "built": Built, "failed": Failed}
)
