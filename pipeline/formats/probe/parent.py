"""Start a child process that reads the header of a remote file, and serve it the ranges that it requests.

The child cannot open files or connections: the bytes are fetched here, within a budget. The child's reports are not
trusted, since malicious bytes may have compromised it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.channel_choice import COLOUR, MOST_TEXT
from pipeline.errors import StageError
from pipeline.formats import libvips
from pipeline.formats.budget import Work
from pipeline.formats.header import MOST_CHANNELS, NO_STACK, Header, StackHeader
from pipeline.formats.probe.protocol import JOBS, REFUSED, REPORTS, Failed, Found, Job, Read, Report, Unknown
from pipeline.sandbox import confine as sandbox
from pipeline.sandbox import parent
from pipeline.source_formats import IMAGES
from pipeline.texts import is_unicode

COMMAND = parent.command("pipeline.formats.probe.child")

VERDICTS = frozenset(
    {
        "channel_not_found",
        "decoder_too_slow",
        "image_corrupt",
        "image_too_large",
        "image_truncated",
        "member_not_found",
        "not_an_image",
        "page_not_found",
        "unsupported_format",
    }
)
"""Error codes about the file. Any other code is a failure of the probe itself, and ignored."""

FORMATS = frozenset({"svg", *IMAGES})

MOST_NUMBER = (1 << 31) - 1
"""Most pixels of an edge, and most pages: the largest number that the status can hold."""

MOST_OFFSET = 1 << 62
"""Largest offset that may be read: no file is longer, and no server should receive a number of a thousand digits."""

MOST_WORDS = 500
"""Most characters of a message for people."""

GRACE = 5.0
"""Seconds that the child gets in addition to its budget, to start and to end."""

logger = logging.getLogger(__name__)


class Readable(Protocol):
    """A remote file."""

    @property
    def length(self) -> int | None:
        """Bytes of the file; None if unknown."""

    def read(self, first: int, end: int) -> bytes | None:
        """Return bytes from `first` to before `end`, or fewer, but at least one unless the file ends.

        None if the request is refused.
        """


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits for reading one header.

    Parameters
    ----------
    bytes: most bytes to read from the file.
    reads: most requests.
    seconds: most time in total.
    """

    bytes: int
    reads: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of a probe. It has neither header nor verdict if more of the file would be needed to tell.

    Parameters
    ----------
    header: of the file.
    memory: most bytes of memory to tile the file, estimated from the header.
    work: the work to tile the file, estimated from the header.
    verdict: why the file cannot be tiled; a retry would not help.
    page: the page that the header describes, from 0.
    stack: of that page.
    """

    header: Header | None = None
    memory: int = 0
    work: Work = field(default=Work(0), compare=False)
    verdict: StageError | None = None
    page: int = 0
    stack: StackHeader = NO_STACK


def probe(
    source: Readable,
    *,
    page: int | None,
    member: str = "",
    min_libvips: str,
    budget: Budget,
    folder: Path,
    untrusted: Iterable[str] = (),
    channels: Iterable[str] = (),
    on_start: Callable[[parent.Child], None] = lambda _: None,
    command: tuple[str, ...] = COMMAND,
) -> Probe:
    """Read the header of a file.

    Parameters
    ----------
    source: the file.
    page: the page to report, from 0; None for the main picture.
    member: name of the image in a ZIP archive; empty if there is only one, or no archive.
    min_libvips: least version of libvips, such as "8.18.3".
    folder: an existing folder for the child's log.
    untrusted: untrusted formats that are allowed: keys of pipeline.formats.libvips.UNTRUSTED_LOADERS.
    channels: the channels that are asked for, as pipeline.channel_choice.parse returns them.
    on_start: called with the child, so that another thread can kill it.

    Raises
    ------
    Whatever `source.read` raises. If the child fails, the failure is logged and an empty Probe returned.
    """
    server = _Server(source, budget)
    outcome: Report = Unknown()
    job = JOBS.encode(Job(source.length, page, min_libvips, tuple(untrusted), tuple(channels), member))
    environment = sandbox.environment(folder, libvips.environment(threads=1))
    with parent.Child(command, job, folder=folder, environment=environment) as child:
        on_start(child)
        # The child may hang, send nothing, or not read the bytes that it requested.
        watchdog = threading.Timer(budget.seconds + GRACE, child.kill)
        watchdog.start()
        try:
            for report in _reports(child):
                outcome = report
                if isinstance(report, Read):
                    child.send(server.answer(report))
        finally:
            watchdog.cancel()
            watchdog.join()
    if child.exit_code != 0 or isinstance(outcome, Read):
        logger.warning("the probe child ended with %d: %s", child.exit_code, child.last_words)
        return Probe()
    return _judge(outcome)


class _Server:
    """Serves bytes of a source until the budget is used up."""

    def __init__(self, source: Readable, budget: Budget) -> None:
        self._source = source
        self._bytes = budget.bytes
        self._reads = budget.reads
        self._ends_at = time.monotonic() + budget.seconds

    def answer(self, asked: Read) -> bytes:
        size = min(asked.length, self._bytes)
        if not 0 <= asked.offset < MOST_OFFSET or size <= 0 or self._reads <= 0 or time.monotonic() >= self._ends_at:
            return REFUSED
        data = self._source.read(asked.offset, asked.offset + size)
        if data is None:
            self._reads = 0
            return REFUSED
        self._reads -= 1
        self._bytes -= len(data)
        return b"%d\n%b" % (len(data), data)


def _reports(child: parent.Child) -> Iterator[Report]:
    try:
        for line in child.lines():
            yield REPORTS.decode(line)
    except ValueError:
        logger.warning("the probe child sent an invalid report", exc_info=True)
        child.kill()


def _judge(outcome: Report) -> Probe:
    match outcome:
        case Found() if is_plausible(header := Header(*outcome[:4])) and 0 <= outcome.memory < 1 << 63:
            work, stack = Work(*map(abs, outcome[5:8])), StackHeader(*outcome[9:])
            stack = stack if _is_plausible_stack(stack) else NO_STACK
            return Probe(header, outcome.memory, work, page=min(abs(outcome.page), MOST_NUMBER), stack=stack)
        case Failed() if outcome.code in VERDICTS and is_unicode(outcome.message):
            return Probe(verdict=StageError(outcome.code, outcome.message[:MOST_WORDS]))
        case Unknown():
            return Probe()
    logger.warning("ignored an implausible probe result: %r", outcome)
    return Probe()


def is_plausible(header: Header) -> bool:
    """Return whether a child's header is plausible: a known format, and numbers that the status can hold."""
    edges = all(0 < edge <= MOST_NUMBER for edge in (header.width, header.height))
    return header.format in FORMATS and edges and 0 <= header.pages <= MOST_NUMBER


def _is_plausible_stack(stack: StackHeader) -> bool:
    texts = (*stack.names, stack.z_step, stack.t_step, *stack.z_labels, *stack.t_labels)
    return (
        len(stack.names) == len(stack.colours) == min(stack.channels, MOST_CHANNELS)
        and max(len(stack.z_labels), len(stack.t_labels)) <= MOST_CHANNELS
        and all(0 <= count <= MOST_NUMBER for count in (stack.channels, stack.z, stack.t))
        and all(len(text) <= MOST_TEXT and is_unicode(text) for text in texts)
        and all(COLOUR.fullmatch(colour) for colour in stack.colours if colour)
    )
