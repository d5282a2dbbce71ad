"""Check metadata that changes what is shown: colour profiles and EXIF's orientation. Pure functions.

Decoders leave out such metadata without a warning if it is broken. Unless a checksum shows that the file is damaged,
the image is shown without it, as in browsers, and pyramid.json mentions it.

Sources: ICC.1:2022, 7.2 and 7.3; Exif 3.0, 4.5.
"""

from __future__ import annotations

import io
import re
import struct

from pipeline.formats import tiff

PROFILE = "icc-profile-data"
EXIF = "exif-data"

UNUSABLE = {
    PROFILE: "the picture's colour profile is unusable and was ignored",
    EXIF: "the picture's EXIF is unusable and was ignored",
}
"""The text for pyramid.json by libvips' name of the metadata."""

IGNORED = re.compile("^(corrupt|unsupported) profile|^profile (incompatible|does not support)")
"""libvips' warnings when it converts colours as if the image had no profile."""

_LEFT_OUT = re.compile("is unusable and was ignored$|is not supported and was taken as sRGB$")
"""Ends of the texts for pyramid.json that say that metadata was ignored."""

_PROFILE_HEADER, _TAG = 128, struct.Struct(">4xII")
_CICP = 12
"""Bytes of a profile's tag that has code points: its type, four zeros, and the code points (ICC.1:2022, 10.3)."""

_EXIF_HEAD = b"Exif\0\0"
_UPRIGHT = 1


def is_whole_profile(profile: bytes) -> bool:
    """Return whether a profile has all the bytes to which its header and its table of tags refer."""
    tags = _PROFILE_HEADER + 4
    if len(profile) < tags:
        return False
    (length,), (count,) = struct.unpack_from(">I", profile), struct.unpack_from(">I", profile, _PROFILE_HEADER)
    if max(length, tags + count * _TAG.size) > len(profile):
        return False
    places = _TAG.iter_unpack(profile[tags : tags + count * _TAG.size])
    return all(offset + size <= len(profile) for offset, size in places)


def is_ignored(text: str) -> bool:
    """Return whether a text for pyramid.json says that metadata that would change the shown image was ignored."""
    return bool(_LEFT_OUT.search(text))


def cicp_in(profile: bytes) -> tuple[int, int] | None:
    """Return the code points of primaries and transfer that a whole profile is marked with; None if it is not."""
    (count,) = struct.unpack_from(">I", profile, _PROFILE_HEADER)
    for number in range(count):
        name, offset, size = struct.unpack_from(">4sII", profile, _PROFILE_HEADER + 4 + number * _TAG.size)
        if name == b"cicp" and size >= _CICP and profile[offset : offset + 4] == name:
            return profile[offset + 8], profile[offset + 9]
    return None


def is_readable_exif(exif: bytes) -> bool:
    """Return whether EXIF's first directory, which has the orientation, can be read."""
    return _directory(exif) is not None


def orientation_in(exif: bytes) -> int:
    """Return the orientation in an image's EXIF, 1 to 8; 1 (upright) if there is none."""
    directory = _directory(exif)
    value = directory.value(tiff.Tag.ORIENTATION, _UPRIGHT) if directory else _UPRIGHT
    return value if _UPRIGHT <= value <= 8 else _UPRIGHT


def _directory(exif: bytes) -> tiff.Directory | None:
    exif = exif.removeprefix(_EXIF_HEAD)
    if exif[:4] not in {b"II*\0", b"MM\0*"}:
        return None
    try:
        return tiff.find(io.BytesIO(exif), 0)
    except struct.error:
        return None
