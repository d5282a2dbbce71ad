"""Start the child process that unpacks an archive, and check what it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import DATASET_CODES, StageError
from pipeline.formats import admission, libvips
from pipeline.formats.archives import NO_ARCHIVE
from pipeline.formats.probe import MOST_WORDS, VERDICTS
from pipeline.formats.side_files import MOST_AUX, NONE_BESIDE, SideFiles
from pipeline.formats.signatures import ARCHIVE_HEAD, archive_kind
from pipeline.sandbox import confine as sandbox
from pipeline.sandbox import parent
from pipeline.texts import is_unicode, sentence
from tiler.job import Failed
from tiler.unpack.protocol import JOBS, REPORTS, TARGET, Job, Report, Unpacked

COMMAND = parent.command("tiler.unpack.child")

FOLDER = "unpacked"
"""Folder of the image within the scratch folder."""

MOST_NAME = 1 << 16
"""Most bytes of a name in a ZIP archive."""

MOST_LABEL = 100

_ABOUT_IMAGES = VERDICTS | {"decoder_crashed", "out_of_memory"}


class Source(NamedTuple):
    """A file to decode.

    Parameters
    ----------
    path: of the stored source, or of the image that was unpacked.
    archive: "zip", "gzip" or "tiles" if it was unpacked; else empty.
    archive_bytes: of the archive that the image was unpacked from; None if there is none.
    member: name of the image in that archive; empty in a gzip file.
    label: names the image in messages, such as "earth.tif in the ZIP archive".
    beside: the small files beside the image in the archive.
    """

    path: Path
    archive: str = ""
    archive_bytes: int | None = None
    member: str = ""
    label: str = ""
    beside: SideFiles = NONE_BESIDE

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the image of an archive in the errors about it: the archive may have other files."""
        try:
            yield
        except StageError as error:
            if not self.archive or error.code not in _ABOUT_IMAGES:
                raise
            raise error.copy(f"{self.label}: {error.message}") from error


def unpacked(
    source: Path,
    scratch: Path,
    *,
    member: str,
    most: int,
    limits: admission.Limits,
    min_libvips: str,
    room: int | None = None,
    watch: Callable[[], None] = lambda: None,
    on_start: Callable[[parent.Child], None] = lambda _: None,
) -> Source:
    """Return a source, or the image in it if it is an archive or a file of IIIF tiles.

    Parameters
    ----------
    scratch: existing folder. The image is written to a folder in it.
    limits: of an image that is joined from tiles.
    member, most, room, min_libvips: see tiler.unpack.protocol.Job.
    watch: called repeatedly. If it raises, the child is ended and the error raised.
    on_start: called with the child, so that another thread can kill it.

    Raises
    ------
    StageError: if the archive has no such image, or cannot be unpacked.
    ValueError: if the child sends an invalid report.
    """
    with source.open("rb") as file:
        kind = archive_kind(file.read(ARCHIVE_HEAD))
    if kind in ("", "tiles") and member:
        raise StageError("member_not_found", NO_ARCHIVE)
    if not kind:
        return Source(source)
    folder = scratch / FOLDER
    folder.mkdir(exist_ok=True)
    outcome: Report | None = None
    pixels = (limits.pixels, limits.pixels_per_byte)
    job = JOBS.encode(Job(str(source), str(folder), member, most, room, *pixels, min_libvips))
    environment = sandbox.environment(folder, libvips.environment(1) if kind == "tiles" else {})
    with parent.Child(COMMAND, job, folder=folder, environment=environment, watch=watch) as child:
        on_start(child)
        for line in child.lines():
            outcome = REPORTS.decode(line)
    match outcome:
        case Unpacked() if child.exit_code == 0 and len(outcome.name) <= MOST_NAME and is_unicode(outcome.name):
            label = sentence(outcome.label, MOST_LABEL)
            texts = (outcome.world, outcome.projection, outcome.auxiliary)
            beside = SideFiles(*(text if len(text) <= MOST_AUX and is_unicode(text) else "" for text in texts))
            return Source(folder / TARGET, kind, source.stat().st_size, outcome.name, label, beside)
        case Failed() if outcome.code in DATASET_CODES and is_unicode(outcome.message):
            raise StageError(outcome.code, outcome.message[:MOST_WORDS])
        case None:
            raise child.death()
    raise ValueError(f"the unpacking child sent an impossible report: {str(outcome)[:200]}")
