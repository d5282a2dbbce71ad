"""Read OME-XML: which page of an OME-TIFF shows which channel, z and t. Pure functions.

Source: the OME Data Model 2016-06 and the specification of OME-TIFF (TiffData, DimensionOrder, Color).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple
from xml.parsers import expat

from pipeline.pixel_size import PixelSize, of_metres

MOST_XML = 1 << 25
"""Most bytes of OME-XML that are read. It has about a kilobyte for each plane, and a file has thousands of planes."""

MOST_IMAGES = 10_000
"""Most images that a file describes: the fields of a plate."""

MOST_BLOCKS = 1 << 17
"""Most TiffData elements, and most planes."""

MOST_CHANNELS = 10_000
"""Most channels. A spectral image has hundreds."""

MOST_LABELS = 100
"""Most planes in depth, and in time, whose positions are read."""

MOST_NAME = 200
"""Most characters of a file's name."""

MOST_DEPTH = 64
"""Most levels of elements. The data model has a dozen."""

_INVALID = expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN]
"""Code of the error for bytes that are no characters, and of others."""

METRES = {
    "pm": 1e-12,
    "Å": 1e-10,
    "nm": 1e-9,
    "µm": 1e-6,
    "\u03bcm": 1e-6,
    "um": 1e-6,
    "mm": 1e-3,
    "cm": 1e-2,
    "dm": 1e-1,
    "m": 1.0,
    "km": 1e3,
    "in": 0.0254,
    "ft": 0.3048,
}
"""Units of lengths, in metres. `pixel` and `reference frame` are units there, too, which say nothing."""

_ORDERS = {"XYZCT", "XYZTC", "XYCTZ", "XYCZT", "XYTCZ", "XYTZC"}


class Element(NamedTuple):
    """A Channel element.

    Parameters
    ----------
    samples: channels that it stands for, stored as samples of one pixel.
    colour: red, green and blue, 0 to 255; None if none is stated.
    """

    name: str
    samples: int
    colour: tuple[int, int, int] | None


class Block(NamedTuple):
    """A TiffData element; None where an attribute is missing.

    Parameters
    ----------
    uuid: of the file that holds the planes; empty for this file.
    file: name of that file; empty if it is not stated.
    """

    directory: int | None
    first: dict[str, int]
    planes: int | None
    uuid: str = ""
    file: str = ""


