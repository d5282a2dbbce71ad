"""JPEG: its scans are counted, and libjpeg's remarks told apart."""

from tiler.decode.readers.jpeg.reader import JpegReader

__all__ = ["JpegReader"]
