"""Read JPEG: limit its scans, and tell libjpeg's harmless warnings from signs of damage."""

from tiler.decode.readers.jpeg.reader import JpegReader

__all__ = ["JpegReader"]
