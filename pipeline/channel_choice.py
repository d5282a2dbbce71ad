"""Which channels of a stack are shown, and in which colours: the option `channels`. See docs/decisions/0027."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.errors import StageError

MOST = 3
"""Most channels that are composed."""

MOST_TEXT = 100
"""Most characters of a channel's number or name."""

MOST_LISTED = 20
"""Most channels that an error's message lists."""

Colour = tuple[int, int, int]

COLOUR = re.compile("#[0-9a-f]{6}")
"""What `hexadecimal` returns."""

_NEGATIVE = re.compile("-[0-9]+")

WHITE, BLACK = (255, 255, 255), (0, 0, 0)

TABLE: dict[int, tuple[Colour, ...]] = {
    1: (WHITE,),
    2: ((0, 255, 0), (255, 0, 255)),
    3: ((255, 0, 0), (0, 255, 0), (0, 0, 255)),
}
"""Colours of channels without a stated one, by the number of channels."""


def parse(asked: str | int | Sequence[str | int]) -> tuple[str, ...]:
    """Return the channels that are asked for, each a number from 0 or a name; none for an empty text or list.

    Parameters
    ----------
    asked: one channel, or several in a list, or in a text with commas between them.

    Raises
    ------
    ValueError: with a sentence for people.
    """
    parts = asked.split(",") if isinstance(asked, str) else [asked] if isinstance(asked, int) else asked
    found = tuple(text for part in parts if (text := str(part).strip()))
    if len(found) > MOST:
        raise ValueError(f"At most {MOST} channels are shown together.")
    if len(set(found)) < len(found):
        raise ValueError("Each channel is given once.")
    if any(len(text) > MOST_TEXT or not text.isprintable() or _NEGATIVE.fullmatch(text) for text in found):
        raise ValueError(f"A channel is a number from 0, or a name of at most {MOST_TEXT} characters.")
    return found


def choose(names: Sequence[str], asked: Sequence[str]) -> list[int]:
    """Return the numbers of channels, from 0.

    Parameters
    ----------
    names: of all channels; empty where one has none.
    asked: as `parse` returns them. The number of a channel that exists is a number, all else is a name.

    Raises
    ------
    StageError: channel_not_found, which lists the channels that exist.
    """
    found = []
    for text in asked:
        if (number := _number(names, text)) is None:
            raise StageError("channel_not_found", f'The image has no channel "{text}". {listed(names)}')
        found.append(number)
    if len(set(found)) < len(found):
        raise StageError("channel_not_found", f"A channel is given twice, by its number and its name. {listed(names)}")
    return found


def _number(names: Sequence[str], text: str) -> int | None:
    if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < len(names):
        return int(text)
    exact = [number for number, name in enumerate(names) if name == text]
    alike = exact or [number for number, name in enumerate(names) if name and name.casefold() == text.casefold()]
    return alike[0] if alike else None


def listed(names: Sequence[str]) -> str:
    """Return a sentence with the channels that exist."""
    shown = ", ".join(f"{number} {name}".strip() for number, name in enumerate(names[:MOST_LISTED]))
    more = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
    return f"It has {'one channel' if len(names) == 1 else f'{len(names):,} channels'}: {shown}{more}."


def colours_of(stated: Sequence[Colour | None]) -> list[Colour]:
    """Return the colours in which channels are composed.

    Parameters
    ----------
    stated: what the file says of each. Black counts as nothing, and so does a colour that all of several share.
    """
    known = [None if colour == BLACK else colour for colour in stated]
    if len(known) > 1 and len(set(known)) == 1:
        known = [None] * len(known)
    free = [colour for colour in TABLE[len(known)] if colour not in known]
    found = []
    for number, colour in enumerate(known):
        if colour is None:
            own = TABLE[len(known)][number]
            colour = own if own in free else free[0]  # noqa: PLW2901
            free.remove(colour)
        found.append(colour)
    return found


def hexadecimal(colour: Colour) -> str:
    """Return a colour as in CSS, such as "#00ff00"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
