"""Read what ImageJ says about a stack: sizes, names, lookup tables, display ranges. Pure functions.

Sources: ImageJ's TiffEncoder, TiffDecoder and FileOpener, and how tifffile reads their tags.
"""

from __future__ import annotations

import math
import re
import struct
from typing import NamedTuple

from pipeline.formats.tiff.directory import Directory, Tag

MOST_TEXT, MOST_METADATA = 1 << 16, 1 << 22
"""Most bytes of the description, and of the tag with names and lookup tables, that are read."""

MOST_IMAGES = 1 << 17
"""Most images of a stack."""

MOST_CHANNELS = 10_000

TABLE = 3 * 256
"""Bytes of a lookup table: the reds, the greens, the blues."""

METRES = {
    "nm": 1e-9,
    "nanometer": 1e-9,
    "µm": 1e-6,
    "\u03bcm": 1e-6,
    "um": 1e-6,
    "micron": 1e-6,
    "microns": 1e-6,
    "micrometer": 1e-6,
    "mm": 1e-3,
    "millimeter": 1e-3,
    "meter": 1.0,
    "m": 1.0,
    "km": 1e3,
}
"""Units of lengths that people write in ImageJ, in metres."""

_LINE = re.compile(r"^(\w+)=(.*?)\r?$", re.MULTILINE)

_BYTES, _LONG = 1, 4
"""Types of the two tags."""


class Described(NamedTuple):
    """A stack, whose planes lie in the order channel, z, t.

    Parameters
    ----------
    channels, z, t: its sizes.
    names, tables, ranges: of the channels; fewer, or none, if they are not stated.
    limits: the display range of the channel that was selected; None if it is not stated.
    z_step, t_step: distance of two planes with its unit; empty if not stated.
    labels: of the planes, in their order; fewer, or none, if they are not stated.
    """

    channels: int
    z: int
    t: int
    names: list[str]
    tables: list[bytes]
    ranges: list[tuple[float, float]]
    limits: tuple[float, float] | None
    z_step: str
    t_step: str
    labels: list[str]

    @property
    def images(self) -> int:
        return self.channels * self.z * self.t

    def label(self, channel: int, z: int, t: int) -> str:
        """Return the label of a plane; empty if it has none."""
        number = (t * self.z + z) * self.channels + channel
        return self.labels[number] if number < len(self.labels) else ""


def described(directory: Directory, text: bytes) -> Described | None:
    """Return what ImageJ says in the first page of a file; None if it does not, or contradicts itself.

    Parameters
    ----------
    text: the page's description.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    if not text.startswith(b"ImageJ="):
        return None
    values = dict(_LINE.findall(_decoded(text[:MOST_TEXT])))
    sizes = [_count(values.get(name)) for name in ("channels", "slices", "frames")]
    if None in sizes:
        return None
    channels, z, t = (size or 1 for size in sizes)
    stated = "images" not in values or _count(values["images"]) == channels * z * t
    if channels * z * t > MOST_IMAGES or channels > MOST_CHANNELS or not stated:
        return None
    parts = _parts(directory)
    labels = _labels(parts.get(b"labl", []), directory.order)
    unit = values.get("unit", "").replace("\\u00B5", "µ")
    return Described(
        channels,
        z,
        t,
        _names(labels, channels) if channels > 1 or z * t == 1 else [],
        [] if values.get("mode") == "grayscale" else [part for part in parts.get(b"luts", []) if len(part) == TABLE],
        _ranges(parts.get(b"rang", []), directory.order),
        _pair(values.get("min"), values.get("max")),
        _step(values.get("spacing"), unit or "pixel"),
        _step(values.get("finterval"), values.get("tunit", "s")),
        labels,
    )


def unit_of(text: bytes) -> str:
    """Return the unit of lengths in ImageJ's description of a file; empty if none is stated."""
    values: dict[str, str] = dict(_LINE.findall(_decoded(text[:MOST_TEXT])))
    return values.get("unit", "").replace("\\u00B5", "µ").strip()


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _count(text: str | None) -> int | None:
    """Return a number from 1; 1 if it is missing, and None if it is none."""
    if text is None:
        return 1
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text) else None


def _parts(directory: Directory) -> dict[bytes, list[bytes]]:
    """Return the values in ImageJ's own tag by their type; as far as they are whole."""
    counts, data = (directory.entries.get(tag) for tag in (Tag.IMAGEJ_COUNTS, Tag.IMAGEJ))
    if counts is None or data is None or counts.kind != _LONG or data.kind != _BYTES or counts.values > MOST_IMAGES:
        return {}
    lengths, content = directory.integers(counts), directory.beginning(data, MOST_METADATA)
    if not lengths or not 4 <= lengths[0] <= len(content):
        return {}
    head, at, number = content[4 : lengths[0]], lengths[0], 1
    found: dict[bytes, list[bytes]] = {}
    for kind, count in struct.iter_unpack(f"{directory.order}4sI", head[: len(head) // 8 * 8]):
        name = kind if directory.order == ">" else kind[::-1]
        for length in lengths[number : number + count]:
            if at + length > len(content):
                return found
            found.setdefault(name, []).append(content[at : at + length])
            at += length
        number += count
    return found


def _labels(parts: list[bytes], order: str) -> list[str]:
    coding = "utf-16-le" if order == "<" else "utf-16-be"
    return [part[:400].decode(coding, errors="replace").strip() for part in parts]


def _names(labels: list[str], channels: int) -> list[str]:
    """Return the labels of the first planes, which are those of the channels, if all are there and differ."""
    names = labels[:channels]
    return names if len(names) == channels == len(set(names)) and all(names) else []


def _ranges(parts: list[bytes], order: str) -> list[tuple[float, float]]:
    if not parts:
        return []
    values = struct.unpack(f"{order}{len(parts[0]) // 8}d", parts[0][: len(parts[0]) // 8 * 8])
    pairs = list(zip(values[::2], values[1::2], strict=False))
    return pairs if all(math.isfinite(low) and math.isfinite(high) and low < high for low, high in pairs) else []


def _pair(low: str | None, high: str | None) -> tuple[float, float] | None:
    try:
        pair = float((low or "")[:40]), float((high or "")[:40])
    except ValueError:
        return None
    return pair if math.isfinite(pair[0]) and math.isfinite(pair[1]) and pair[0] < pair[1] else None


def _step(text: str | None, unit: str) -> str:
    try:
        size = float((text or "")[:40])
    except ValueError:
        return ""
    return f"{size:g} {unit}" if 0 < size < 1e12 else ""
