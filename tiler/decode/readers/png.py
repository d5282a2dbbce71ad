"""Read PNG with libvips, which uses libpng, and verify the checksums of chunks that change what is shown.

If the checksum of a chunk other than the pixels is wrong, libpng leaves out the chunk, and libvips reports nothing.
Without its profile an image has other colours, and without its EXIF it may lie on its side. libpng does not read chunks
behind the pixels.

Source: Portable Network Graphics (third edition), 5.3 and 11.
"""

from __future__ import annotations

import re
import struct
import zlib
from functools import cached_property
from typing import BinaryIO, ClassVar, NamedTuple

import pyvips

from pipeline.errors import StageError
from pipeline.formats import density
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.pixel_size import PixelSize
from tiler.decode.colour_spaces import ColourSpace
from tiler.decode.limited import spread
from tiler.decode.metadata import EXIF, PROFILE, orientation_in
from tiler.decode.missing import Warned, only_rows, rows_missing, sound_rows
from tiler.decode.prefix import Prefix
from tiler.decode.reader import Reader
from tiler.decode.readers import png_colours

HARMLESS = {
    *(b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"oFFs", b"pCAL", b"sCAL", b"bKGD", b"hIST", b"sPLT", b"sBIT"),
    *(b"acTL", b"fcTL"),
}
"""Chunks that do not change the shown image: their checksums may be wrong. The checksum of a chunk of unknown type must
be right, since the damage may have changed its type."""

SKIPPED = {b"IDAT", b"fdAT"}
"""Chunks of pixels. libpng verifies those that are decoded."""

NAMED = re.compile(rb"PLTE|tRNS|iCCP|sRGB|gAMA|cHRM|cICP|eXIf|IDAT")
"""Names of other chunks. If a harmless chunk contains one, its length may have been changed by damage."""

TRANSPARENCY = "the picture's transparency (tRNS) is unusable and was ignored"

MOST_EXIF = 1 << 20
"""Bytes kept of an EXIF behind the pixels: more than an EXIF in other formats can have."""

_KEPT = {b"eXIf", *png_colours.CHUNKS}
"""Chunks whose content is read."""

_END = b"IEND"
_SHOWING = {b"tRNS", b"iCCP", b"eXIf"}
"""Chunks that libpng leaves out if their content is broken."""

_HEADER = struct.Struct(">I4s")
_ANCILLARY = 0x20
"""The bit of a chunk's name that says that the image can be shown without it."""

_PIECE = 1 << 16
_SIGNATURE = 8
_WITHOUT_ALPHA = {0, 2, 3}
"""Colour types for which tRNS is allowed."""


class _Chunks(NamedTuple):
    """Results of the check of a PNG's chunks.

    Parameters
    ----------
    names: those of _SHOWING that are there.
    late_exif: the content of an eXIf chunk behind the pixels; empty if there is none.
    stated: the colour space that chunks before the pixels state.
    """

    names: set[bytes]
    late_exif: bytes
    stated: png_colours.Stated


class _Spoiled:
    """What `_checked` found damaged.

    Attributes
    ----------
    names: of chunks other than pixels.
    end: of the sound bytes in the file; None if all pixels are sound.
    """

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.end: int | None = None


