"""The process that reads the header of one untrusted file: `python -I -m pipeline.formats.probe.child`.

It can open no file and no connection. It requests the bytes it needs from its parent: see
pipeline.formats.probe.protocol.
"""

from __future__ import annotations

import struct
import sys
from contextlib import suppress
from typing import Any

from pipeline.channel_choice import MOST
from pipeline.errors import StageError
from pipeline.formats import budget, decoder_errors, frames, header_bytes, kinds, libvips, rasters, tiff
from pipeline.formats.archives import NO_ARCHIVE, Withheld
from pipeline.formats.endings import ends_early
from pipeline.formats.header import (
    BASE_MEMORY,
    UNKNOWN_PAGES,
    Header,
    decoding_memory,
    header_of,
    memory_of,
    page_of_decoder,
    pixel_bytes,
    require_page,
)
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.packed import Packed
from pipeline.formats.probe.protocol import JOBS, REFUSED, REPORTS, Failed, Found, Job, Read, Unknown
from pipeline.formats.signatures import archive_kind
from pipeline.formats.tiff.checks import require_readable
from pipeline.formats.tiff.heavy import patched, patches
from pipeline.formats.tiff.layout import held_bytes
from pipeline.formats.tiff.raw_photographs import require_developed
from pipeline.formats.tiff.stack import Stack, asked_for, joined_images, pages_of, stack_of
from pipeline.formats.tiff.stack import header_of as stack_header
from pipeline.pyramids import DEFAULT_TILE_SIZE
from pipeline.sandbox import child
from pipeline.sandbox import confine as sandbox

MEMORY = 1 << 30
"""Bytes of address space: libvips with its libraries takes 95 MB, and a header at most the bytes read for it."""

CPU = 20
"""Most CPU seconds; a header takes a few milliseconds."""

LOG_BYTES = 1 << 20
"""Most bytes of a file that is written: the log is the only one."""

CANVAS_BYTES = 8
"""Bytes for each pixel of an animated WebP, which is opened with two canvases."""

MAPPED = {"webp", "gif"}
"""Kinds for which libvips needs the whole file."""

MAPPED_MOST = 1 << 20
"""Most bytes of such a file that is read as a whole."""


def main() -> None:
    """Read one header and end the process. The exit code is 0 if an outcome was reported, even a failure."""
    job = JOBS.decode(child.first_line())
    child.say(REPORTS.encode(_outcome(job)))
    child.end()


def _outcome(job: Job) -> Found | Failed | Unknown:
    # Load what is needed when there is a job, and before the process is confined.
    import pyvips  # noqa: PLC0415

    libvips.require(pyvips, job.min_libvips)
    libvips.block_loaders(pyvips, job.untrusted)
    sandbox.confine(sandbox.Allowance(memory=MEMORY, cpu=CPU, file=LOG_BYTES))
    child.watch_life_line()
    try:
        return find_header(pyvips, Blocks(_ask, job.length), job.page, job.channels, job.member)
    except Exception as error:
        sys.stderr.write(f"{child.origin(error)}\n")
        raise SystemExit(1) from error


def _ask(offset: int, length: int) -> bytes | None:
    child.say(REPORTS.encode(Read(offset, length)))
    answer = child.receive_line()
    return None if answer == REFUSED else child.receive(int(answer))


def find_header(
    pyvips: Any, blocks: Blocks, page: int | None, channels: tuple[str, ...] = (), member: str = ""
) -> Found | Failed | Unknown:
    """Read the header of a file, or of the image in an archive.

    Parameters
    ----------
    pyvips: the module.
    blocks: the file's bytes.
    page: the page to report, from 0; None for the main picture.
    channels: the channels that are asked for, as pipeline.channel_choice.parse returns them.
    member: name of the image in a ZIP archive; empty if there is only one, or no archive.
    """
    head = blocks.read(kinds.HEAD)
    if archive_kind(head):
        return _of_packed(pyvips, blocks, page, channels, member)
    return Failed("member_not_found", NO_ARCHIVE) if member else _of_image(pyvips, blocks, head, page, channels)


def _of_packed(
    pyvips: Any, blocks: Blocks, page: int | None, channels: tuple[str, ...], member: str
) -> Found | Failed | Unknown:
    """As find_header, for an archive."""
    try:
        packed = Packed(blocks, member)
    except Withheld:
        return Unknown()
    except StageError as error:
        return Failed(error.code, error.message)
    image = packed.blocks
    outcome = _of_image(pyvips, image, image.read(kinds.HEAD), page, channels)
    if packed.failed is not None:
        return Failed(packed.failed.code, packed.failed.message)
    if isinstance(outcome, Failed):
        return Failed(outcome.code, f"{packed.label}: {outcome.message}")
    return outcome


