"""Translate libvips' errors into the project's error codes and messages for people. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.errors import DATASET_CODES, StageError
from pipeline.formats.kinds import FOREIGN

UNKNOWN_FORMAT = ("is not a known file format", "is not in a known format")
"""libvips' messages if none of the allowed loaders accepts a file, or another source."""

MEMORY_FULL = "The image needs more memory to decode than there is."
OFFER = "To see what can be decoded of it, submit it with `damage` set to `accept`."
"""The last sentence of every message about damage, unless it is known that nothing can be decoded."""

DAMAGED = frozenset({"image_corrupt", "image_truncated"})
"""Codes of damage, which may be accepted."""

CUT_SHORT = f"The image file ends before the picture does. Upload it again at its source. {OFFER}"
UNREADABLE = "The image's samples or compression are not supported. Save it as a plain TIFF, JPEG or PNG."
DISK_FULL = "The disk filled up while the tiles were made."
FILE_FULL = "The tiles grew larger than the limit for such an image."

MANY_SCANS = "The JPEG inside the TIFF is progressive, in too many scans for its decoder. Save it as a baseline JPEG."
OTHER_LIMIT = "The image has more pixels, or more parts, than its decoder accepts. Save it as a tiled TIFF."
OTHER_FEATURE = "The file uses a feature that its decoder does not support. Save it as a plain TIFF, JPEG or PNG."
NO_HEIGHT = "The JPEG states its height behind its pixels (DNL), which is not supported. Save it again."

SAYINGS = (
    (("No space left on device", "Disk quota exceeded"), "out_of_disk", DISK_FULL),
    (("File too large",), "out_of_disk", FILE_FULL),
    (("Security limit", "exceeds security limit", "exceeds the security limit"), "image_too_large", OTHER_LIMIT),
    (
        (
            "Cannot allocate memory",
            "out of memory",
            "unable to allocate",
            "failed to allocate",
            "Could not allocate",
            "Cannot allocate",
            "Insufficient memory",
            "Memory allocation",
            "Memory limit exceeded",
            "No space for",
        ),
        "out_of_memory",
        MEMORY_FULL,
    ),
    (
        (
            "samples out of range",
            "not a whole number of bytes",
            "bad labq format",
            "unsupported tiff image type",
            "unsupported color type",
            "BitsPerSample =",
            "Bits/sample must be",
            "Samples/pixel shall be",
            "not allowed for JPEG",
            '"Predictor" not supported',
            '"Predictor" value',
            "WEBP driver",
            "TIFF WEBP requires",
            "compression support is not configured",
            "decoding is not implemented",
            "compression format has not been built in",
            "Unsupported JPEG data precision",
            "Unsupported JPEG process",
            "Unsupported color conversion",
            "Too many color components",
            "Sampling factors too large",
            "Fractional sampling not implemented",
            "sampling not implemented",
            "tiled separate planes not supported",
        ),
        "unsupported_format",
        UNREADABLE,
    ),
    (
        ("Unsupported codec", "Unsupported bit depth", "unimplemented decoder feature"),
        "unsupported_format",
        OTHER_FEATURE,
    ),
    (("DNL not supported",), "unsupported_format", NO_HEIGHT),
    (("exceeds maximum scans",), "decoder_too_slow", MANY_SCANS),
    (
        (
            "Image too wide for this implementation",
            "would require libjpeg to allocate",
            "exceeds user limit in IHDR",
            "Row has too many bytes",
            "width/height out of range",
            "tile size out of range",
            "Cannot handle more than",
        ),
        "image_too_large",
        OTHER_LIMIT,
    ),
)
"""Parts of the decoders' messages in any case, and the code and the message for people that they stand for.

tests/unit/test_decoder_errors.py checks that the libraries of this build still have them.
"""

_SAVE_AGAIN = DATASET_CODES["image_corrupt"].advice

_DAMAGE = re.compile(r"could not parse item property", re.IGNORECASE)
"""What libheif calls unsupported although a changed byte makes it: a property without a known name."""

_EDGE = re.compile(r"Maximum supported image dimension is (\d+) pixels")
"""libjpeg's message. An edge of a JPEG may have up to 65,535 pixels, but libjpeg decodes 65,500."""


def said_by(error: Exception) -> str:
    """Return libvips' message. If it quotes bytes of the file, pyvips may raise a UnicodeDecodeError instead."""
    return error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)


def decoder_error(text: str, kind: str, ends_early: Callable[[], bool], private: str = "") -> StageError:
    """Return the error to report when an image could not be read.

    Parameters
    ----------
    text: libvips' messages.
    kind: of the file, by its first bytes: see pipeline.formats.kinds.
    ends_early: returns whether the file ends before its image does. Called if nothing else explains the error.
    private: lines that contain this text are not shown to anyone.

    Returns
    -------
    The error to report; "image_corrupt" if there is no more precise code.
    """
    if edge := _EDGE.search(text):
        most = f"{int(edge[1]):,}"
        return StageError(
            "image_too_large",
            f"The JPEG is wider or higher than the {most} pixels that its decoder accepts. Save it as TIFF or PNG.",
        )
    lower = text.lower()
    for sayings, code, message in SAYINGS:
        if code == "unsupported_format" and _DAMAGE.search(text):
            continue
        if any(saying.lower() in lower for saying in sayings):
            return StageError(code, message)
    if kind in {"text", "empty"}:
        what = "an empty file" if kind == "empty" else "a web page or a text"
        return StageError(
            "not_an_image",
            f"The URL returned {what}, not an image. Use the image file's own address.",
        )
    if kind in {"svg", "other", *FOREIGN} or (kind == "heif" and any(saying in text for saying in UNKNOWN_FORMAT)):
        return _unsupported(kind)
    if ends_early() or "premature end of JPEG" in text:
        return StageError("image_truncated", CUT_SHORT)
    return damaged(_reason(text, private))


def damaged(how: str) -> StageError:
    """Return an error that says how an image file is damaged, and what to do."""
    return StageError("image_corrupt", f"The image file is damaged ({how}). {_SAVE_AGAIN} {OFFER}")


def reason_of(message: str) -> str:
    """Return the sentence that says what is wrong, of a message of `damaged` or CUT_SHORT."""
    for advice in (f" {OFFER}", f" {_SAVE_AGAIN}", " Upload it again at its source."):
        message = message.removesuffix(advice)
    return message


def not_salvaged(message: str) -> str:
    """Return a message about damage for a person who would have accepted it."""
    return f"{message.removesuffix(OFFER).rstrip()} Nothing of it can be decoded."


def _unsupported(kind: str) -> StageError:
    what = f"{FOREIGN.get(kind, 'The format of the file')} is not supported."
    if kind == "svg":
        what = "SVG is supported only if the operator allows it (TILEWRIGHT_UNTRUSTED_FORMATS=svg)."
    return StageError("unsupported_format", f"{what} Convert it to JPEG, PNG, TIFF, WebP, GIF or HEIF/AVIF.")


def _reason(text: str, private: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Leave out lines with a path of this machine: they do not help the user, and must not be published.
    reasons = [line for line in lines if not line.startswith("unable to ") and not (private and private in line)]
    return (reasons or ["its decoder gave no reason"])[0][:200]
