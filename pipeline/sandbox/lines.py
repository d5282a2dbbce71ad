"""What a confined child and its parent say to each other, as lines: one JSON object each, its key the kind.

A child may have been taken over by the file that it reads: a line is held to the types of its kind, so that whoever
hears it need only ask whether the values can be true. Imports the standard library only, see pipeline.sandbox.child.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

MOST_NUMBER = (1 << 63) - 1
"""What a number of either sign may be: nothing here counts more, and no field that it is handed on in holds more."""

T = TypeVar("T", bound=NamedTuple)


class Codec(Generic[T]):
    """Lines that say one of several named tuples.

    Parameters
    ----------
    what: the lines are, for errors.
    kinds: by the name that a line has for them. Their fields are str, bool, int, float, an optional one of these, or a
        tuple of any number of them.
    """

    def __init__(self, what: str, kinds: Mapping[str, type[T]]) -> None:
        self._what = what
        self._kinds: dict[str, tuple[Callable[..., T], dict[str, Any]]] = {
            name: (kind, get_type_hints(kind)) for name, kind in kinds.items()
        }
        self._names = {kind: name for name, kind in kinds.items()}

    def encode(self, said: T) -> bytes:
        """Give the line, its newline included."""
        return json.dumps({self._names[type(said)]: said._asdict()}).encode() + b"\n"

    def decode(self, line: bytes) -> T:
        """Give what a line of `encode` says.

        Raises
        ------
        ValueError: where the line is none, whatever else it is: cut off, of another shape, a number that is not finite
            or beyond MOST_NUMBER, a truth for a number. Texts may hold halves of characters: pipeline.texts.is_unicode.
        """
        try:
            ((name, values),) = json.loads(line).items()
            kind, types = self._kinds[name]
            said = kind(**values)
            return kind(*(_typed(value, types[field]) for field, value in said._asdict().items()))
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"not a {self._what}: {line[:200]!r}") from error


def _typed(value: Any, wanted: Any) -> Any:
    """Give a value as the type that is wanted. Raises TypeError, ValueError or OverflowError where it is none."""
    if type(None) in get_args(wanted):
        (inner,) = (one for one in get_args(wanted) if one is not type(None))
        return None if value is None else _typed(value, inner)
    if get_origin(wanted) is tuple:
        if not isinstance(value, list | tuple):  # a default is a tuple already
            raise TypeError(f"a {type(value).__name__}, and no list")
        return tuple(_typed(one, get_args(wanted)[0]) for one in value)
    if wanted is float and type(value) is int:
        value = float(value)
    # No isinstance: True is an int, too.
    if type(value) is not wanted:
        raise TypeError(f"a {type(value).__name__}, and no {wanted.__name__}")
    if wanted in (int, float) and not (math.isfinite(value) and abs(value) <= MOST_NUMBER):
        raise ValueError("a number that is not finite, or too large")
    return value
