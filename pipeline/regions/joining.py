"""Join tiles, and make the result: resample, turn, mirror, change its colours, encode. It decodes, so only a confined
child loads it.

Pillow is used, not libvips: a region's edge may lie within a pixel of the level, and Pillow's resampling begins there.
libvips' begins at whole pixels. Pillow also joins the many small tiles of a region in half the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import accumulate
from types import ModuleType

from PIL import Image, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin

from pipeline.machine import usable_cores
from pipeline.regions.protocol import Job

PLUGINS = (JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin)
"""Loaded before the process is confined. Pillow loads that of MPO, several JPEGs in a file, by what a JPEG says."""

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}

DECODERS = ThreadPoolExecutor(min(2, usable_cores()))
"""Threads that decode tiles. They are started by the first job, after the process was confined."""

FRAMES = frozenset({0xC0, 0xC2})
"""JPEG's markers of baseline and of progressive frames."""

BEFORE_FRAME = frozenset({0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE})
"""Markers of tables and of application data (T.81 B.2.4). Each is followed by its length."""

JPEG_QUALITY = 90
"""Pixels that were a JPEG of quality 85 before: the same quality once more would show."""

WEBP_QUALITY, WEBP_EFFORT = 85, 1
"""Effort of 0 to 6: somebody waits for the result."""

PNG_COMPRESSION = 3
"""Of 0 to 9. The default, 6, takes twice the time and saves a twentieth."""

FILTER = Image.Resampling.BICUBIC
"""Used to enlarge, and to reduce to no less than half. Lanczos takes longer, and shows no difference there."""

WHITE = (255, 255, 255)

TO_BLACK_OR_WHITE = [255 * (value >= 128) for value in range(256)]

TURNS = (None, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90)
"""By quarters clockwise. Pillow counts counter-clockwise."""


class BrokenTile(Exception):
    """Raised when a tile cannot be decoded, or has another size than it should have."""


class Tiles:
    """The tiles of a job, in the order in which they arrive.

    Parameters
    ----------
    receive: returns the next tile.
    """

    def __init__(self, job: Job, receive: Callable[[], bytes]) -> None:
        self._missing = len(job.widths) * len(job.heights)
        self._receive = receive

    def next(self) -> bytes:
        self._missing -= 1
        return self._receive()

    def skip(self) -> None:
        """Receive all that are missing, so that the next job can be received."""
        while self._missing:
            self.next()


def load(pillow: ModuleType) -> None:
    """Load what Pillow would otherwise load on first use."""
    pillow.preinit()


def make(job: Job, tiles: Tiles) -> memoryview:
    """Return the encoded result. Raises BrokenTile."""
    image = _resampled(job, tiles)
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")  # WebP stores no alpha where a tile has none, so its tiles differ.
    if job.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turn = TURNS[job.turns]
    if turn is not None:
        image = image.transpose(turn)
    return _encoded(_coloured(image, job), job.extension)


def _resampled(job: Job, tiles: Tiles) -> Image.Image:
    """Join and resample row by row of tiles, so that the pixels of the level are never all in memory."""
    across = _Axis(job.left, job.right, job.width)
    down = _Axis(job.top, job.bottom, job.height)
    has_to_blend = not (across.is_exact and down.is_exact)
    joined: Image.Image | None = None
    for y, height in zip(_starts(job.heights), job.heights, strict=True):
        first, last = max(y, down.first), min(y + height, down.last)
        strip: Image.Image | None = None
        # The decoders release Python's lock. Tiles arrive while others are decoded.
        decoding = [DECODERS.submit(_decoded, tiles.next(), job.tiles, width, height) for width in job.widths]
        for x, tile in zip(_starts(job.widths), (one.result() for one in decoding), strict=True):
            if strip is None:
                mode = joined.mode if joined else _mode(tile, job.tiles)
                strip = Image.new(mode.upper(), (across.last - across.first, last - first))
            strip.paste(_as(tile, strip.mode), (x - across.first, y - first))
        assert strip is not None  # noqa: S101  a job has columns
        if has_to_blend and strip.mode == "RGBA":
            # What a transparent pixel hides must not become visible in its neighbours.
            strip = strip.convert("RGBa")
        strip = across.resampled_columns(strip)
        if joined is None:
            joined = Image.new(strip.mode, (job.width, down.last - down.first))
        joined.paste(strip, (0, first - down.first))
    assert joined is not None  # noqa: S101  a job has rows
    return _as(down.resampled_rows(joined), joined.mode.upper())


