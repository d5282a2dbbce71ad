"""Steps shared by all child processes that decode a stored source, in the order that keeps them safe.

This module loads libvips. Import it when there is a job, and before the process is confined.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import pyvips

from pipeline.errors import StageError
from pipeline.formats import admission, budget, libvips
from pipeline.formats.decoder_errors import DAMAGED, not_salvaged, reason_of, said_by
from pipeline.formats.header import Header
from pipeline.pyramids import Format
from pipeline.sandbox import child
from pipeline.sandbox import confine as sandbox
from tiler.decode import ERRORS, Reader
from tiler.failures import INTERNAL, decoding_error
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
    # A cached operation keeps its source mapped: the source of the preview would count as memory a second time.
    pyvips.cache_set_max(0)
    libvips.block_loaders(pyvips, untrusted)
    sandbox.confine(allowance)
    child.watch_life_line()


def memory(reader: Reader, memory_bytes: int | None) -> int | None:
    """Return the address space, in bytes, for a job that may use `memory_bytes` to decode; None for no limit."""
    if memory_bytes is None or not reader.path.exists():
        return None
    return libvips.address_space(memory_bytes, reader.path.stat().st_size)


def header_seconds(reader: Reader) -> int:
    """Return the CPU seconds after which the opening of the source is stopped."""
    return budget.header_seconds(reader.path.stat().st_size if reader.path.exists() else 0)


def admit(
    reader: Reader,
    header: Header,
    tile_size: int,
    tile_format: str,
    limits: admission.Limits,
    times: int = 1,
    stored: int | None = None,
) -> None:
    """Admit or refuse the source by its header, and set the limit of CPU time for its work.

    Parameters
    ----------
    tile_format: of the tiles, a value of pipeline.pyramids.Format; empty to choose JPEG or PNG by the source.
    times: factor for the CPU time of one tiling. It is for all that the process does, also if it begins again to accept
        damage: the limit leaves twice to five times the time of one tiling.
    stored: bytes of the archive that the source was unpacked from; None if there is none. They limit its pixels.

    Raises
    ------
    StageError: if the source is refused.
    """
    size = reader.path.stat().st_size
    kept = size if stored is None else min(size, stored)
    admission.admit(header, reader.memory(tile_size), kept, limits)
    work = reader.work(tile_size)
    budget.require_affordable(header, work, kept, limits.pixels_per_byte)
    sandbox.allow_cpu(times * budget.seconds(work.pixels, size, Format(tile_format or Format.PNG)))
    reader.require_sound_layout()


def decode(
    reader: Reader, begin: Callable[[], None], work: Callable[[], T], *, accept_damage: bool = False
) -> T | Failed:
    """Decode the source. If the decoder fails on harmless warnings only, decode it again leniently.

    Parameters
    ----------
    begin: called before the source is decoded. Raises if the source is refused.
    work: decodes the source.
    accept_damage: whether to decode what can be decoded if the source is damaged. Both functions are then called again.

    Raises
    ------
    tiler.failures.INTERNAL: no fault of the source. The process ends without an outcome, which is an internal error.
    """
    outcome = _decode(reader, begin, work)
    if not accept_damage or not isinstance(outcome, Failed) or outcome.code not in DAMAGED:
        return outcome
    salvaged: T | Failed = Failed(outcome.code, not_salvaged(outcome.message))
    if _salvage(reader, outcome):
        salvaged = _decode(reader, begin, work)
        if isinstance(salvaged, Failed) and salvaged.code in DAMAGED:
            return Failed(salvaged.code, not_salvaged(salvaged.message))
    return salvaged


def _salvage(reader: Reader, failure: Failed) -> bool:
    """Return whether anything of a damaged source can be decoded; the reader then opens that."""
    try:
        return reader.salvage(reason_of(failure.message))
    except INTERNAL:
        raise
    except (*ERRORS, StageError, OSError, MemoryError, struct.error) as error:
        with suppress(OSError):
            sys.stderr.write(f"nothing is salvaged: {said_by(error)}\n")
        return False


def _decode(reader: Reader, begin: Callable[[], None], work: Callable[[], T]) -> T | Failed:
    try:
        begin()
        try:
            return work()
        except ERRORS as error:
            if not reader.overlook(error):
                raise
        # Try again outside of `except`: only here the error is gone, and with it the failed dzsave, which writes the
        # end of its archive when it is freed.
        return work()
    except StageError as error:
        return Failed(error.code, error.message)
    except INTERNAL:
        raise
    except (*ERRORS, OSError, MemoryError) as error:
        # No name for the cause: it would keep the failed dzsave alive, as above.
        failure = decoding_error(reader.cause(error), reader.path, reader.page)
        with suppress(OSError):
            sys.stderr.write(f"{failure.code}: {said_by(error)}\n")
        return Failed(failure.code, failure.message)
    except Exception as error:  # noqa: BLE001  a file that our own code does not expect fails in the same way next time
        with suppress(OSError):
            sys.stderr.write(f"decoder_crashed: {child.origin(error)}\n")
        return Failed("decoder_crashed", f"The decoder crashed on this file ({type(error).__name__}).")
