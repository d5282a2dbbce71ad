"""Texts as both databases hold them: PostgreSQL's text has no U+0000, and refuses a row for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from statussvc.rpc.malformed import Malformed

NUL = "\0"

MOST_LISTED = 2000
"""Entries of a list in a request: the longest that any caller has use for takes 500."""


def refuse_long_lists(request: Message) -> None:
    """Pass a request of which no list is longer than anyone needs: whoever looks at its entries holds up all others.

    Raises Malformed with the field's name.
    """
    for field, value in request.ListFields():
        if field.is_repeated and len(value) > MOST_LISTED:
            name = f"{request.DESCRIPTOR.name}.{field.name}"
            raise Malformed(f"{name}: has {len(value):,} entries; at most {MOST_LISTED:,} are taken")


def refuse_nul(request: Message) -> None:
    """Pass a user's request whose texts can all be stored, or looked for.

    Raises Malformed with the field's name.
    """
    for owner, name, value in _texts(request):
        if any(NUL in text for text in _each(value)):
            raise Malformed(f"{owner.DESCRIPTOR.name}.{name}: must not contain the character U+0000")


def drop_nul(request: Message) -> None:
    """Make a worker's request storable: what a stranger's server or file said must not cost the run its outcome."""
    for owner, name, value in list(_texts(request)):
        if not any(NUL in text for text in _each(value)):
            continue
        if isinstance(value, str):
            setattr(owner, name, value.replace(NUL, ""))
        else:
            value[:] = [text.replace(NUL, "") for text in value]


def _texts(message: Message) -> Iterator[tuple[Message, str, Any]]:
    """Each text of a message and of those within it: its owner, its field's name, and the text or the list of them."""
    for field, value in message.ListFields():
        if field.cpp_type == field.CPPTYPE_MESSAGE:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _texts(inner)
        elif field.type == field.TYPE_STRING:
            yield message, field.name, value


def _each(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value
