"""How much of an archive is looked at, and how much it may unpack to. Pure functions."""

from __future__ import annotations

from pipeline.errors import StageError
from pipeline.texts import amount

MOST_DIRECTORY = 8 << 20
"""Most bytes of a ZIP archive's directory. Python needs about 20 times as much memory for it."""

MOST_FILES = 10_000
"""Most files whose first bytes are looked at: a tenth of a millisecond each."""

MOST_RATIO = 250
"""Most bytes that are unpacked for each byte of the archive. Deflate reaches 1,032, for nothing but zeros."""

FREE_BYTES = 256 << 20
"""Bytes that any archive may unpack to: a blank image of this size is 256 kB."""


def most_unpacked(archive_bytes: int) -> int:
    """Return the bytes that an archive may unpack to."""
    return max(FREE_BYTES, archive_bytes * MOST_RATIO)


def too_large(label: str, archive_bytes: int) -> StageError:
    """Return the error of an image that unpacks to more than `most_unpacked`.

    Parameters
    ----------
    label: see pipeline.formats.archives.member.Member.
    """
    return StageError(
        "image_too_large",
        f"{label} ({amount(archive_bytes)}) unpacks to more than {amount(most_unpacked(archive_bytes))}; above "
        f"{amount(FREE_BYTES)} the limit is {MOST_RATIO} bytes for each byte. Give the address of the image.",
    )