class _Axis:
    """What is done along one axis.

    Attributes
    ----------
    first, last: the pixels of the level that are needed. Those outside of the region do not shine into it.
    is_exact: whether they are the pixels of the result.
    """

    def __init__(self, begin: float, end: float, size: int) -> None:
        self.first, self.last = math.floor(begin), math.ceil(end)
        self._begin, self._end = begin - self.first, end - self.first
        self._size = size
        self.is_exact = self._begin == 0 and self._end == size

    def resampled_columns(self, image: Image.Image) -> Image.Image:
        if self.is_exact:
            return image
        box = (self._begin, 0, self._end, image.height)
        return image.resize((self._size, image.height), FILTER, box)

    def resampled_rows(self, image: Image.Image) -> Image.Image:
        if self.is_exact:
            return image
        box = (0, self._begin, image.width, self._end)
        return image.resize((image.width, self._size), FILTER, box)


def _starts(lengths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(accumulate(lengths, initial=0))[:-1]


def _decoded(data: bytes, extension: str, width: int, height: int) -> Image.Image:
    try:
        components = _jpeg_components(data, width, height) if extension == "jpg" else 0
        if components:
            # Image.open would parse all of the head in Python, which takes half the time of the decoding.
            mode = "RGB" if components == 3 else "L"
            return Image.frombytes(mode, (width, height), data, "jpeg", mode, "")
        image = Image.open(BytesIO(data), formats=[FORMATS[extension]])
        is_right = image.size == (width, height)
        if is_right:
            image.load()
    except MemoryError:
        raise
    except Exception as error:
        raise BrokenTile(f"a tile cannot be decoded: {error}") from error
    if not is_right:
        raise BrokenTile(f"a tile of {image.width} x {image.height} pixels, not of {width} x {height}")
    return image


def _jpeg_components(data: bytes, width: int, height: int) -> int:
    """Return the number of components, 1 or 3, of an ordinary JPEG of this size; 0 for anything else.

    It has its segments one after the other, with nothing between them, up to the frame's head (T.81 B.2), so no decoder
    can read the head otherwise.
    """
    at = 2
    if data[:2] != b"\xff\xd8":
        return 0
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in FRAMES:
            size = int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
            return data[at + 9] if size == (width, height) and data[at + 4] == 8 and data[at + 9] in {1, 3} else 0
        if marker not in BEFORE_FRAME:
            return 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return 0


def _mode(tile: Image.Image, extension: str) -> str:
    if extension == "webp":
        return "RGBA"
    return tile.mode if tile.mode in {"L", "RGB"} else "RGB" if extension == "jpg" else "RGBA"


def _as(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _coloured(image: Image.Image, job: Job) -> Image.Image:
    if job.extension == "jpg" or job.quality == "bitonal":
        image = _opaque(image)
    if job.quality == "gray":
        return image.convert("LA" if image.mode == "RGBA" else "L")
    if job.quality == "bitonal":
        image = image.convert("L").point(TO_BLACK_OR_WHITE)
        return image.convert("1", dither=Image.Dither.NONE) if job.extension == "png" else image
    return image


def _opaque(image: Image.Image) -> Image.Image:
    """Put transparent pixels on white, as full.jpg has them."""
    if image.mode != "RGBA":
        return image
    below = Image.new("RGB", image.size, WHITE)
    below.paste(image, mask=image.getchannel("A"))
    return below


def _encoded(image: Image.Image, extension: str) -> memoryview:
    out = BytesIO()
    match extension:
        case "jpg":
            image.save(out, "JPEG", quality=JPEG_QUALITY)
        case "png":
            image.save(out, "PNG", compress_level=PNG_COMPRESSION)
        case "webp":
            image.save(out, "WEBP", quality=WEBP_QUALITY, method=WEBP_EFFORT)
        case _:
            raise ValueError(f"not a format: {extension}")
    return out.getbuffer()
