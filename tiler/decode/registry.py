"""The list of readers, and the choice of one for a file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pipeline.formats import kinds
from tiler.decode.reader import Reader
from tiler.decode.readers.gif import GifReader
from tiler.decode.readers.heif import HeifReader
from tiler.decode.readers.jpeg import JpegReader
from tiler.decode.readers.png import PngReader
from tiler.decode.readers.raster import RasterReader
from tiler.decode.readers.svg import SvgReader
from tiler.decode.readers.tiff import StackReader
from tiler.decode.readers.webp import WebpReader

READERS: tuple[type[Reader], ...] = (
    *(JpegReader, StackReader, HeifReader, GifReader, PngReader, WebpReader, SvgReader),
    RasterReader,
)
"""The first reader whose KINDS contain the file's kind is used. Other files are read by libvips alone (`Reader`)."""


def reader_of(path: Path, page: int | None = 0, *, lenient: bool = False, channels: tuple[str, ...] = ()) -> Reader:
    """Return the reader for a stored source. A missing file or an unknown format fails later, in `Reader.open`.

    Parameters
    ----------
    page: from 0; None for the main picture.
    lenient: whether to ignore harmless warnings of the decoder.
    channels: the channels that are asked for, as pipeline.channel_choice.parse returns them.
    """
    head = b""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(kinds.HEAD)
    kind = kinds.kind_of(head)
    reader = next((reader for reader in READERS if kind in reader.KINDS), Reader)
    made = reader(path, page, kind=kind, lenient=lenient)
    made.channels = channels
    return made
