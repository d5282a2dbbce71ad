"""Which reader reads which kind of file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pipeline.formats import kinds
from tiler.decode.reader import Reader
from tiler.decode.readers.gif import GifReader
from tiler.decode.readers.heif import HeifReader
from tiler.decode.readers.jpeg import JpegReader
from tiler.decode.readers.svg import SvgReader
from tiler.decode.readers.tiff import TiffReader
from tiler.decode.readers.webp import WebpReader

READERS: tuple[type[Reader], ...] = (JpegReader, TiffReader, HeifReader, GifReader, WebpReader, SvgReader)
"""The first whose KINDS has the file's kind reads it; libvips by itself reads all others."""


def reader_of(path: Path, page: int = 0, *, lenient: bool = False) -> Reader:
    """Give the reader of a stored source. A file that is not there, or not known, fails when it is opened.

    Parameters
    ----------
    page: from 0.
    lenient: whether a harmless remark of its decoder is overlooked.
    """
    head = b""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(kinds.HEAD)
    kind = kinds.kind_of(head)
    reader = next((reader for reader in READERS if kind in reader.KINDS), Reader)
    return reader(path, page, kind=kind, lenient=lenient)
