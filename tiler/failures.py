"""Translate errors of libvips and the system into the project's error codes and messages for people."""

from __future__ import annotations

import errno
from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats import decoder_errors, kinds
from pipeline.formats.endings import ends_early

INTERNAL = (ImportError, PermissionError)
"""Errors of this installation or of our own code, whatever the source is like."""


def decoding_error(error: Exception, source: Path, page: int = 0) -> StageError:
    """Return the error to report when opening or decoding `source` failed.

    Parameters
    ----------
    error: from libvips (pyvips.Error, UnicodeDecodeError), Python (MemoryError) or the system (OSError). A StageError
        is returned as it is.
    source: the stored source. It is read again, to tell a truncated file from a damaged one.
    page: of the source.

    Returns
    -------
    The error to report; "image_corrupt" if there is no more precise code.

    Raises
    ------
    INTERNAL: an error of these kinds, as it is.
    """
    if isinstance(error, StageError):
        return error
    if isinstance(error, INTERNAL):
        raise error
    if isinstance(error, MemoryError):
        return StageError("out_of_memory", decoder_errors.MEMORY_FULL)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StageError("out_of_disk", decoder_errors.DISK_FULL)
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return StageError("out_of_disk", decoder_errors.FILE_FULL)
    try:
        with source.open("rb") as file:
            kind = kinds.kind_of(file.read(kinds.HEAD))
            size = source.stat().st_size
            return decoder_errors.decoder_error(
                decoder_errors.said_by(error), kind, lambda: ends_early(kind, file, size, page), str(source)
            )
    except FileNotFoundError:
        return StageError("source_missing", "The stored original is no longer there.")