class Pixels(NamedTuple):
    """The planes of one image.

    Parameters
    ----------
    order: of the planes, the fastest first, such as "CZT".
    sizes: number of channels, z and t, by their letters.
    bits: of a sample that are used; 0 if not stated.
    z_step, t_step: distance of two planes with its unit; empty if not stated.
    z_labels, t_labels: positions of planes of the first channel with their units, by the number of z or t.
    pixel_size: by PhysicalSizeX and PhysicalSizeY; None if not stated.
    """

    order: str
    sizes: dict[str, int]
    bits: int
    z_step: str
    t_step: str
    elements: list[Element]
    blocks: list[Block]
    uuid: str
    z_labels: dict[int, str]
    t_labels: dict[int, str]
    pixel_size: PixelSize | None = None

    def planes(self, samples: int) -> dict[tuple[int, int, int], int]:
        """Return the number of the directory, with masks, of each plane (channel, z, t) that is in this file.

        Parameters
        ----------
        samples: of a pixel. Each plane has as many channels, and their numbers here are those of the planes.
        """
        found: dict[tuple[int, int, int], int] = {}
        for place, numbers in self._runs(samples):
            for rest, number in enumerate(numbers, place):
                if len(found) >= MOST_BLOCKS:
                    return found
                found[self._at(rest, samples)] = number
        return found

    def elsewhere(self, samples: int) -> dict[tuple[int, int, int], str]:
        """Return the name of the file of each plane (channel, z, t) that is in another file of a set; see `planes`."""
        found: dict[tuple[int, int, int], str] = {}
        for block, place, numbers in self._all_runs(samples):
            if self._is_here(block):
                continue
            for rest in range(place, place + len(numbers)):
                if len(found) >= MOST_BLOCKS:
                    return found
                found[self._at(rest, samples)] = block.file
        return found

    def _at(self, place: int, samples: int) -> tuple[int, int, int]:
        """Return the channel, z and t of a plane by its place among all planes."""
        sizes, at = self._sizes(samples), {}
        for letter in self.order:
            place, at[letter] = divmod(place, sizes[letter])
        return at["C"], at["Z"], at["T"]

    @property
    def is_ambiguous(self) -> bool:
        """Whether the planes lie in several files, and it is not said which of them this is."""
        return not self.uuid and len({block.uuid for block in self.blocks if block.uuid}) > 1

    def has(self, directory: int, samples: int) -> bool:
        """Return whether a directory is one of the planes, without listing them: there may be thousands of images."""
        return any(directory in numbers for _, numbers in self._runs(samples))

    def _sizes(self, samples: int) -> dict[str, int]:
        return self.sizes | {"C": max(1, self.sizes["C"] // samples)}

    def _runs(self, samples: int) -> Iterator[tuple[int, range]]:
        """Yield the place of a plane among all planes, and the directories of that plane and of those that follow."""
        for block, place, numbers in self._all_runs(samples):
            if self._is_here(block):
                yield place, numbers

    def _is_here(self, block: Block) -> bool:
        return not (block.uuid and self.uuid and block.uuid != self.uuid)

    def _all_runs(self, samples: int) -> Iterator[tuple[Block, int, range]]:
        sizes = self._sizes(samples)
        total = sizes["C"] * sizes["Z"] * sizes["T"]
        for block in self.blocks or [Block(None, {}, None)]:
            place, step = 0, 1
            for letter in self.order:
                place += step * block.first.get(letter, 0)
                step *= sizes[letter]
            count = block.planes if block.planes is not None else total if block.directory is None else 1
            first = block.directory or 0
            yield block, place, range(first, first + max(0, min(count, total - place)))


def parse(xml: bytes) -> list[Pixels]:
    """Return the images of OME-XML.

    Returns
    -------
    None of them if it is another XML, is broken, cut off, declares a document type, or is beyond the limits.
    """
    # What the XML says of its encoding is ignored: Python would load a codec of that name in the confined process, and
    # some writers put Latin-1 where they state UTF-8, mostly in a single character, the micro sign.
    for encoding in ("utf-8", "iso-8859-1"):
        reader = _Reader()
        try:
            reader.read(xml, encoding)
        except expat.ExpatError as error:
            if error.code != _INVALID:
                return []
        except (_Refused, ValueError, LookupError):
            return []
        else:
            return reader.images
    return []


class _Refused(Exception):
    """Raised for XML that is beyond the limits."""


class _Reader:
    """Collects the elements that matter: OME/Image/Pixels with Channel, TiffData and UUID."""

    def __init__(self) -> None:
        self.images: list[Pixels] = []
        self._path: list[str] = []
        self._uuid = ""
        self._text = ""
        self._blocks = 0
        self._elements = 0

    def read(self, xml: bytes, encoding: str) -> None:
        parser = expat.ParserCreate(encoding)
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.Parse(xml, True)

    def _refuse(self, *_: object) -> None:
        raise _Refused

    def _start(self, name: str, values: dict[str, str]) -> None:
        self._path.append(name.rpartition(":")[2])
        if len(self._path) > MOST_DEPTH:
            raise _Refused
        match self._path:
            case ["OME"]:
                self._uuid = values.get("UUID", "")
            case ["OME", "Image", "Pixels"]:
                if len(self.images) >= MOST_IMAGES:
                    raise _Refused
                self.images.append(_pixels(values, self._uuid))
            case ["OME", "Image", "Pixels", "Channel"]:
                self._elements += 1
                if self._elements > MOST_CHANNELS:
                    raise _Refused
                self.images[-1].elements.append(_element(values))
            case ["OME", "Image", "Pixels", "Plane"]:
                _label(values, self.images[-1])
            case ["OME", "Image", "Pixels", "TiffData"]:
                self._blocks += 1
                if self._blocks > MOST_BLOCKS:
                    raise _Refused
                self.images[-1].blocks.append(_block(values))
            case ["OME", "Image", "Pixels", "TiffData", "UUID"]:
                blocks = self.images[-1].blocks
                blocks[-1] = blocks[-1]._replace(file=values.get("FileName", "")[:MOST_NAME])
        self._text = ""

    def _end(self, _name: str) -> None:
        if self._path == ["OME", "Image", "Pixels", "TiffData", "UUID"]:
            blocks = self.images[-1].blocks
            blocks[-1] = blocks[-1]._replace(uuid=self._text.strip())
        self._path.pop()

    def _characters(self, text: str) -> None:
        if self._path[-1] == "UUID":
            self._text = (self._text + text)[:200]


def _pixels(values: dict[str, str], uuid: str) -> Pixels:
    order = values.get("DimensionOrder", "XYCZT")
    if order not in _ORDERS:
        raise _Refused
    sizes = {letter: _number(values.get(f"Size{letter}"), 1) for letter in "CZT"}
    if not 1 <= sizes["C"] <= MOST_CHANNELS or min(sizes.values()) < 1:
        raise _Refused
    return Pixels(
        order[2:],
        sizes,
        _number(values.get("SignificantBits"), 0),
        _step(values, "PhysicalSizeZ", "µm"),
        _step(values, "TimeIncrement", "s"),
        [],
        [],
        uuid,
        {},
        {},
        _pixel_size(values),
    )


def _pixel_size(values: dict[str, str]) -> PixelSize | None:
    edges = []
    for name in ("PhysicalSizeX", "PhysicalSizeY"):
        metres, size = METRES.get(values.get(f"{name}Unit", "µm").strip()), _finite(values.get(name, ""))
        edges.append(size * metres if metres is not None and size is not None else math.nan)
    # Some writers state the width alone.
    x, y = edges if "PhysicalSizeY" in values else (edges[0], edges[0])
    return of_metres(x, y)


def _element(values: dict[str, str]) -> Element:
    samples = _number(values.get("SamplesPerPixel"), 1)
    if not 1 <= samples <= MOST_CHANNELS:
        raise _Refused
    return Element(values.get("Name", ""), samples, _colour(values.get("Color")))


def _block(values: dict[str, str]) -> Block:
    first = {letter: _number(values.get(f"First{letter}"), 0) for letter in "CZT"}
    given = [_number(values[name], 0) if name in values else None for name in ("IFD", "PlaneCount")]
    return Block(given[0], first, given[1])


def _number(text: str | None, default: int) -> int:
    """Return a number that is not negative. Raises ValueError."""
    if text is None:
        return default
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError(f"not a number: {text[:20]!r}")
    return int(text)


def _colour(text: str | None) -> tuple[int, int, int] | None:
    """Return red, green and blue of a signed integer of 32 bits: red, green, blue and alpha. None if it is none."""
    try:
        value = int((text or "")[:12])
    except ValueError:
        return None
    if not -(1 << 31) <= value < 1 << 32:
        return None
    return value >> 24 & 255, value >> 16 & 255, value >> 8 & 255


def _label(values: dict[str, str], pixels: Pixels) -> None:
    """Note the position of a plane of the first channel, in depth or in time."""
    place = [values.get(name, "") for name in ("TheC", "TheZ", "TheT")]
    if place[0] != "0" or not all(text.isascii() and text.isdecimal() and len(text) < 10 for text in place):
        return
    z, t = int(place[1]), int(place[2])
    for labels, number, other, name, unit in (
        (pixels.z_labels, z, t, "PositionZ", "µm"),
        (pixels.t_labels, t, z, "DeltaT", "s"),
    ):
        if other == 0 and number < MOST_LABELS and (size := _finite(values.get(name, ""))) is not None:
            labels[number] = f"{size:g} {values.get(name + 'Unit', unit)}"


def _finite(text: str) -> float | None:
    try:
        size = float(text[:40])
    except ValueError:
        return None
    return size if math.isfinite(size) else None


def _step(values: dict[str, str], name: str, unit: str) -> str:
    size = _finite(values.get(name, ""))
    return f"{size:g} {values.get(name + 'Unit', unit)}" if size is not None and 0 < size < 1e12 else ""
