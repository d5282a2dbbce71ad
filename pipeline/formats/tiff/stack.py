"""Find the channels of a TIFF: pages or samples that OME-XML or ImageJ describe as a stack. Pure functions.

See docs/decisions/0027.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

from pipeline.channel_choice import choose, hexadecimal
from pipeline.errors import StageError
from pipeline.formats.header import MOST_CHANNELS, Header, StackHeader, require_page
from pipeline.formats.tiff import imagej, ome
from pipeline.formats.tiff.alpha import is_transparency
from pipeline.formats.tiff.colours import BLACK_IS_ZERO, WHITE_IS_ZERO
from pipeline.formats.tiff.directory import Directory, File, Tag, seek_to
from pipeline.formats.tiff.layout import RGB, Compression, layout_of
from pipeline.formats.tiff.pages import places
from pipeline.formats.tiff.texts import description_of
from pipeline.texts import sentence

MOST_NAME, MOST_STEP = 100, 40
"""Most characters of a channel's name, and of a distance with its unit."""

Colour = tuple[int, int, int]


class Channel(NamedTuple):
    """A channel of a stack.

    Parameters
    ----------
    name: empty if it has none.
    colour: red, green and blue, 0 to 255; None if none is stated.
    table: ImageJ's lookup table; empty if there is none.
    display: the samples that its writer showed as black and as full colour; None if not stated.
    """

    name: str = ""
    colour: Colour | None = None
    table: bytes = b""
    display: tuple[float, float] | None = None


class Plane(NamedTuple):
    """Where a channel lies at one z and t.

    Parameters
    ----------
    directory: number of its directory in the file, with masks.
    sample: of its pixels.
    before: images that lie before it, if that directory stands for all images of a stack.
    """

    directory: int
    sample: int = 0
    before: int = 0


