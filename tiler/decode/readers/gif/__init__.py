"""Read GIF: check that each frame has all its pixels, and make transparent what no frame covers."""

from tiler.decode.readers.gif.reader import GifReader

__all__ = ["GifReader"]
