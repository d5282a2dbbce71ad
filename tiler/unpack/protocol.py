"""Messages between the unpacking child and its parent, one a line: see pipeline.sandbox.lines."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.sandbox.lines import Codec
from tiler.job import Failed

TARGET = "source"
"""Name of the unpacked image in its folder."""


class Job(NamedTuple):
    """One image to unpack.

    Parameters
    ----------
    source: path of the archive.
    folder: existing folder for the image.
    member: name of the image in the archive; empty if there is only one.
    most: bytes that any source may have.
    room: bytes that may be written; None if unknown.
    max_pixels, pixels_per_byte: see pipeline.formats.admission.Limits.
    min_libvips: least version of libvips, such as "8.18.3".
    """

    source: str
    folder: str
    member: str
    most: int
    room: int | None
    max_pixels: int
    pixels_per_byte: int
    min_libvips: str


class Unpacked(NamedTuple):
    """The image was unpacked.

    Parameters
    ----------
    name: in the archive; empty for a gzip file.
    size: in bytes.
    label: names it in messages.
    world, projection, auxiliary: see pipeline.formats.side_files.SideFiles.
    """

    name: str
    size: int
    label: str
    world: str = ""
    projection: str = ""
    auxiliary: str = ""


Report = Unpacked | Failed

JOBS = Codec[Job]("job", {"job": Job})

REPORTS = Codec[Report]("report", {"unpacked": Unpacked, "failed": Failed})