def _of_image(
    pyvips: Any, blocks: Blocks, head: bytes, page: int | None, channels: tuple[str, ...]
) -> Found | Failed | Unknown:
    """As find_header, for an image that begins with `head`."""
    kind = kinds.kind_of(head)
    try:
        if kind in rasters.KINDS:
            return _by_layout(kind, blocks, page or 0)
        if kind != "tiff":
            return _of_page(pyvips, blocks, kind, page or 0)
        if page is not None:
            at = 0 if page and _joined_images(blocks, page) > 1 else page
            return _counted(
                _with_stack(_of_page(pyvips, blocks, kind, at), blocks, at, channels, is_main=False), blocks
            )
        main = _main_page(blocks)
        if blocks.exhausted:
            return _by_largest(main) if main else Unknown()
        found = _of_page(pyvips, blocks, kind, main.page if main else 0)
        return _counted(_with_stack(found, blocks, main.page if main else 0, channels, is_main=True), blocks)
    except StageError as error:
        return Failed(error.code, error.message)


def _with_stack(
    found: Found | Failed | Unknown, blocks: Blocks, page: int, channels: tuple[str, ...], *, is_main: bool
) -> Found | Failed | Unknown:
    """Add what a TIFF says about the channels of a page; raises StageError if one that is asked for does not exist.

    Parameters
    ----------
    is_main: whether the page was chosen, so that its channels are composed without being asked for.
    """
    if not isinstance(found, Found):
        return found
    stack, directory = _stack_of(blocks, page)
    # A file of which too little was received may say more than what is known here.
    if directory is None or blocks.exhausted:
        return found
    count = 1
    with suppress(struct.error):
        if channels:
            shown, numbers = asked_for(stack, directory, channels)
            count = pages_of(shown, len(numbers))
        elif is_main and stack is not None:
            count = pages_of(stack, min(MOST, len(stack.channels)))
    found = found._replace(memory=BASE_MEMORY + count * (found.memory - BASE_MEMORY), work=count * found.work)
    return found if stack is None else Found(*found[:9], *stack_header(stack))


def _stack_of(blocks: Blocks, page: int) -> tuple[Stack | None, tiff.Directory | None]:
    """Return the stack that a page belongs to, and the page's directory; None if it cannot be read."""
    if blocks.exhausted:
        return None, None
    with suppress(struct.error):
        place = tiff.page_at(blocks, page)
        if place is not None and place.sub is None:
            directory = place.read(blocks)
            return stack_of(blocks, place.number, directory), directory
    return None, None


def _counted(found: Found | Failed | Unknown, blocks: Blocks) -> Found | Failed | Unknown:
    """Count the images of a stack for which one directory stands as pages."""
    images = _joined_images(blocks, 0) if isinstance(found, Found) else 1
    return found._replace(pages=images) if isinstance(found, Found) and images > 1 else found


def _joined_images(blocks: Blocks, page: int) -> int:
    """As tiff.stack.joined_images; 1 if it cannot be read."""
    with suppress(struct.error):
        return joined_images(blocks, page)
    return 1


def _main_page(blocks: Blocks) -> tiff.Main | None:
    """As tiff.main_page, as far as the file can be read; raises StageError if it is damaged."""
    try:
        return tiff.main_page(blocks)
    except struct.error as error:
        if blocks.exhausted:
            return None
        raise decoder_errors.damaged("its directories cannot be read as a whole") from error


def _of_page(pyvips: Any, blocks: Blocks, kind: str, page: int) -> Found | Failed | Unknown:
    """As find_header, for a page; raises StageError."""
    is_judged = _require_readable(kind, blocks, page)
    if kind in MAPPED and (blocks.length is None or blocks.length > MAPPED_MOST):
        return _by_bytes(kind, blocks, page)
    try:
        if canvas := _beyond_memory(kind, blocks):
            return _by_frames(canvas, blocks, page)
        found = _by_decoder(pyvips, blocks, kind, page)
        if not is_judged and not blocks.exhausted:
            raise decoder_errors.damaged("its directory cannot be read as a whole")
        return found
    except (pyvips.Error, UnicodeDecodeError) as error:
        said = decoder_errors.said_by(error)
        sys.stderr.write(f"{said}\n")
        if blocks.exhausted:
            return _by_bytes(kind, blocks, page)
        failure = decoder_errors.decoder_error(said, kind, lambda: _ends_early(kind, blocks, page), "source_custom")
        return Failed(failure.code, failure.message)


def _by_layout(kind: str, blocks: Blocks, page: int) -> Found | Unknown:
    """Read the header of a file of plain rows; raises StageError."""
    try:
        raster = rasters.parse(kind, blocks)
    except StageError:
        if blocks.exhausted:
            return Unknown()
        raise
    rasters.require_shown(raster, page)
    if blocks.length is not None:
        rasters.require_whole(raster, blocks.length)
    work = budget.work_of(raster.header, None, page, pixel_bytes=raster.shown_bytes)
    return Found(*raster.header, raster.memory(DEFAULT_TILE_SIZE), *work)


