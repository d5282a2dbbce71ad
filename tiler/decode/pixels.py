"""Open a source as an upright, 8-bit sRGB image with or without alpha, streaming where possible.

An image that already is upright, 8-bit sRGB keeps the pixels that its decoder returns. Every change of the pixels is
described in words for pyramid.json.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

import pyvips

from pipeline.errors import MOST_WARNINGS, StageError
from pipeline.formats import budget
from pipeline.formats.header import Header, pixel_bytes
from pipeline.formats.side_files import NONE_BESIDE, SideFiles, combined
from pipeline.georeference import Georeference, sane, stored_by_upright
from pipeline.georeference import turned as turned_to
from pipeline.pixel_size import PixelSize
from pipeline.pyramids import Format
from pipeline.stretch import DEFAULT, Stretch
from tiler.decode.colours import to_srgb
from tiler.decode.composition import Composed, Opened, compose
from tiler.decode.layers import Layer, readers_of
from tiler.decode.libvips_texts import field_names
from tiler.decode.metadata import EXIF, UNUSABLE, is_ignored, is_readable_exif
from tiler.decode.missing import ON_WHITE, Missing, Warned, marked
from tiler.decode.reader import Reader
from tiler.decode.samples import Shown
from tiler.decode.sampling import sample_of
from tiler.image_progress import PASS_SHARE, follow
from tiler.progress import Meter

ORIENTATION = "orientation"
UPRIGHT = 1
MIRRORED = 2
"""The only EXIF orientation besides upright that streams: it reverses each row."""

TURNED = 5
"""The least of the orientations that swap width and height."""

_UNSAID = (struct.error, ValueError, ArithmeticError, LookupError, OSError, StageError)
"""What is raised if a file says nothing usable about scale or place."""

_CARRIED = (
    b"icc-profile-data",
    b"exif-",
    b"xmp-",
    b"iptc-",
    b"photoshop-",
    b"png-comment-",
    b"gainmap",
    ORIENTATION.encode(),
)
"""Metadata removed before tiling: it may contain a place or a name, and no longer describes the pixels."""


@dataclass(slots=True)
class Picture:
    """A source that is ready to be tiled.

    Parameters
    ----------
    image: upright, 8-bit sRGB, 3 bands or 4 with alpha. It can be read once, from top to bottom.
    format: of the tiles.
    source: properties of the file: format, size in pixels, pages and page, bands, sample type, colour space.
    heeded: context manager that has to surround the call that decodes the image: see tiler.decode.reader.Reader.heeded.
    decisions: changes made to the pixels, in words; empty if there are none.
    missing: what could not be decoded of a damaged source; None if it was decoded as a whole.
    remarks: returns what else is to know, once the image was decoded: see tiler.decode.reader.Reader.remarks.
    shown: how its samples were mapped to 8 bits; None if they are colours as they are stored, or channels.
    channels: the channels that it is composed of, and how the samples of each were mapped to 8 bits.
    pixel_size: how large a pixel of the upright image is; None if the file does not say it.
    georeference: where the upright image lies on Earth; None if neither the file nor one beside it says it.
    """

    image: pyvips.Image
    format: Format
    source: dict[str, str | int]
    heeded: Callable[..., AbstractContextManager[None]]
    decisions: list[str] = field(default_factory=list)
    missing: Missing | None = None
    remarks: Callable[[], list[Warned]] = list
    shown: Shown | None = None
    channels: list[tuple[Layer, Shown]] = field(default_factory=list)
    pixel_size: PixelSize | None = None
    georeference: Georeference | None = None

    def warnings(self) -> list[Warned]:
        """Return what is to know about the image. Must be called after it was decoded."""
        lost = [self.missing.warning(self.format)] if self.missing and self.missing.what else []
        ignored = [f"{text[0].upper()}{text[1:]}." for text in self.decisions if is_ignored(text)]
        found = (*lost, *(Warned("metadata_ignored", text) for text in ignored), *self.remarks())
        return list(dict.fromkeys(warned.short() for warned in found))[:MOST_WARNINGS]


def open_picture(
    reader: Reader,
    *,
    meter: Meter,
    tile_format: Format | None = None,
    stretch: Stretch = DEFAULT,
    beside: SideFiles = NONE_BESIDE,
) -> Picture:
    """Open a page of a stored source.

    Nothing is decoded unless an extra pass is needed: to rotate, to find the range of the samples, or to find damage.

    Parameters
    ----------
    meter: receives the progress of extra passes.
    tile_format: of the tiles. Default: PNG for an image with transparency, else JPEG.
    stretch: how samples become 8 bits.
    beside: the small files beside the source.

    Raises
    ------
    StageError: page_not_found, unsupported_format, image_corrupt.
    pyvips.Error: if the file cannot be opened, or an extra pass cannot decode it.
    """
    header = reader.header()
    if reader.missing is None:
        reader.require_sound_data()
    layers = reader.layers()
    if layers:
        stored, composed, decisions = _open_layers(layers, stretch, meter)
        image, hidden = composed.image, composed.hidden
        shown = None if reader.is_composed else composed.shown[0]
        channels = list(zip(layers, composed.shown, strict=True)) if reader.is_composed else []
    else:
        stored = reader.open()
        decisions, hidden, channels = list(reader.notes), reader.hidden, []
        image, shown = to_srgb(stored, reader, stretch, decisions, lambda: sample_of(reader, stretch, meter))
    image = drop_metadata(with_hidden(image, hidden))
    decisions.extend([] if layers else _left_out(stored, reader))
    if reader.missing is not None and reader.missing.what:
        image = marked(image, reader.missing, tile_format, decisions)
    if (orientation := orientation_of(stored)) != UPRIGHT:
        image = _turn(image, reader, orientation, meter)
        decisions.append(f"EXIF orientation {orientation} applied")
    if tile_format is Format.JPEG and image.hasalpha():
        image = image.flatten(background=255)
        decisions.append(ON_WHITE)
    chosen = tile_format or (Format.PNG if image.hasalpha() else Format.JPEG)
    if chosen is not Format.JPEG and reader.is_quiet:
        _hear_out(reader, meter)
    samples = (layers[0].reader if layers else reader).samples
    described = _describe(stored, header, reader.number, samples)
    return Picture(
        *(image, chosen, described, reader.heeded, decisions, reader.missing, reader.remarks, shown, channels),
        pixel_size=_pixel_size(reader, orientation),
        georeference=_georeference(reader, orientation, stored.width, stored.height, beside),
    )


def _pixel_size(reader: Reader, orientation: int) -> PixelSize | None:
    """Return how large a pixel of the upright image is. Nothing that a file says of it makes the image fail."""
    with suppress(*_UNSAID):
        size = reader.pixel_size()
        return size.turned() if size and orientation >= TURNED else size
    return None


def _georeference(reader: Reader, orientation: int, width: int, height: int, beside: SideFiles) -> Georeference | None:
    """Return where the upright image lies. Nothing that a file says of it makes the image fail."""
    inside: Georeference | None = None
    with suppress(*_UNSAID):
        inside = reader.georeference()
    with suppress(*_UNSAID):
        # The files beside an image are about its main picture.
        found = combined(beside, inside) if reader.page == 0 or reader.is_main else inside
        return sane(turned_to(found, stored_by_upright(orientation, width, height))) if found else None
    return None


def _open_layers(layers: tuple[Layer, ...], stretch: Stretch, meter: Meter) -> tuple[pyvips.Image, Composed, list[str]]:
    """Compose layers. Return the page of the first as it is stored, the composition, and the changes in words."""
    pages, decisions = {}, []
    for reader in readers_of(layers):
        pages[reader] = Opened(reader.open(), reader.hidden)
        decisions += reader.notes
    composed = compose(
        layers, pages, stretch, decisions, lambda layer: sample_of(layer.reader, stretch, meter, layer.band)
    )
    return pages[layers[0].reader].image, composed, list(dict.fromkeys(decisions))


def orientation_of(image: pyvips.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8. A missing or invalid orientation counts as upright."""
    value = int(image.get(ORIENTATION)) if image.get_typeof(ORIENTATION) else UPRIGHT
    return value if UPRIGHT <= value <= 8 else UPRIGHT


