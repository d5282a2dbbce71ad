"""Verify the checksums of deflate in pages that libtiff decodes, since libtiff ignores them.

These are pages with subsampled colours, or with separate planes of samples of less than a byte: see
pipeline.formats.tiff.layout.is_recoded. For all other pages, `recoded` verifies the checksums as it decodes.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT
from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff.layout import DEFLATED, Compression, is_recoded, layout_of
from tiler.decode.readers.tiff.chunks import REVERSED
from tiler.decode.readers.tiff.frame import Frame

BLOCK = 4
"""Most pixels across or down that share a colour. A strip or tile is padded to a multiple of them."""


def require_checksums(directory: Directory, file: BinaryIO) -> None:
    """Inflate each strip or tile once, a piece at a time, if nothing else verifies the checksums of this page.

    Parameters
    ----------
    directory: of the page.
    file: the directory's own file, or the same file opened again.

    Raises
    ------
    StageError: image_corrupt, image_truncated.
    """
    try:
        layout = layout_of(directory)
        compression = directory.value(Tag.COMPRESSION, Compression.NONE)
        if layout is None or compression not in DEFLATED or is_recoded(directory):
            return
        offsets, lengths = directory.listed()
        reverse = directory.value(Tag.FILL_ORDER, 1) == REVERSED
    except struct.error as error:
        raise StageError("image_truncated", CUT_SHORT) from error
    most = (layout.columns + BLOCK) * (layout.rows + BLOCK) * layout.bits // 8 + 1
    for offset, length in zip(offsets, lengths, strict=False):
        if (offset, length) == (0, 0):  # it is left out on purpose
            continue
        Frame(file, offset, length, compression=compression, size=most, most=most, reverse=reverse).check()
