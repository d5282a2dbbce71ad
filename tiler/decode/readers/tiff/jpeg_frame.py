"""Decode a tile that is a JPEG with four samples, which libvips' reader of JPEG tiles does not support."""

from __future__ import annotations

import re
from typing import BinaryIO

import pyvips

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged

_START, _END = b"\xff\xd8", b"\xff\xd9"

_YCCK = re.compile(rb"\xff\xee\x00\x0eAdobe.{6}[^\x00]", re.DOTALL)
"""Adobe's segment, if it makes libjpeg convert the four samples. libtiff never converts them."""


class JpegFrame:
    """The interleaved samples of one tile, read as a whole.

    Parameters
    ----------
    file: the caller closes it.
    offset, length: of the JPEG in bytes.
    tables: value of Tag.JPEG_TABLES, a JPEG of tables only; may be empty.
    """

    def __init__(self, file: BinaryIO, offset: int, length: int, tables: bytes) -> None:
        self._file = file
        self._offset = offset
        self._length = length
        self._tables = tables

    def read(self, size: int) -> bytes:
        """Return the samples.

        Parameters
        ----------
        size: of all samples in bytes.

        Raises
        ------
        StageError: image_truncated, image_corrupt, unsupported_format.
        """
        try:
            self._file.seek(self._offset)
            data = self._file.read(self._length)
        except (OSError, OverflowError, ValueError):  # an offset beyond any file
            data = b""
        if len(data) < self._length:
            raise StageError("image_truncated", CUT_SHORT)
        if not data.startswith(_START):
            raise damaged("a tile is not a JPEG")
        whole = self._tables.removesuffix(_END) + data[len(_START) :] if self._tables else data
        if _YCCK.search(whole):
            raise StageError("unsupported_format", "The TIFF's tiles are YCCK JPEGs, which are not supported.")
        try:
            image = pyvips.Image.jpegload_buffer(whole, fail_on="warning")
            # libvips inverts four samples, as Adobe's programs store them.
            samples: bytes = image.invert().write_to_memory()
        except pyvips.Error as error:
            raise damaged(f"the JPEG of a tile cannot be decoded ({error.detail.strip()})") from error
        if len(samples) != size:
            raise damaged(f"the JPEG of a tile holds {len(samples):,} bytes, not {size:,}")
        return samples
