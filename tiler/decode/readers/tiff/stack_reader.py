"""Read a TIFF whose pages or samples are channels of a stack: docs/decisions/0027."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property, reduce
from itertools import islice
from operator import or_
from typing import BinaryIO

import pyvips

from pipeline.channel_choice import MOST, MOST_LISTED, colours_of
from pipeline.errors import StageError
from pipeline.formats import budget, tiff
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.header import BASE_MEMORY, Header
from pipeline.formats.tiff.layout import APART
from pipeline.formats.tiff.stack import (
    Channel,
    Colour,
    Plane,
    Stack,
    asked_for,
    joined_images,
    significant_bits,
    stack_of,
)
from pipeline.formats.tiff.stated_range import stated_range
from tiler.decode.decoder_messages import Words
from tiler.decode.layers import Layer, readers_of
from tiler.decode.missing import Missing, Warned
from tiler.decode.reader import Reader
from tiler.decode.readers.tiff.reader import TiffReader

WHITE = (255, 255, 255)


class StackReader(TiffReader):
    """Reads a page of a TIFF, or the channels of the stack that the page belongs to."""

    @cached_property
    def page(self) -> int:
        """As Reader.page: the first one for any image of a stack for which one directory stands."""
        return 0 if self._image else super().page

    @property
    def number(self) -> int:
        """As Reader.number."""
        return self._image or self.page

    @property
    def is_composed(self) -> bool:
        """As Reader.is_composed."""
        return not self._image or bool(self.channels)

    @cached_property
    def _images(self) -> int:
        with self.path.open("rb") as file, suppress(struct.error):
            return joined_images(file, self._asked_page or 0)
        return 1

    @cached_property
    def _image(self) -> int:
        """The image that is asked for where one directory stands for several; 0 elsewhere."""
        asked = self._asked_page or 0
        return asked if asked and asked < self._images else 0

    def header(self) -> Header:
        """As Reader.header: counts the images of a stack for which one directory stands as pages."""
        found = super().header()
        return found._replace(pages=self._images) if self._images > 1 else found

    def take_all(self) -> tuple[int, ...]:
        """As Reader.take_all: all images of a stack for which one directory stands, or as TiffReader does."""
        if self._images == 1:
            return super().take_all()
        self._asked_page = 0
        return tuple(range(self._images))

    def layers(self) -> tuple[Layer, ...]:
        """As Reader.layers."""
        return self._layers

    @cached_property
    def stack(self) -> Stack | None:
        """What the file says about the page's channels, z and t; None if nothing, or something that does not fit."""
        with self.path.open("rb") as file, suppress(struct.error):
            place, directory = self._at.place(file, self.page), self._at.directory(file, self.page)
            if place is not None and place.sub is None and directory is not None:
                return stack_of(file, place.number, directory)
        return None

    @cached_property
    def position(self) -> tuple[int, int]:
        """z and t of the page, from 0."""
        with self.path.open("rb") as file, suppress(struct.error):
            place = self._at.place(file, self.page)
            if self.stack and self._image:
                return self.stack.place_of(self._image)[1:]
            found = self.stack.position(place.number) if self.stack and place else None
            return found or (0, 0)
        return 0, 0

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        if self.channels:
            return self._asked()
        if self._image and self.stack is not None:
            # The image as it is, in grey.
            return self._made(self.stack, [self.stack.place_of(self._image)[0]], WHITE)
        if self._asked_page is not None or self.stack is None or len(self.stack.channels) < 2:
            return ()
        here = [number for number in range(len(self.stack.channels)) if self._plane(self.stack, number)][:MOST]
        if len(here) < 2:
            return ()
        try:
            return self._made(self.stack, here)
        except (StageError, struct.error):
            return ()

    def _asked(self) -> tuple[Layer, ...]:
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._at.directory(file, self.page):
                return self._made(*asked_for(self.stack, directory, self.channels))
        raise damaged("its directory cannot be read as a whole")

    def _plane(self, stack: Stack, channel: int) -> Plane | None:
        return stack.plane(channel, *self.position) if stack.is_described else Plane(-1, channel)

    def _made(self, stack: Stack, numbers: list[int], colour_of_all: Colour | None = None) -> tuple[Layer, ...]:
        """Return the layers of some channels.

        Parameters
        ----------
        colour_of_all: instead of their own colours.

        Raises
        ------
        StageError: channel_not_found, if a channel's page is missing; image_corrupt, if pages have different sizes.
        struct.error: if the file ends within a directory.
        """
        channels = [stack.channels[number] for number in numbers]
        colours = colours_of([channel.colour for channel in channels])
        colours = colours if colour_of_all is None else [colour_of_all] * len(numbers)
        readers: dict[tuple[int, int, int], TiffReader] = {}
        layers = []
        with self.path.open("rb") as file:
            for number, channel, colour in zip(numbers, channels, colours, strict=True):
                plane = self._plane(stack, number)
                page = None if plane is None else self._page_of(file, plane)
                directory = None if page is None else self._at.directory(file, page)
                if plane is None or page is None or directory is None:
                    raise StageError("channel_not_found", self._not_here(stack, number))
                self._require_alike(file, directory)
                is_apart = directory.value(tiff.Tag.PLANAR, 1) == APART and directory.value(tiff.Tag.SAMPLES, 1) > 1
                key = page, plane.sample if is_apart else -1, plane.before
                if key not in readers:
                    readers[key] = self._reader(page, plane, is_apart)
                layers.append(
                    Layer(
                        readers[key],
                        0 if is_apart else plane.sample,
                        number,
                        channel.name,
                        colour,
                        _table(channel, colour),
                        channel.display,
                        stated_range(directory, plane.sample) or stack.limits,
                    )
                )
        return tuple(layers)

    def _not_here(self, stack: Stack, channel: int) -> str:
        at = " and ".join(_places(self.position[0], stack.z, self.position[1], stack.t))
        said = f"Channel {stack.named(channel)}{f' at {at}' if at else ''} is not in this file."
        file = stack.file_of(channel, *self.position)
        if file is None:
            return said
        return f"{said} It is in another file of its set{f', {file}' if file else ''}: submit that file."

    def _reader(self, page: int, plane: Plane, is_apart: bool) -> TiffReader:
        if is_apart or plane.before:
            from tiler.decode.readers.tiff.single_plane import PlaneReader  # noqa: PLC0415  only some pages need it

            made: TiffReader = PlaneReader(self.path, page, sample=plane.sample if is_apart else 0, before=plane.before)
        else:
            made = TiffReader(self.path, page)
        made.lenient = self.lenient
        # libtiff repeats the warnings about one page's directory while others are decoded.
        made.share_remarks(self)
        return made

    def _page_of(self, file: BinaryIO, plane: Plane) -> int | None:
        """Return the page of a directory, whose number counts masks, too; None if there is none."""
        if plane.directory < 0:
            return self.page
        found = enumerate(islice(tiff.pages(file), plane.directory + 1))
        return next((page for page, place in found if place.number == plane.directory and place.sub is None), None)

    def _require_alike(self, file: BinaryIO, directory: tiff.Directory) -> None:
        """Raise StageError("image_corrupt") if a channel's page differs from the main one in size or samples."""
        main = self._at.directory(file, self.page)
        tags = (tiff.Tag.WIDTH, tiff.Tag.HEIGHT, tiff.Tag.SAMPLES, tiff.Tag.PHOTOMETRIC)
        if main is None or any(main.value(tag, 1) != directory.value(tag, 1) for tag in tags):
            raise damaged("its channels have different sizes")

    def prepare(self) -> None:
        """As Reader.prepare."""
        super().prepare()
        from tiler.decode.readers.tiff import single_plane  # noqa: F401, PLC0415  before the process is confined

    @property
    def _readers(self) -> list[Reader]:
        """The readers of the layers, each once; none before the layers are known."""
        return readers_of(self.__dict__.get("_layers", ()))

    def memory(self, tile_size: int) -> int:
        """As Reader.memory: that of all layers together."""
        if not self._layers:
            return super().memory(tile_size)
        return BASE_MEMORY + sum(reader.memory(tile_size) - BASE_MEMORY for reader in self._readers)

    def work(self, tile_size: int) -> budget.Work:
        """As Reader.work: that of all layers together."""
        if not self._layers:
            return super().work(tile_size)
        return budget.Work(sum(reader.work(tile_size).pixels for reader in self._readers))

    def require_sound_data(self) -> None:
        """As Reader.require_sound_data."""
        if not self._layers:
            super().require_sound_data()
        for reader in self._readers:
            reader.require_sound_data()

    def salvage(self, reason: str) -> bool:
        """As Reader.salvage: what is lost in one channel counts as lost."""
        if not self._layers:
            return super().salvage(reason)
        lost = [reader.missing for reader in self._readers if reader.salvage(reason) and reader.missing]
        if not lost:
            return False
        if len(lost) > 1 and reduce(or_, [missing.mask() for missing in lost]).min():
            return False
        # Of a channel that is whole, nothing is said.
        lost = [missing for missing in lost if missing.mask().max()] or lost[:1]
        what = ", and in another channel ".join(missing.what for missing in lost if missing.what)
        self.missing = Missing(what, reason, lambda: reduce(or_, [missing.mask() for missing in lost]))
        return True

    def overlook(self, error: Exception) -> bool:
        """As Reader.overlook."""
        found = super().overlook(error)
        for reader in self._readers:
            reader.lenient = self.lenient
        return found

    def cause(self, error: Exception) -> Exception:
        """As Reader.cause: of any layer."""
        causes = (reader.cause(error) for reader in self._readers)
        found = next((cause for cause in causes if not isinstance(cause, pyvips.Error)), None)
        return found or super().cause(error)

    @property
    def is_quiet(self) -> bool:
        """As Reader.is_quiet."""
        return any(reader.is_quiet for reader in self._readers) or (not self._layers and super().is_quiet)

    def stated_range(self) -> tuple[float, float] | None:
        """As Reader.stated_range: also by the bits that OME-XML calls significant."""
        if (found := super().stated_range()) is not None:
            return found
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._at.directory(file, self.page):
                return significant_bits(directory, self.stack)
        return None

    def display_range(self) -> tuple[float, float] | None:
        """As Reader.display_range: ImageJ's, of the page's channel."""
        if self.stack is None:
            return None
        with self.path.open("rb") as file, suppress(struct.error):
            if place := self._at.place(file, self.page):
                channel = self.stack.channel(place.number)
                return None if channel is None else self.stack.channels[channel].display
        return None

    def _missing(self, words: Words) -> str | None:
        said = (reader.missing_by(words) for reader in self._readers if isinstance(reader, TiffReader))
        return next((text for text in said if text is not None), None) or super()._missing(words)

    def _choice(self) -> list[Warned]:
        stack = self.stack
        if not self._layers or stack is None or not self.is_composed:
            lacks = stack is not None and self._asked_page is None and _other_files(stack)
            alone = [Warned("channels_chosen", f"A single page of a set of files is shown.{lacks}")] if lacks else []
            return [*super()._choice(), *alone]
        z, t = self.position
        at = list(_places(z, stack.z, t, stack.t))
        shown = [layer.number for layer in self._layers]
        others = [number for number in range(len(stack.channels)) if number not in shown]
        if self.channels or not (others or at or stack.elsewhere):
            return []
        where = f" at {' and '.join(at)}" if at else ""
        message = f"The channels {_listed(stack, shown)} are shown{where}."
        here = [number for number in others if self._plane(stack, number)]
        if here:
            message += f" Choose others by `channels`: {_listed(stack, here)}."
        message += _other_files(stack)
        if at:
            message += " Choose z and t by `channels` together with `page`, the number of any page there."
        return [Warned("channels_chosen", message)]