def _require_readable(kind: str, blocks: Blocks, page: int) -> bool:
    """Raise StageError for a file that libvips would open, but paint black or replace by its small preview.

    Returns
    -------
    False if a TIFF's directory could not be read, so that it remains unchecked.
    """
    require_developed(kind, blocks)
    if blocks.length is not None and blocks.length <= MAPPED_MOST:
        budget.require_few_frames(kind, blocks)
    if kind != "tiff":
        return True
    try:
        directory = tiff.find(blocks, page)
        if directory:
            require_readable(directory)
    except struct.error:
        return False
    return directory is not None


def _ends_early(kind: str, blocks: Blocks, page: int) -> bool:
    if blocks.length is None:
        return blocks.overrun
    # The error lies in the bytes received so far. Requesting more of a broken file is not worth the cost.
    blocks.seal()
    return ends_early(kind, blocks, blocks.length, page) and not blocks.exhausted


def _by_decoder(pyvips: Any, blocks: Blocks, kind: str, page: int) -> Found:
    surplus = tiff.surplus_of(blocks) if kind == "tiff" else 0
    image = _open(pyvips, blocks, kind, 0, **(_options(blocks, 0) if kind == "tiff" else {}))
    header = header_of(image)
    header = header._replace(pages=max(1, header.pages - surplus))
    if blocks.exhausted:
        # libvips may have counted only the pages within the bytes it could read.
        header = header._replace(pages=UNKNOWN_PAGES)
    require_page(header, page)
    if page:
        options = _options(blocks, page) if kind == "tiff" else {"page": page_of_decoder(image, page)}
        image = _open(pyvips, blocks, kind, page, **options)
        header = header_of(image)._replace(pages=header.pages)
    memory = memory_of(image, header, held=_held(blocks, page) if header.format == "tiff" else 0)
    return Found(*header, memory, *budget.work_of(header, blocks, page, pixel_bytes=pixel_bytes(image)), page)


def _options(blocks: Blocks, page: int) -> dict[str, int]:
    """Return the options with which libvips opens a page of a TIFF: it counts them otherwise."""
    with suppress(struct.error):
        if place := tiff.page_at(blocks, page):
            return {"page": place.number} | ({} if place.sub is None else {"subifd": place.sub})
    return {"page": page}


def _held(blocks: Blocks, page: int) -> int:
    """Estimate the memory for a TIFF's strips or tiles; a little more if the length of the file is unknown."""
    try:
        return held_bytes(blocks, sys.maxsize if blocks.length is None else blocks.length, page)
    except struct.error:
        return 0


def _open(pyvips: Any, blocks: Blocks, kind: str, shown: int, **options: int) -> Any:
    """Open a file with libvips.

    Parameters
    ----------
    shown: the page, from 0.
    options: of libvips' loader, whose pages are numbered otherwise.
    """
    changes = patches(blocks, shown) if kind == "tiff" else []
    blocks.seek(0)
    source = pyvips.SourceCustom()

    def read(size: int) -> bytes:
        try:
            position = blocks.tell()
            return patched(blocks.read(size), position, changes)
        except MemoryError:
            # pyvips prints an error of a callback and drops it, and the file would seem to end here.
            blocks.exhausted = True
            return b""

    source.on_read(read)
    if blocks.length is not None:
        # Without a length it cannot seek from the end, so libvips has to treat it as a pipe.
        source.on_seek(blocks.seek)
    if kind == "tiff":
        # The tables of a large TIFF alone may exceed libtiff's limit of 50 MB. The process has its own memory limit.
        options["unlimited"] = True
    return pyvips.Image.new_from_source(source, "", access="sequential", **options)


def _beyond_memory(kind: str, blocks: Blocks) -> Header | None:
    """Return the header of an animated WebP if its decoder would need more memory to open it than this process has."""
    header: Header | None = header_bytes.read(kind, blocks) if kind == "webp" else None
    if header and header.pages == UNKNOWN_PAGES and header.pixels * CANVAS_BYTES > MEMORY // 2:
        return header
    return None


def _by_frames(header: Header, blocks: Blocks, page: int) -> Found:
    """Count the frames of a file that is read as a whole."""
    header = header._replace(pages=max(1, sum(1 for _ in frames.of_webp(blocks))))
    require_page(header, page)
    return Found(*header, decoding_memory(header), *budget.work_of(header, blocks, page), page)


def _by_bytes(kind: str, blocks: Blocks, page: int) -> Found | Unknown:
    header: Header | None = header_bytes.read(kind, blocks, page)
    # The frames lie too far apart in the file to be counted.
    if header is None:
        return Unknown()
    return Found(*header, decoding_memory(header), *budget.work_of(header, None, page), page)


def _by_largest(main: tiff.Main) -> Found | Unknown:
    """Report the largest of the pages that could be read. The main picture is this one, or has more pixels.

    Nothing else is judged, since it may be another page.
    """
    if min(main.width, main.height) <= 0:
        return Unknown()
    header = Header("tiff", main.width, main.height, UNKNOWN_PAGES)
    return Found(*header, decoding_memory(header), *budget.work_of(header, None, main.page), main.page)


if __name__ == "__main__":
    main()
