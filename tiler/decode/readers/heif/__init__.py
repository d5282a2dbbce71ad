"""Read HEIC and AVIF: decode each coded picture on its own first, since libheif shows black where it fails.

`damage` checks a page. It uses `items` and `boxes` (the file's structure), `pages` (libheif's list of pages), `hevc`
and `av1` (the codecs). `heic` decodes a HEIC; libvips decodes an AVIF. `coding` corrects colours that both return raw.
"""

from tiler.decode.readers.heif.reader import HeifReader

__all__ = ["HeifReader"]
