"""The colour space that the chunks of a PNG state.

cICP overrides iCCP, iCCP overrides sRGB, and sRGB overrides gAMA and cHRM.
Source: Portable Network Graphics (third edition), 4.3 and 11.3.2.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from tiler.decode.colour_spaces import SRGB, SRGB_CURVE, ColourSpace, Curve, Primaries, by_cicp, is_possible, of_gamma

CHUNKS = {b"cICP", b"sRGB", b"gAMA", b"cHRM"}
"""The chunks that `stated_by` reads."""

_UNIT = 100_000
_GAMMAS = range(16, 625_000_001)
"""Values of gAMA that libpng accepts."""

_USUAL, _NEAR = 1 / 2.2, 0.05
"""The gamma that programs write when they mean sRGB, and the share by which libpng lets one differ unnoticed."""

_SAME = 0.005
"""Most by which a coordinate may differ of primaries that are meant to be sRGB's."""

_UNSPECIFIED = 2


class Stated(NamedTuple):
    """What the chunks of a PNG state.

    Parameters
    ----------
    space: None if they state none.
    is_limited: whether the samples have a limited range.
    overrides_profile: whether an embedded profile does not count.
    is_stated: whether they state the colours, be it sRGB.
    """

    space: ColourSpace | None = None
    is_limited: bool = False
    overrides_profile: bool = False
    is_stated: bool = True


def stated_by(chunks: Mapping[bytes, bytes]) -> Stated:
    """Return what the chunks state; `chunks` has the content of each of CHUNKS that lies before the pixels."""
    if b"cICP" in chunks:
        return _by_cicp(chunks[b"cICP"])
    if b"sRGB" in chunks or not chunks:
        return Stated(is_stated=bool(chunks))
    name = f"colours stated by {' and '.join(sorted(each.decode() for each in chunks))}"
    try:
        primaries = _primaries(chunks[b"cHRM"]) if b"cHRM" in chunks else SRGB
        curve = _curve(chunks[b"gAMA"], primaries) if b"gAMA" in chunks else SRGB_CURVE
    except (struct.error, ValueError):
        return Stated(ColourSpace(name, None, None))
    return Stated(ColourSpace(name, primaries, curve))


def _by_cicp(chunk: bytes) -> Stated:
    if len(chunk) != 4 or chunk[2] != 0 or chunk[3] > 1:
        return Stated(ColourSpace("an invalid cICP", None, None))
    primaries, transfer, _, is_full_range = chunk
    if primaries == transfer == _UNSPECIFIED:
        return Stated(None, not is_full_range)
    space = by_cicp(primaries, transfer)
    return Stated(space, not is_full_range, space.primaries is not None and space.curve is not None)


def _primaries(chunk: bytes) -> Primaries:
    values = [value / _UNIT for value in struct.unpack(">8I", chunk)]
    white, red, green, blue = zip(values[::2], values[1::2], strict=True)
    found = Primaries(red, green, blue, white)
    if not is_possible(found):
        raise ValueError(found)
    return found


def _curve(chunk: bytes, primaries: Primaries) -> Curve:
    (value,) = struct.unpack(">I", chunk)
    if value not in _GAMMAS:
        raise ValueError(value)
    gamma = value / _UNIT
    if abs(gamma / _USUAL - 1) <= _NEAR and _is_srgb(primaries):
        return SRGB_CURVE
    return of_gamma(1 / gamma)


def _is_srgb(primaries: Primaries) -> bool:
    pairs = zip(primaries, SRGB, strict=True)
    return all(abs(a - b) <= _SAME for found, known in pairs for a, b in zip(found, known, strict=True))
