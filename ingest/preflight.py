"""Read a source's header before the download: what the source is, and whether it can be tiled at all.

A source is refused only if it certainly cannot be tiled. If the probe itself fails, the source is downloaded and the
tiler decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ingest.download import Fetch
from ingest.links import Tiling
from ingest.settings import IngestSettings
from ingest.sniff import SNIFF_LENGTH, Sniffer
from pipeline.errors import DATASET_CODES, StageError
from pipeline.formats import admission
from pipeline.formats.budget import require_affordable
from pipeline.formats.decoder_errors import DAMAGED
from pipeline.formats.header import NO_STACK, Header, StackHeader, decoding_memory, require_page
from pipeline.formats.probe import Budget, Probe, probe
from pipeline.sandbox.parent import Child
from pipeline.sources import check_url
from protos.tilewright.status.v1 import status_pb2 as pb

MOST_READS = 64
"""Maximum range requests for one header. A pyramidal TIFF needs seven. The pages of a TIFF with more pages than this
are not counted yet."""

SHARE = 256
"""Fraction (1/SHARE) of a large file that its header may take, because a TIFF's lists of tiles grow with the file."""

MOST_BYTES = 64 << 20
"""Maximum bytes for the header of any file."""

STEP = 16 << 10
"""Bytes to wait for at once in the first response: at the minimum accepted rate they take four seconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What a source's header shows.

    Parameters
    ----------
    header: the header; None if it could not be read yet.
    memory: upper bound on the memory for tiling, in bytes; 0 if unknown.
    refused: why the source cannot be tiled; None if no reason is known.
    fetched: bytes that were fetched for this.
    failed: the error that ended the first response early; None if there was none. Ranges may overcome it.
    page: the page that the header describes, from 0.
    stack: of that page.
    """

    header: Header | None = None
    memory: int = 0
    refused: StageError | None = None
    fetched: int = 0
    failed: StageError | None = None
    page: int = 0
    stack: StackHeader = NO_STACK


class Remote:
    """Reads a source for a probe: the beginning from the first response, everything else by range requests.

    Attributes
    ----------
    is_far: whether any bytes came from a range request.
    failed: the error that ended the first response early; None if there was none.

    Parameters
    ----------
    fetch: an opened download.
    most: maximum bytes of the beginning to keep.
    """

    def __init__(self, fetch: Fetch, most: int) -> None:
        self.is_far = False
        self.failed: StageError | None = None
        self.length = fetch.remote_file.length
        self._fetch = fetch
        self._most = most

    def read(self, first: int, end: int) -> bytes | None:
        """See pipeline.formats.probe.parent.Readable. Raises Stopped."""
        near = self._fetch.is_near(first)
        if near:
            end = min(end, max(first + STEP, self._fetch.ahead))
        if (near and end > self._most) or not (near or self._fetch.remote_file.gives_parts):
            return None
        self.is_far = self.is_far or not near
        try:
            return self._fetch.read(first, end)
        except StageError as error:
            # Not raised: the download may still succeed.
            logger.info("%s: could not fetch a part of the header: %s", self._fetch.remote_file.host, error.message)
            if near:
                self.failed = error
            return None


