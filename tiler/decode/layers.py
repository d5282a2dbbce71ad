"""The channels of a stack that are composed: see tiler.decode.composition and docs/decisions/0027."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tiler.decode.reader import Reader


class Layer(NamedTuple):
    """A channel, and where its samples are read.

    Parameters
    ----------
    reader: of its page. Several channels may share one.
    band: of that page, from 0.
    number: of the channel, from 0.
    name: empty if it has none.
    colour: red, green and blue, 0 to 255.
    table: a lookup table in place of the colour, 256 reds, greens and blues; empty if there is none.
    display: the samples that its writer showed as black and as full colour; None if not stated.
    stated: the least and the greatest sample that the file states; None if it does not.
    """

    reader: Reader
    band: int
    number: int
    name: str
    colour: tuple[int, int, int]
    table: bytes = b""
    display: tuple[float, float] | None = None
    stated: tuple[float, float] | None = None


def readers_of(layers: tuple[Layer, ...]) -> list[Reader]:
    """Return the readers of some layers, each once."""
    return list({id(layer.reader): layer.reader for layer in layers}.values())