class Stack(NamedTuple):
    """The channels, and the planes of each.

    Parameters
    ----------
    z, t: number of planes in depth and in time.
    z_step, t_step: distance of two planes with its unit; empty if not stated.
    samples: channels in each page.
    pages: number of the directory of each plane, by its place among the planes of all channels, z and t.
    is_joined: whether one directory stands for all planes. The numbers in `pages` are then those of the images.
    is_described: whether the file describes its channels. Otherwise they are the samples of a page.
    bits: of a sample that are used; 0 if not stated.
    z_labels, t_labels: what the file says of each plane in depth and in time, of the first MOST_LABELS: its position
        with its unit, or a name; none if it does not say it of all.
    limits: the display range of one of several channels, it is unknown of which; None if not stated.
    elsewhere: the name of the file of each plane that is in another file of a set, by its place among the planes;
        empty where it is not stated.
    """

    channels: tuple[Channel, ...]
    z: int
    t: int
    pages: dict[tuple[int, int, int], int]
    z_step: str = ""
    t_step: str = ""
    samples: int = 1
    is_joined: bool = False
    is_described: bool = True
    bits: int = 0
    limits: tuple[float, float] | None = None
    z_labels: tuple[str, ...] = ()
    t_labels: tuple[str, ...] = ()
    elsewhere: Mapping[tuple[int, int, int], str] = MappingProxyType({})

    def plane(self, channel: int, z: int, t: int) -> Plane | None:
        """Return where a channel lies, from 0; None if it is not in this file."""
        number = self.pages.get((channel // self.samples, z, t))
        if number is None:
            return None
        return Plane(0, 0, number) if self.is_joined else Plane(number, channel % self.samples)

    def position(self, directory: int) -> tuple[int, int] | None:
        """Return z and t of a directory, from 0; None if it is no plane of the stack."""
        if self.is_joined:
            return (0, 0) if directory == 0 else None
        return next(((z, t) for (_, z, t), number in self.pages.items() if number == directory), None)

    def place_of(self, image: int) -> tuple[int, int, int]:
        """Return channel, z and t of an image of a stack for which one directory stands, from 0."""
        return next((place for place, number in self.pages.items() if number == image), (0, 0, 0))

    def channel(self, directory: int) -> int | None:
        """Return the channel of a directory that shows only one, from 0; None if it shows none or several."""
        if self.samples > 1:
            return None
        if self.is_joined:
            return 0 if directory == 0 else None
        return next((channel for (channel, _, _), number in self.pages.items() if number == directory), None)

    def file_of(self, channel: int, z: int, t: int) -> str | None:
        """Return the name of the other file that holds a plane, empty if it is not stated; None if there is none."""
        return self.elsewhere.get((channel // self.samples, z, t))

    def named(self, channel: int) -> str:
        """Return the number and the name of a channel, for messages."""
        return f"{channel} {self.channels[channel].name}".strip()


def stack_of(file: File, number: int, page: Directory) -> Stack | None:
    """Return the stack that a page belongs to; None if nothing describes it, or what describes it does not fit.

    Parameters
    ----------
    number: of the page's directory, with masks.

    Raises
    ------
    struct.error: if the file ends within its first directory.
    """
    first = page if number == 0 else next(iter(places(file))).read(file)
    text = description_of(first, ome.MOST_XML)
    if text.startswith(b"ImageJ="):
        return _by_imagej(file, first, text, number, page)
    return _by_ome(text, number, page) if b"OME" in text else None


def joined_images(file: File, page: int = 0) -> int:
    """Return the number of images that the first directory of an ImageJ stack stands for; 1 for another TIFF.

    Parameters
    ----------
    page: the number of the image that is asked for, from 0.

    Raises
    ------
    StageError: page_not_found, if there are several, and the one that is asked for is not among them.
    struct.error: if the file ends within its first directory.
    """
    first = next(iter(places(file))).read(file)
    text = description_of(first, ome.MOST_XML)
    found = _by_imagej(file, first, text, 0, first) if text.startswith(b"ImageJ=") else None
    if found is None or not found.is_joined:
        return 1
    require_page(Header("tiff", 0, 0, len(found.pages)), page)
    return len(found.pages)


def bands_of(page: Directory) -> Stack | None:
    """Return the samples of a page as channels; None if they are colours of another kind than grey or RGB.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    if page.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) not in {BLACK_IS_ZERO, WHITE_IS_ZERO, RGB}:
        return None
    samples = page.value(Tag.SAMPLES, 1)
    if not 1 <= samples <= ome.MOST_CHANNELS:
        return None
    colours = 3 if page.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) == RGB else 1
    if samples == colours + 1 and Tag.EXTRA_SAMPLES in page.entries and is_transparency(page, samples):
        samples = colours
    return Stack((Channel(),) * samples, 1, 1, {(0, 0, 0): 0}, samples=samples, is_described=False)


def asked_for(stack: Stack | None, page: Directory, channels: Sequence[str]) -> tuple[Stack, list[int]]:
    """Return the stack and the numbers of the channels that are asked for.

    Parameters
    ----------
    stack: that the page belongs to; None if the file describes none, so that the samples of the page are meant.
    channels: as pipeline.channel_choice.parse returns them.

    Raises
    ------
    StageError: channel_not_found.
    struct.error: if the file ends within the directory's values.
    """
    if (found := stack or bands_of(page)) is None:
        raise StageError("channel_not_found", "The TIFF has no channels to choose from: leave out `channels`.")
    return found, choose([channel.name for channel in found.channels], channels)


def pages_of(stack: Stack, channels: int) -> int:
    """Return how many pages are decoded for a number of channels."""
    return channels if stack.samples == 1 else 1


def header_of(stack: Stack) -> StackHeader:
    """Return what people are told about a stack."""
    channels = stack.channels[:MOST_CHANNELS]
    return StackHeader(
        tuple(channel.name for channel in channels),
        tuple("" if channel.colour is None else hexadecimal(channel.colour) for channel in channels),
        len(stack.channels),
        stack.z,
        stack.t,
        stack.z_step,
        stack.t_step,
        stack.z_labels,
        stack.t_labels,
    )


def significant_bits(page: Directory, stack: Stack | None) -> tuple[float, float] | None:
    """Return the range of samples that use fewer bits than they have; None if nothing states it.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    if stack is None or not 0 < stack.bits < page.value(Tag.BITS, 1) or page.value(Tag.SAMPLE_FORMAT, 1) != 1:
        return None
    return 0.0, float((1 << stack.bits) - 1)


def _by_ome(text: bytes, number: int, page: Directory) -> Stack | None:
    photometric, samples = page.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO), page.value(Tag.SAMPLES, 1)
    if photometric not in {BLACK_IS_ZERO, WHITE_IS_ZERO, RGB} or not 1 <= samples <= ome.MOST_CHANNELS:
        return None
    for pixels in ome.parse(text):
        if pixels.is_ambiguous:
            return None
        if not pixels.has(number, samples):
            continue
        planes = pixels.planes(samples)
        if photometric == RGB and any(element.samples > 1 for element in pixels.elements):
            return None  # a picture, whose samples are one channel of colours
        sizes = pixels.sizes
        if sizes["C"] % samples:
            return None
        return Stack(
            _channels(pixels.elements, sizes["C"]),
            sizes["Z"],
            sizes["T"],
            planes,
            _clean(pixels.z_step, MOST_STEP),
            _clean(pixels.t_step, MOST_STEP),
            samples,
            bits=pixels.bits,
            z_labels=_labels(pixels.z_labels, sizes["Z"]),
            t_labels=_labels(pixels.t_labels, sizes["T"]),
            elsewhere={place: _clean(file) for place, file in pixels.elsewhere(samples).items()},
        )
    return None


def _channels(elements: list[ome.Element], count: int) -> tuple[Channel, ...]:
    found: list[Channel] = []
    for element in elements:
        name = _clean(element.name)
        if element.samples == 1:
            found.append(Channel(name, element.colour))
        else:
            found.extend(Channel(f"{name} {at}" if name else "") for at in range(min(element.samples, count)))
        if len(found) >= count:
            break
    return tuple((found + [Channel()] * count)[:count])


def _by_imagej(file: File, first: Directory, text: bytes, number: int, page: Directory) -> Stack | None:
    is_grey = all(
        found.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) in {BLACK_IS_ZERO, WHITE_IS_ZERO}
        and found.value(Tag.SAMPLES, 1) == 1
        for found in (first, page)
    )
    said = imagej.described(first, text)
    if said is None or not is_grey:
        return None
    pages = {
        (channel, z, t): (t * said.z + z) * said.channels + channel
        for t in range(said.t)
        for z in range(said.z)
        for channel in range(said.channels)
    }
    if number >= said.images:
        return None
    return Stack(
        tuple(_of_imagej(said, channel) for channel in range(said.channels)),
        said.z,
        said.t,
        pages,
        _clean(said.z_step, MOST_STEP),
        _clean(said.t_step, MOST_STEP),
        is_joined=number == 0 and said.images > 1 and _is_joined(file, first, said.images),
        limits=said.limits,
        z_labels=_labels({z: said.label(0, z, 0) for z in range(min(said.z, ome.MOST_LABELS))}, said.z),
        t_labels=_labels({t: said.label(0, 0, t) for t in range(min(said.t, ome.MOST_LABELS))}, said.t),
    )


def _of_imagej(said: imagej.Described, channel: int) -> Channel:
    table = said.tables[channel] if channel < len(said.tables) else b""
    colour = (table[255], table[511], table[767]) if table else None
    display = said.ranges[channel] if channel < len(said.ranges) else None
    if not said.ranges and said.channels == 1:
        display = said.limits
    return Channel(_clean(said.names[channel]) if said.names else "", colour, table, display)


def _is_joined(file: File, first: Directory, images: int) -> bool:
    """Return whether the first directory is the only one, and all images are stored in one uncompressed piece.

    A program that saves one image may keep the description of all. Then the file ends, or something else follows.
    """
    directories = 0
    with suppress(struct.error):
        for _ in places(file):
            directories += 1
            if directories > 1:
                return False
    layout = layout_of(first)
    if layout is None or layout.tiled or first.value(Tag.COMPRESSION, Compression.NONE) != Compression.NONE:
        return False
    offsets, lengths = first.listed()
    if min(len(offsets), len(lengths)) < layout.chunks:
        return False
    ends = [offset + length for offset, length in zip(offsets, lengths, strict=False)]
    pixels = range(offsets[0], offsets[0] + images * layout.row_bytes * layout.height)
    places_of_values = [first.place(entry) for entry in first.entries.values() if entry.length > len(entry.value)]
    if list(offsets[1:]) != ends[:-1] or any(place in pixels for place in (first.offset, *places_of_values)):
        return False
    seek_to(file, pixels.stop - 1)
    return bool(file.read(1))


def _labels(said: dict[int, str], planes: int) -> tuple[str, ...]:
    """Return the labels of all planes, or of the first ones; none if there is one plane, or some have none."""
    found = [_clean(said.get(number, ""), MOST_STEP) for number in range(min(planes, ome.MOST_LABELS))]
    return tuple(found) if planes > 1 and all(found) and len(set(found)) == len(found) else ()


def _clean(text: str, most: int = MOST_NAME) -> str:
    """Return a text of a file without controls, on one line, and not too long."""
    return sentence(" ".join(text.split()), most)
