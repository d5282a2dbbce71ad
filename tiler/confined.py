"""What the kinds of child that decode a stored source have in common: the order in which each is safe.

Loads libvips: to be imported once there is a job, and before the process is confined.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import pyvips

from pipeline.errors import StageError
from pipeline.formats import admission, budget, libvips
from pipeline.formats.header import Header
from pipeline.pyramids import Format
from pipeline.sandbox import child
from pipeline.sandbox import confine as sandbox
from tiler.decode import Reader
from tiler.failures import explain
from tiler.job import Failed

T = TypeVar("T")


def confine(reader: Reader, min_libvips: str, untrusted: Sequence[str], allowance: sandbox.Allowance) -> None:
    """Confine this process for good, before it opens the source.

    Raises
    ------
    As pipeline.formats.libvips.require and pipeline.sandbox.confine.confine.
    """
    reader.prepare()
    libvips.require(pyvips, min_libvips)
    # An operation kept for another time keeps its source mapped: what a preview was made of would count beside it.
    pyvips.cache_set_max(0)
    libvips.block_loaders(pyvips, untrusted)
    sandbox.confine(allowance)
    child.watch_life_line()


def memory(reader: Reader, memory_bytes: int | None) -> int | None:
    """Give the bytes of address space for a job that may decode with `memory_bytes`; None for no limit."""
    if memory_bytes is None or not reader.path.exists():
        return None
    return libvips.address_space(memory_bytes, reader.path.stat().st_size)


def header_seconds(reader: Reader) -> int:
    """Give the seconds of work after which opening the source is stopped."""
    return budget.header_seconds(reader.path.stat().st_size if reader.path.exists() else 0)


def admit(
    reader: Reader, header: Header, tile_size: int, tile_format: str, limits: admission.Limits, times: int = 1
) -> None:
    """Judge the source by its header, and allow as much work as it may take.

    Parameters
    ----------
    tile_format: of the tiles, a value of pipeline.pyramids.Format; empty where it is the picture's own, JPEG or PNG.
    times: that it is worked on.

    Raises
    ------
    StageError: where it is refused.
    """
    size = reader.path.stat().st_size
    admission.admit(header, reader.memory(tile_size), size, limits)
    work = reader.work(tile_size)
    budget.require_affordable(header, work, size, limits.pixels_per_byte)
    sandbox.allow_cpu(times * budget.seconds(work.pixels, size, Format(tile_format or Format.PNG)))
    reader.require_sound_layout()


def decode(reader: Reader, begin: Callable[[], None], work: Callable[[], T]) -> T | Failed:
    """Decode the source, once more where its decoder's only complaint is harmless.

    Parameters
    ----------
    begin: what comes before the source is decoded; raises what refuses it.
    work: decodes it.
    """
    try:
        begin()
        try:
            return work()
        except pyvips.Error as error:
            if not reader.overlook(error):
                raise
        # Only here is the error gone, and with it a failed dzsave, which writes its archive's end when it goes.
        return work()
    except StageError as error:
        return Failed(error.code, error.message)
    except (pyvips.Error, UnicodeDecodeError, OSError, MemoryError) as error:
        failure = explain(reader.cause(error), reader.path, reader.page)
        with suppress(OSError):
            sys.stderr.write(f"{failure.code}: {error}\n")
        return Failed(failure.code, failure.message)
