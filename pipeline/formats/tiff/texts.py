"""Read the description of a TIFF's page. Pure functions."""

from __future__ import annotations

from pipeline.formats.tiff.directory import Directory, Tag

_TEXTS = {1, 2, 7}
"""Types of bytes, text and undefined."""


def description_of(directory: Directory, most: int) -> bytes:
    """Return a page's description up to the first NUL; none if it is missing or has more than `most` bytes.

    Raises
    ------
    struct.error: if its offset is beyond any file.
    """
    entry = directory.entries.get(Tag.DESCRIPTION)
    if entry is None or entry.kind not in _TEXTS or entry.length > most:
        return b""
    return directory.beginning(entry, most).split(b"\0")[0]