def _listed(stack: Stack, numbers: list[int]) -> str:
    more = f" and {len(numbers) - MOST_LISTED:,} more" if len(numbers) > MOST_LISTED else ""
    return ", ".join(stack.named(number) for number in numbers[:MOST_LISTED]) + more


def _other_files(stack: Stack) -> str:
    """Return a sentence about the planes of a stack that are in other files; empty if there are none."""
    if not stack.elsewhere:
        return ""
    files = [file for file in dict.fromkeys(stack.elsewhere.values()) if file]
    more = f" and {len(files) - MOST_LISTED:,} more" if len(files) > MOST_LISTED else ""
    named = f" ({', '.join(files[:MOST_LISTED])}{more})" if files else ""
    count = len(stack.elsewhere)
    planes = "1 plane is" if count == 1 else f"{count:,} planes are"
    return f" {planes} not in this file, but in others of its set{named}: submit those."


def _places(z: int, z_size: int, t: int, t_size: int) -> Iterator[str]:
    if z_size > 1:
        yield f"z {z:,} of {z_size:,}"
    if t_size > 1:
        yield f"t {t:,} of {t_size:,}"


def _table(channel: Channel, colour: tuple[int, int, int]) -> bytes:
    """Return the lookup table of a channel that keeps the colour that its file states."""
    return channel.table if channel.colour == colour else b""
