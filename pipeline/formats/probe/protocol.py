"""What the prober of headers and its parent say to each other: lines (see pipeline.sandbox.lines), and bytes.

parent ─ a Job ─────────────▶ child
       ◀─ a Read ─────────── child     any number of times
       ─ COUNT, COUNT bytes ▶          or REFUSED
       ◀─ Found, Failed or Unknown ──  once
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.sandbox.lines import Codec

REFUSED = b"-\n"
"""The answer to a Read for which there are no bytes to be had; none is granted any more."""


class Job(NamedTuple):
    """One header to read.

    Parameters
    ----------
    length: of the file in bytes; None where nobody knows.
    page: whose size is wanted, from 0.
    min_libvips: least version of libvips, such as "8.18.3".
    untrusted: formats that are read although they are not trusted: keys of pipeline.formats.libvips.UNTRUSTED_LOADERS.
    """

    length: int | None
    page: int
    min_libvips: str
    untrusted: tuple[str, ...] = ()


class Read(NamedTuple):
    """The child wants bytes: at most `length` from `offset` on."""

    offset: int
    length: int


class Found(NamedTuple):
    """What the header says: see pipeline.formats.header.Header.

    Parameters
    ----------
    memory: bytes that tiling takes at most.
    work, work_before, frames: see pipeline.formats.budget.Work.
    """

    format: str
    width: int
    height: int
    pages: int
    memory: int
    work: int = 0
    work_before: int = 0
    frames: int = 0


class Failed(NamedTuple):
    """The file is none that can be tiled: a code of pipeline.errors and a sentence for a person."""

    code: str
    message: str


class Unknown(NamedTuple):
    """The header could not be read with the bytes that were to be had."""


Report = Read | Found | Failed | Unknown

JOBS = Codec[Job]("job", {"job": Job})

REPORTS = Codec[Report]("report", {"read": Read, "found": Found, "failed": Failed, "unknown": Unknown})