def read_header(
    fetch: Fetch,
    *,
    settings: IngestSettings,
    page: int | None,
    channels: Iterable[str] = (),
    member: str = "",
    accept_damage: bool = False,
    folder: Path,
    on_start: Callable[[Child], None] = lambda _: None,
) -> Look:
    """Read the header of an opened source.

    Parameters
    ----------
    page: the page to tile, from 0; None for the main picture.
    channels: the channels that are asked for, as pipeline.channel_choice.parse returns them.
    member: name of the image in a ZIP archive; empty if there is only one, or no archive.
    accept_damage: whether to leave it to the tiler what can be decoded of a damaged source.
    folder: an existing folder, in which the child process gets a folder of its own.
    on_start: called with the child, so that another thread can kill it.

    Raises
    ------
    Stopped: the fetch was cancelled.
    """
    least = settings.header_max_bytes
    length = fetch.remote_file.length
    opened = fetch.open()
    if isinstance(opened, Tiling):
        return _look_at_tiles(opened, settings, page)
    remote = Remote(fetch, least)
    head = remote.read(0, SNIFF_LENGTH)
    if remote.failed is not None:
        return Look(failed=remote.failed, fetched=fetch.received)
    try:
        _sniff(fetch.remote_file.host, fetch.remote_file.page_advice, head)
    except StageError as error:
        return Look(refused=error, fetched=fetch.received)
    budget = Budget(min(max(least, (length or 0) // SHARE), MOST_BYTES), MOST_READS, settings.header_time_limit)
    try:
        with TemporaryDirectory(dir=folder, prefix="header-") as own:
            found = probe(
                remote,
                page=page,
                channels=channels,
                member=member,
                min_libvips=settings.min_libvips,
                untrusted=settings.untrusted_formats,
                budget=budget,
                folder=Path(own),
                on_start=on_start,
            )
    except OSError as error:
        # The disk is full, or no process could be started. The download goes on, and raises an error if it has to.
        logger.warning("could not read the header: %s", error)
        return Look(fetched=fetch.received)
    limits = admission.Limits(
        settings.max_pixels,
        settings.max_pixels_per_byte,
        # Not this worker's memory, because the tiler may run on another machine or in another container.
        settings.decode_memory_bytes or None,
    )
    verdict = _verdict(found, remote, limits, accept_damage=accept_damage)
    return Look(found.header, found.memory, verdict, fetch.received, remote.failed, found.page, found.stack)


def is_small(fetch: Fetch, least: int) -> bool:
    """Return whether a source is too small for reading its header first: below `least` bytes, or already received.

    Also if its first bytes cannot be received: the download meets the same error and decides.
    """
    length = fetch.remote_file.length
    if isinstance(fetch.open(), Tiling):
        return False
    if length is not None:
        return length < least
    try:
        return len(fetch.read(0, STEP)) < STEP
    except StageError:
        return True


def source_info(header: Header) -> pb.SourceInfo:
    """Return a header as a message of the status service."""
    return pb.SourceInfo(**header._asdict())


def stack_info(stack: StackHeader) -> pb.Stack:
    """Return a stack as a message of the status service."""
    channels = enumerate(zip(stack.names, stack.colours, strict=True))
    return pb.Stack(
        channels=[pb.Channel(number=number, name=name, colour=colour) for number, (name, colour) in channels],
        channel_count=stack.channels,
        z_count=stack.z,
        t_count=stack.t,
        z_step=stack.z_step,
        t_step=stack.t_step,
        z_labels=stack.z_labels,
        t_labels=stack.t_labels,
    )


def rewritten(fetch: Fetch) -> pb.Rewritten | None:
    """Return what the source's link was rewritten to, as a message of the status service; None if it was not.

    Also None if it may not be requested, and so not be stored and shown: it is too long, or has a password.
    """
    link = fetch.remote_file.link
    if link is None:
        return None
    try:
        return pb.Rewritten(rule=link.rule, url=check_url(link.url).href, note=link.note)
    except StageError:
        return None


def _look_at_tiles(tiling: Tiling, settings: IngestSettings, page: int | None) -> Look:
    """Return what is known of an image that is joined from tiles: its size."""
    header = Header("jpeg", tiling.tiles.width, tiling.tiles.height, 1)
    # The tiler reads the joined image, which is stored row by row.
    memory = decoding_memory(header)
    limits = admission.Limits(settings.max_pixels, settings.max_pixels_per_byte, settings.decode_memory_bytes or None)
    try:
        require_page(header, page or 0)
        admission.admit(header, memory, None, limits)
    except StageError as error:
        return Look(header, memory, error)
    return Look(header, memory)


def _sniff(host: str, page_advice: str, head: bytes | None) -> None:
    if head is None:
        return
    if not head:
        advice = DATASET_CODES["not_an_image"].advice
        raise StageError("not_an_image", f"{host} sent an empty file. {advice}")
    sniffer = Sniffer(host, page_advice)
    sniffer.take(0, head)
    if len(head) < SNIFF_LENGTH:
        sniffer.finish()


def _verdict(found: Probe, remote: Remote, limits: admission.Limits, *, accept_damage: bool) -> StageError | None:
    if found.header is not None:
        try:
            admission.admit(found.header, found.memory, remote.length, limits)
            require_affordable(found.header, found.work, remote.length, limits.pixels_per_byte)
        except StageError as error:
            return error
    # Ranges of a faulty server may have other bytes than the whole file. Then the download has to decide.
    if found.verdict is not None and found.verdict.code in DAMAGED and (accept_damage or remote.is_far):
        return None
    return found.verdict
