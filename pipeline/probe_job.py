"""What the prober of headers and its parent say to each other: one JSON object a line, and bytes.

parent ─ a Job ─────────────▶ child
       ◀─ a Read ─────────── child     any number of times
       ─ COUNT, COUNT bytes ▶          or REFUSED
       ◀─ Found, Failed or Unknown ──  once
"""

from __future__ import annotations

import json
from typing import NamedTuple, get_type_hints

REFUSED = b"-\n"
"""The answer to a Read for which there are no bytes to be had; none is granted any more."""


class Job(NamedTuple):
    """One header to read.

    Parameters
    ----------
    length: of the file in bytes; None where nobody knows.
    page: whose size is wanted, from 0.
    min_libvips: least version of libvips, such as "8.18.3".
    untrusted: formats that are read although they are not trusted: keys of pipeline.libvips.UNTRUSTED_LOADERS.
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
    """What the header says: see pipeline.header.Header. `memory` is what tiling takes, in bytes, at most."""

    format: str
    width: int
    height: int
    pages: int
    memory: int


class Failed(NamedTuple):
    """The file is none that can be tiled: a code of pipeline.errors and a sentence for a person."""

    code: str
    message: str


class Unknown(NamedTuple):
    """The header could not be read with the bytes that were to be had."""


Report = Read | Found | Failed | Unknown

_KINDS: dict[str, type[Read] | type[Found] | type[Failed] | type[Unknown]] = {
    "read": Read,
    "found": Found,
    "failed": Failed,
    "unknown": Unknown,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode_job(job: Job) -> bytes:
    """One line of JSON."""
    return json.dumps(job._asdict()).encode() + b"\n"


def decode_job(line: bytes) -> Job:
    """The job of a line of encode_job."""
    return Job(**json.loads(line))


def encode_report(report: Report) -> bytes:
    """One line of JSON, its key the report's kind."""
    return json.dumps({_NAMES[type(report)]: report._asdict()}).encode() + b"\n"


def decode_report(line: bytes) -> Report:
    """The report of a line of encode_report.

    Raises
    ------
    ValueError: where the line is none: the child was cut off or is not what it should be.
    """
    try:
        ((kind, fields),) = json.loads(line).items()
        report = _KINDS[kind](**fields)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"not a report: {line[:200]!r}") from error
    types = get_type_hints(type(report)).values()
    if any(type(value) is not wanted for value, wanted in zip(report, types, strict=True)):
        raise ValueError(f"not a report: {line[:200]!r}")
    return report
