"""Read headers without a decoder, for formats whose decoders need the whole file to read the header.

libvips maps the whole of a WebP or GIF, and follows all directories of a TIFF. This module refuses no file: if it
cannot read a header, it returns None. Sources: RFC 9649 (WebP), the GIF 89a specification, TIFF 6.0.
"""

from __future__ import annotations

import struct

from pipeline.formats import tiff
from pipeline.formats.header import UNKNOWN_PAGES, Header

_ANIMATED = 0x02


def read(kind: str, file: tiff.File, page: int = 0) -> Header | None:
    """Return the header of a file of the given kind (pipeline.formats.kinds); None if it cannot be read here.

    Parameters
    ----------
    page: of a TIFF, from 0. In the other formats all pages have the same size.
    """
    try:
        header = _read(kind, file, page)
    except (struct.error, StopIteration):
        return None
    return header if header is not None and header.width > 0 and header.height > 0 else None


def _read(kind: str, file: tiff.File, page: int) -> Header | None:
    match kind:
        case "webp":
            return _webp(file)
        case "gif":
            return _gif(file)
        case "tiff":
            return _tiff(file, page)
    return None


def _webp(file: tiff.File) -> Header | None:
    file.seek(12)
    chunk, _, data = struct.unpack("<4sI10s", file.read(18))
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (4, 7))
        return Header("webp", width, height, UNKNOWN_PAGES if data[0] & _ANIMATED else 1)
    if chunk == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[6:10])
        return Header("webp", width & 0x3FFF, height & 0x3FFF, 1)
    if chunk == b"VP8L" and data[0] == 0x2F:
        (bits,) = struct.unpack("<I", data[1:5])
        return Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1)
    return None


def _gif(file: tiff.File) -> Header:
    file.seek(6)
    width, height = struct.unpack("<HH", file.read(4))
    return Header("gif", width, height, UNKNOWN_PAGES)


def _tiff(file: tiff.File, page: int) -> Header:
    directory = tiff.find(file, page)
    if directory is None:
        raise StopIteration
    width, height = (directory.value(tag, 0) for tag in (tiff.Tag.WIDTH, tiff.Tag.HEIGHT))
    return Header("tiff", width, height, UNKNOWN_PAGES)
