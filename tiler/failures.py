"""From what libvips or the system says to the project's own codes and sentences for a person."""

from __future__ import annotations

import errno
from pathlib import Path

from pipeline.errors import StageError
from tiler import sniff

UNKNOWN_FORMAT = "is not a known file format"
"""libvips' words where none of the loaders that are allowed here takes the file."""

_DISK_FULL = "The disk filled up while the tiles were made."
_MEMORY_FULL = "The picture needs more memory to decode than there is."

_SAYINGS = (
    (("No space left on device", "Disk quota exceeded"), "out_of_disk", _DISK_FULL),
    (("Cannot allocate memory", "out of memory", "unable to allocate"), "out_of_memory", _MEMORY_FULL),
    (
        (
            "samples out of range",
            "not a whole number of bytes",
            "bad labq format",
            "compression support is not configured",
            "compression format has not been built in",
            "Unsupported JPEG data precision",
            "Unsupported JPEG process",
        ),
        "unsupported_format",
        "The picture's samples or its compression cannot be read here. Save it as a plain TIFF, JPEG or PNG.",
    ),
    (("Security limit exceeded",), "image_too_large", "The picture has more pixels than its decoder accepts."),
)


def explain(error: Exception, source: Path, page: int = 0) -> StageError:
    """Name why opening or decoding `source` failed.

    Parameters
    ----------
    error: what libvips (pyvips.Error), Python (MemoryError) or the system (OSError) raised.
    source: the stored source, read again to tell a file cut short from a damaged one.
    page: of the source.

    Returns
    -------
    The error to report; "image_corrupt" where nothing more precise can be said.
    """
    if isinstance(error, MemoryError):
        return StageError("out_of_memory", _MEMORY_FULL)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StageError("out_of_disk", _DISK_FULL)
    text = str(error)
    for sayings, code, message in _SAYINGS:
        if any(saying in text for saying in sayings):
            return StageError(code, message)
    try:
        return _explain_content(text, source, page)
    except FileNotFoundError:
        return StageError("source_missing", "The stored original is no longer there.")


def _explain_content(text: str, source: Path, page: int) -> StageError:
    with source.open("rb") as file:
        kind = sniff.kind_of(file.read(sniff.HEAD))
    if kind in {"text", "empty"}:
        what = "an empty file" if kind == "empty" else "a page or a text"
        return StageError(
            "not_an_image",
            f"The URL gave {what}, not an image. Give the image file's own address.",
        )
    if kind in {"svg", "other"} or (kind == "heif" and UNKNOWN_FORMAT in text):
        return StageError(
            "unsupported_format",
            "The file's format cannot be read here. Convert it to JPEG, PNG, TIFF, WebP, GIF or HEIF/AVIF.",
        )
    if sniff.ends_early(source, page) or "premature end of JPEG" in text:
        return StageError(
            "image_truncated", "The image file ends before the picture does. Upload it again at its source."
        )
    return StageError("image_corrupt", f"The image file is damaged ({_reason(text, source)}).")


def _reason(text: str, source: Path) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # A line with our own path in it is of no use to the person and none of their business.
    reasons = [line for line in lines if not line.startswith("unable to ") and str(source) not in line]
    return (reasons or ["its decoder gave no reason"])[0][:200]
