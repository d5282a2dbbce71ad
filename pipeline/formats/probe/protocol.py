"""Messages between the probe's child process and its parent: lines (see pipeline.sandbox.lines), and bytes.

parent ─ a Job ─────────────▶ child
       ◀─ a Read ─────────── child     any number of times
       ─ COUNT, COUNT bytes ▶          or REFUSED
       ◀─ Found, Failed or Unknown ──  once
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.sandbox.lines import Codec

REFUSED = b"-\n"
"""The answer to a refused Read. After it, the child requests nothing more."""


class Job(NamedTuple):
    """One header to read.

    Parameters
    ----------
    length: of the file in bytes; None if unknown.
    page: the page to report, from 0; None for the main picture.
    min_libvips: least version of libvips, such as "8.18.3".
    untrusted: untrusted formats that are allowed: keys of pipeline.formats.libvips.UNTRUSTED_LOADERS.
    channels: the channels that are asked for, as pipeline.channel_choice.parse returns them.
    member: name of the image in a ZIP archive; empty if there is only one, or no archive.
    """

    length: int | None
    page: int | None
    min_libvips: str
    untrusted: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    member: str = ""


class Read(NamedTuple):
    """A request for at most `length` bytes from `offset` on."""

    offset: int
    length: int


class Found(NamedTuple):
    """The header: see pipeline.formats.header.Header.

    Parameters
    ----------
    memory: most bytes of memory to tile the file.
    work, work_before, frames: see pipeline.formats.budget.Work.
    page: the page that is reported, from 0.
    names, colours, channels, z, t, z_step, t_step, z_labels, t_labels: see pipeline.formats.header.StackHeader.
    """

    format: str
    width: int
    height: int
    pages: int
    memory: int
    work: int = 0
    work_before: int = 0
    frames: int = 0
    page: int = 0
    names: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    channels: int = 0
    z: int = 0
    t: int = 0
    z_step: str = ""
    t_step: str = ""
    z_labels: tuple[str, ...] = ()
    t_labels: tuple[str, ...] = ()


class Failed(NamedTuple):
    """The file cannot be tiled: a code of pipeline.errors, and a message for people."""

    code: str
    message: str


class Unknown(NamedTuple):
    """The header could not be read with the bytes that were served."""


Report = Read | Found | Failed | Unknown

JOBS = Codec[Job]("job", {"job": Job})

REPORTS = Codec[Report]("report", {"read": Read, "found": Found, "failed": Failed, "unknown": Unknown})
