"""Looks at a source's header before the source is fetched: what it is, and whether it can be tiled at all.

Only what is certain refuses a source. A probe that fails for reasons of its own says nothing: the source is fetched,
and the tiler decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ingest.download import Fetch
from ingest.settings import IngestSettings
from ingest.sniff import SNIFF_LENGTH, Sniffer
from pipeline.errors import DATASET_CODES, StageError
from pipeline.formats import admission
from pipeline.formats.budget import require_affordable
from pipeline.formats.header import Header
from pipeline.formats.probe import Budget, Probe, probe
from pipeline.sandbox.parent import Child
from protos.tilewright.status.v1 import status_pb2 as pb

MOST_READS = 64
"""Ranges for one header. A pyramidal TIFF takes seven; of a TIFF of more pages than this nobody counts them yet."""

SHARE = 256
"""A header may take this part of its file, where that is more than the least: a TIFF's lists of tiles grow with it."""

MOST_BYTES = 64 << 20
"""Bytes that a header may take of the largest file."""

STEP = 16 << 10
"""Bytes waited for at once of the first answer: four seconds' worth of the slowest source that is not too slow."""

BROKEN = ("image_corrupt", "image_truncated")
"""Verdicts on bytes. They are only as good as the way that the bytes came by."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a source.

    Parameters
    ----------
    header: what its header says; None where that cannot be told yet.
    memory: bytes that tiling it takes at most; 0 where that cannot be told.
    refused: why it cannot be tiled; None where nothing speaks against it.
    fetched: bytes that looking took.
    """

    header: Header | None = None
    memory: int = 0
    refused: StageError | None = None
    fetched: int = 0


class Remote:
    """A source as a probe reads it: the beginning from the answer that is on its way, all else by ranges.

    Attributes
    ----------
    is_far: whether anything came by a further request.

    Parameters
    ----------
    fetch: opened.
    most: bytes of the beginning that are kept.
    """

    def __init__(self, fetch: Fetch, most: int) -> None:
        self.is_far = False
        self.length = fetch.remote_file.length
        self._fetch = fetch
        self._most = most

    def read(self, first: int, end: int) -> bytes | None:
        """As pipeline.formats.probe.parent.Readable. Raises Stopped."""
        near = self._fetch.is_near(first)
        if near:
            end = min(end, max(first + STEP, self._fetch.ahead))
        if (near and end > self._most) or not (near or self._fetch.remote_file.gives_parts):
            return None
        self.is_far = self.is_far or not near
        try:
            return self._fetch.read(first, end)
        except StageError as error:
            # Whether the download can do without is not for the probe to say.
            logger.info("%s: a part of the header could not be had: %s", self._fetch.remote_file.host, error.message)
            return None


def look(
    fetch: Fetch,
    *,
    settings: IngestSettings,
    page: int,
    folder: Path,
    on_start: Callable[[Child], None] = lambda _: None,
) -> Look:
    """Look at a source that has been opened.

    Parameters
    ----------
    page: that is to be tiled, from 0.
    folder: an existing one, in which the child's own is made.
    on_start: is given the child, so that another thread can kill it.

    Raises
    ------
    Stopped: the fetch was closed.
    """
    least = settings.header_max_bytes
    length = fetch.remote_file.length
    remote = Remote(fetch, least)
    try:
        _sniff(fetch.remote_file.host, remote.read(0, SNIFF_LENGTH))
    except StageError as error:
        return Look(refused=error, fetched=fetch.received)
    budget = Budget(min(max(least, (length or 0) // SHARE), MOST_BYTES), MOST_READS, settings.header_time_limit)
    try:
        with TemporaryDirectory(dir=folder, prefix="header-") as own:
            found = probe(
                remote,
                page=page,
                min_libvips=settings.min_libvips,
                untrusted=settings.untrusted_formats,
                budget=budget,
                folder=Path(own),
                on_start=on_start,
            )
    except OSError as error:
        # A full disk, or no process to be had: the download says what that means for it.
        logger.warning("the header could not be looked at: %s", error)
        return Look(fetched=fetch.received)
    limits = admission.Limits(
        settings.max_pixels,
        settings.max_pixels_per_byte,
        # Not this worker's own memory: the tiler's is another machine's, or another container's.
        settings.decode_memory_bytes or None,
    )
    return Look(found.header, found.memory, _verdict(found, remote, limits), fetch.received)


def is_small(fetch: Fetch, least: int) -> bool:
    """Tell whether a source is sooner fetched than looked at: shorter than `least`, or all here already."""
    length = fetch.remote_file.length
    if length is not None:
        return length < least
    try:
        return len(fetch.read(0, STEP)) < STEP
    except StageError:
        return True


def source_info(header: Header) -> pb.SourceInfo:
    """Give a header as the status has it."""
    return pb.SourceInfo(**header._asdict())


def _sniff(host: str, head: bytes | None) -> None:
    if head is None:
        return
    if not head:
        advice = DATASET_CODES["not_an_image"].advice
        raise StageError("not_an_image", f"{host} sent an empty file. {advice}")
    sniffer = Sniffer(host)
    sniffer.take(0, head)
    if len(head) < SNIFF_LENGTH:
        sniffer.finish()


def _verdict(found: Probe, remote: Remote, limits: admission.Limits) -> StageError | None:
    if found.header is not None:
        try:
            admission.admit(found.header, found.memory, remote.length, limits)
            require_affordable(found.header, found.work, remote.length, limits.pixels_per_byte)
        except StageError as error:
            return error
    if found.verdict is not None and found.verdict.code in BROKEN and remote.is_far:
        # A server that gives other bytes for a range than in the whole file must not decide on the file.
        return None
    return found.verdict
