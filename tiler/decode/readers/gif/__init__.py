"""GIF: its frames are held to their sizes, and what none of them covers is transparent."""

from tiler.decode.readers.gif.reader import GifReader

__all__ = ["GifReader"]
