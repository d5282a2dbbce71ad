"""Checksums of a pyramid's files: written with the pyramid, and compared by `tilewright verify`."""

from __future__ import annotations

import zlib
from pathlib import Path

PIECE = 1 << 20
"""Bytes to read at once."""


def crc32_of(path: Path) -> str:
    """Return the CRC-32 of a file as eight hex digits. Raises OSError."""
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            checksum = zlib.crc32(piece, checksum)
    return f"{checksum:08x}"