def turned(image: pyvips.Image, orientation: int) -> pyvips.Image:
    """Turn an image upright; its rows must be readable in any order."""
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, ORIENTATION, orientation)
    return image.autorot()


def with_hidden(image: pyvips.Image, hidden: pyvips.Image | None) -> pyvips.Image:
    """Return an sRGB image with transparency where it shows nothing: see tiler.decode.reader.Reader."""
    if hidden is None:
        return image
    shown = image.extract_band(3) if image.hasalpha() else 255
    return image.extract_band(0, n=3).bandjoin(hidden.ifthenelse(0, shown)).copy(interpretation="srgb")


def drop_metadata(image: pyvips.Image) -> pyvips.Image:
    """Remove metadata that may reveal a place or a name, and the colour profile."""
    image = image.copy()
    for name in field_names(image):
        if name.startswith(_CARRIED):
            pyvips.vips_lib.vips_image_remove(image.pointer, name)
    return image


def _left_out(stored: pyvips.Image, reader: Reader) -> Iterator[str]:
    """Yield a text for each kind of metadata that would change the shown image but could not be read."""
    for name in sorted(reader.shown_by()):
        if not stored.get_typeof(name):
            yield UNUSABLE[name]
    if stored.get_typeof(EXIF) and orientation_of(stored) == UPRIGHT and not is_readable_exif(bytes(stored.get(EXIF))):
        yield UNUSABLE[EXIF]


def _turn(image: pyvips.Image, reader: Reader, orientation: int, meter: Meter) -> pyvips.Image:
    if orientation == MIRRORED:
        return turned(image, orientation)
    budget.require_small_spool(image.width * image.height * pixel_bytes(image), reader.path.stat().st_size)
    # Rotation reads rows in any order, so the pixels go to a file below TMPDIR. libvips removes that file.
    meter.begin(PASS_SHARE)
    follow(image, meter)
    spooled = pyvips.Image.new_temp_file("%s.v")
    with reader.heeded():
        image.write(spooled)
    return turned(spooled, orientation)


def _hear_out(reader: Reader, meter: Meter) -> None:
    """Decode a source once just to find damage: libvips may lose an error while it saves tiles by suffix."""
    for each in readers_of(reader.layers()) or [reader]:
        meter.begin(PASS_SHARE)
        image = each.open().copy()
        follow(image, meter)
        with each.heeded():
            # Not its own average, which fails if that is not-a-number.
            image.cast("uchar").avg()


def _describe(image: pyvips.Image, header: Header, page: int, samples: str) -> dict[str, str | int]:
    pages = {"pages": header.pages, "page": page} if header.pages > 1 else {}
    return {
        "format": header.format,
        "width": image.width,
        "height": image.height,
        "bands": image.bands,
        "samples": samples or image.format,
        "colour_space": image.interpretation,
    } | pages
