"""What libvips says of a picture that it cannot read, as the project's own codes and sentences for a person. Pure."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.errors import DATASET_CODES, StageError
from pipeline.formats.kinds import FOREIGN

UNKNOWN_FORMAT = ("is not a known file format", "is not in a known format")
"""libvips' words where none of the loaders that are allowed here takes a file, or another source."""

MEMORY_FULL = "The picture needs more memory to decode than there is."
CUT_SHORT = "The image file ends before the picture does. Upload it again at its source."
UNREADABLE = "The picture's samples or its compression cannot be read here. Save it as a plain TIFF, JPEG or PNG."
DISK_FULL = "The disk filled up while the tiles were made."
FILE_FULL = "The tiles grew larger than such a picture's may."

SAYINGS = (
    (("No space left on device", "Disk quota exceeded"), "out_of_disk", DISK_FULL),
    (("File too large",), "out_of_disk", FILE_FULL),
    (("Cannot allocate memory", "out of memory", "unable to allocate"), "out_of_memory", MEMORY_FULL),
    (
        (
            "samples out of range",
            "not a whole number of bytes",
            "bad labq format",
            "compression support is not configured",
            "decoding is not implemented",
            "compression format has not been built in",
            "Unsupported JPEG data precision",
            "Unsupported JPEG process",
            "tiled separate planes not supported",
        ),
        "unsupported_format",
        UNREADABLE,
    ),
    (
        ("Security limit exceeded",),
        "image_too_large",
        "The picture has more pixels, or more parts, than its decoder accepts.",
    ),
)
"""What is said, and the code and the sentence that it stands for."""


def said_by(error: Exception) -> str:
    """Give what libvips said. It may quote the file, and then pyvips raises what it cannot decode of it."""
    return error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)


def explain(text: str, kind: str, ends_early: Callable[[], bool], private: str = "") -> StageError:
    """Name why a picture could not be read.

    Parameters
    ----------
    text: all that libvips said.
    kind: of the file, by its first bytes: see pipeline.formats.kinds.
    ends_early: is asked whether the file ends before its picture does, where nothing else explains it.
    private: a line with this in it is not shown to anyone.

    Returns
    -------
    The error to report; "image_corrupt" where nothing more precise can be said.
    """
    for sayings, code, message in SAYINGS:
        if any(saying in text for saying in sayings):
            return StageError(code, message)
    if kind in {"text", "empty"}:
        what = "an empty file" if kind == "empty" else "a page or a text"
        return StageError(
            "not_an_image",
            f"The URL gave {what}, not an image. Give the image file's own address.",
        )
    if kind in {"svg", "other", *FOREIGN} or (kind == "heif" and any(saying in text for saying in UNKNOWN_FORMAT)):
        return _unsupported(kind)
    if ends_early() or "premature end of JPEG" in text:
        return StageError("image_truncated", CUT_SHORT)
    return damaged(_reason(text, private))


def damaged(how: str) -> StageError:
    """Name how an image file is damaged, and what to do."""
    return StageError("image_corrupt", f"The image file is damaged ({how}). {DATASET_CODES['image_corrupt'].advice}")


def _unsupported(kind: str) -> StageError:
    what = f"{FOREIGN.get(kind, 'The format of the file')} cannot be read here."
    if kind == "svg":
        what = "SVG is read only where the operator allows it (TILEWRIGHT_UNTRUSTED_FORMATS=svg)."
    return StageError("unsupported_format", f"{what} Convert it to JPEG, PNG, TIFF, WebP, GIF or HEIF/AVIF.")


def _reason(text: str, private: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # A line with our own path in it is of no use to the person and none of their business.
    reasons = [line for line in lines if not line.startswith("unable to ") and not (private and private in line)]
    return (reasons or ["its decoder gave no reason"])[0][:200]
