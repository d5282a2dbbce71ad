"""Lines that a confined child and its parent exchange: each is a JSON object whose single key names its kind.

A malicious file may have compromised the child, so the types of all values in a line are checked. The receiver only has
to check whether the values are plausible. Imports the standard library only: see pipeline.sandbox.child.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

MOST_NUMBER = (1 << 63) - 1
"""Largest absolute value of an integer: nothing counted here exceeds it, and it fits all fields that receive it.
A float may be any finite number, as samples of images are."""

T = TypeVar("T", bound=NamedTuple)


class Codec(Generic[T]):
    """Encodes and decodes named tuples of several kinds as lines.

    Parameters
    ----------
    what: word for a line in errors, such as "report".
    kinds: the named tuples by their name in a line. Their fields are str, bool, int, float, one of these or None, or a
        tuple of any number of one of these.
    """

    def __init__(self, what: str, kinds: Mapping[str, type[T]]) -> None:
        self._what = what
        self._kinds: dict[str, tuple[Callable[..., T], dict[str, Any]]] = {
            name: (kind, get_type_hints(kind)) for name, kind in kinds.items()
        }
        self._names = {kind: name for name, kind in kinds.items()}

    def encode(self, said: T) -> bytes:
        """Return the line, including its newline."""
        return json.dumps({self._names[type(said)]: said._asdict()}).encode() + b"\n"

    def decode(self, line: bytes) -> T:
        """Return the named tuple of a line.

        Texts may contain unpaired surrogates: see pipeline.texts.is_unicode.

        Raises
        ------
        ValueError: if the line is invalid, for instance cut off, of another structure, with a number that is not
            finite, an integer that exceeds MOST_NUMBER, or a boolean in place of a number.
        """
        try:
            ((name, values),) = json.loads(line).items()
            kind, types = self._kinds[name]
            said = kind(**values)
            return kind(*(_typed(value, types[field]) for field, value in said._asdict().items()))
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"not a {self._what}: {line[:200]!r}") from error


def _typed(value: Any, wanted: Any) -> Any:
    """Return a value as the wanted type. Raises TypeError, ValueError or OverflowError if it is of another type."""
    if type(None) in get_args(wanted):
        (inner,) = (one for one in get_args(wanted) if one is not type(None))
        return None if value is None else _typed(value, inner)
    if get_origin(wanted) is tuple:
        if not isinstance(value, list | tuple):  # a default is a tuple already
            raise TypeError(f"a {type(value).__name__}, not a list")
        return tuple(_typed(one, get_args(wanted)[0]) for one in value)
    if wanted is float and type(value) is int:
        value = float(value)
    # isinstance would accept True as an int.
    if type(value) is not wanted:
        raise TypeError(f"a {type(value).__name__}, not a {wanted.__name__}")
    if (wanted is float and not math.isfinite(value)) or (wanted is int and abs(value) > MOST_NUMBER):
        raise ValueError("a number that is not finite, or too large")
    return value
