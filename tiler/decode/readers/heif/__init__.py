"""HEIC and AVIF: each coded picture is decoded by itself first, since libheif shows black where it fails.

`sound` judges a page, by `items` and `boxes` (the file's structure), `pages` (libheif's count of them), `hevc` and
`av1` (the codecs); `heic` gives the pixels of a HEIC, libvips those of an AVIF.
"""

from tiler.decode.readers.heif.reader import HeifReader

__all__ = ["HeifReader"]