class PngReader(Reader):
    """Reads a PNG whose checksums are right, except those of harmless chunks."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"png"})
    _rows: range | None = None
    _spoiled: tuple[bytes, ...] = ()

    def open(self, **options: int) -> pyvips.Image:
        """As Reader.open. Applies to EXIF behind the pixels, too, and to a limited range."""
        image = super().open(**options)
        if self._rows is not None:
            image = only_rows(image, self._rows)
        chunks = self._chunks
        self.notes = [TRANSPARENCY] if b"tRNS" in chunks.names and self._lacks_alpha(image) else []
        if chunks.late_exif and not image.get_typeof(EXIF):
            image = image.copy()
            image.set_type(pyvips.GValue.blob_type, EXIF, chunks.late_exif)
            image.set_type(pyvips.GValue.gint_type, "orientation", orientation_in(chunks.late_exif))
        if chunks.stated.overrides_profile and image.get_typeof(PROFILE):
            image = image.copy()
            image.remove(PROFILE)
        return spread(image) if chunks.stated.is_limited else image

    def colour_space(self) -> ColourSpace | None:
        """As Reader.colour_space."""
        return self._chunks.stated.space

    @property
    def states_colours(self) -> bool:
        """As Reader.states_colours. A chunk sRGB states them without naming another space."""
        return self._chunks.stated.is_stated

    def pixel_size(self) -> PixelSize | None:
        """As Reader.pixel_size: by the chunk pHYs."""
        with self.path.open("rb") as file:
            return density.of_png(file)

    def require_sound_data(self) -> None:
        """As Reader.require_sound_data: verifies the checksums that libpng ignores."""
        _ = self._chunks

    def salvage(self, reason: str) -> bool:
        """As Reader.salvage: keeps the rows before the first damaged piece of pixels, and leaves out other chunks."""
        with self.path.open("rb") as file:
            chunks = _checked(file, spoiled := _Spoiled())
        prefix = Prefix(self.path, spoiled.end)
        image = prefix.open(access="sequential", fail_on="error")
        good, _ = sound_rows(image)
        if not good:
            return False
        self.__dict__["_chunks"] = chunks
        self._spoiled = tuple(spoiled.names)
        self._rows = range(good)
        self.missing = rows_missing(self._rows, image.width, image.height, reason)
        return True

    def remarks(self) -> list[Warned]:
        """As Reader.remarks."""
        names = " and ".join(sorted({name.decode() for name in self._spoiled}))
        ignored = [Warned("metadata_ignored", f"The PNG's {names} is damaged and was ignored.")] if names else []
        return [*ignored, *super().remarks()]

    def shown_by(self) -> frozenset[str]:
        """As Reader.shown_by."""
        found = {b"eXIf": EXIF} if self._chunks.stated.overrides_profile else {b"iCCP": PROFILE, b"eXIf": EXIF}
        return frozenset(found[name] for name in found.keys() & self._chunks.names)

    @cached_property
    def _chunks(self) -> _Chunks:
        with self.path.open("rb") as file:
            return _checked(file)

    def _lacks_alpha(self, image: pyvips.Image) -> bool:
        with self.path.open("rb") as file:
            file.seek(25)
            return not image.hasalpha() and ord(file.read(1)) in _WITHOUT_ALPHA


def _checked(file: BinaryIO, spoiled: _Spoiled | None = None) -> _Chunks:
    """Verify the checksums of an open PNG, a piece at a time.

    Parameters
    ----------
    spoiled: receives what is damaged, of pixels too, up to the first damaged pixels. Without it, damage raises.

    Raises
    ------
    StageError: image_corrupt, or image_truncated if the file ends within a chunk.
    """
    names: set[bytes] = set()
    late_exif = b""
    colours: dict[bytes, bytes] = {}
    has_pixels = False
    file.seek(_SIGNATURE)
    while len(head := file.read(_HEADER.size)) == _HEADER.size:
        length, name = _HEADER.unpack(head)
        if name == _END:
            break
        if spoiled and not (name.isalpha() and _is_sound(file, name, length, spoiled)):
            break
        if not name.isalpha():
            raise damaged("a chunk does not begin where the one before it ends")
        if name in SKIPPED:
            has_pixels = has_pixels or name == b"IDAT"
            file.seek(length + 4, 1)
            continue
        if spoiled and spoiled.names[-1:] == [name]:
            file.seek(length + 4, 1)
            continue
        body = _verified(file, name, length)
        if name in _SHOWING:
            names.add(name)
        if name == b"eXIf" and has_pixels:
            late_exif = late_exif or body
        if name in png_colours.CHUNKS and not has_pixels:
            colours.setdefault(name, body)
    return _Chunks(names, late_exif, png_colours.stated_by(colours))


def _is_sound(file: BinaryIO, name: bytes, length: int, spoiled: _Spoiled) -> bool:
    """Verify a chunk, and go back to its content. Return False if the pixels end before it, or with it.

    Raises StageError if the chunk is damaged, and there is no image without it.
    """
    start = file.tell()
    try:
        _verified(file, name, length)
    except StageError as error:
        if error.code == "image_truncated":
            return False
        if name in SKIPPED:
            spoiled.end = start - _HEADER.size
            return False
        if not name[0] & _ANCILLARY:
            raise
        spoiled.names.append(name)
    file.seek(start)
    return True


def _verified(file: BinaryIO, name: bytes, length: int) -> bytes:
    """Verify a chunk and return the beginning of its content; raises as `_checked`."""
    found = zlib.crc32(name)
    kept, before = b"", b""
    is_suspect = False
    left = length
    while left:
        piece = file.read(min(_PIECE, left))
        if not piece:
            raise StageError("image_truncated", CUT_SHORT)
        found = zlib.crc32(piece, found)
        if name in _KEPT and len(kept) < MOST_EXIF:
            kept += piece
        # A name may begin in one piece and end in the next.
        is_suspect = is_suspect or bool(NAMED.search(before + piece))
        before = piece[-3:]
        left -= len(piece)
    stored = file.read(4)
    if len(stored) < 4:
        raise StageError("image_truncated", CUT_SHORT)
    if int.from_bytes(stored, "big") != found and (is_suspect or name not in HARMLESS):
        raise damaged(f"the checksum of its {name.decode()} chunk is wrong")
    return kept
