"""Check that both databases can store a request's texts: PostgreSQL refuses texts with the character U+0000."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from statussvc.rpc.malformed import Malformed

NUL = "\0"

MOST_LISTED = 2000
"""Entries of a list in a request. Callers of this project send 500 at most."""


def refuse_long_lists(request: Message) -> None:
    """Refuse a request with a very long list: while its entries are checked, all other calls wait.

    Raises Malformed, which names the field.
    """
    for field, value in request.ListFields():
        if field.is_repeated and len(value) > MOST_LISTED:
            name = f"{request.DESCRIPTOR.name}.{field.name}"
            raise Malformed(f"{name}: has {len(value):,} entries; at most {MOST_LISTED:,} are allowed")


def refuse_nul(request: Message) -> None:
    """Refuse a user's request with a text that cannot be stored or searched for.

    Raises Malformed, which names the field.
    """
    for owner, name, value in _texts(request):
        if any(NUL in text for text in _each(value)):
            raise Malformed(f"{owner.DESCRIPTOR.name}.{name}: must not contain the character U+0000")


def drop_nul(request: Message) -> None:
    """Remove U+0000 from a worker's request: text of an untrusted server or file must not cost the run its outcome."""
    for owner, name, value in list(_texts(request)):
        if not any(NUL in text for text in _each(value)):
            continue
        if isinstance(value, str):
            setattr(owner, name, value.replace(NUL, ""))
        else:
            value[:] = [text.replace(NUL, "") for text in value]


def _texts(message: Message) -> Iterator[tuple[Message, str, Any]]:
    """Every text in a message and its sub-messages: the message, the field's name, and the text or list of texts."""
    for field, value in message.ListFields():
        if field.cpp_type == field.CPPTYPE_MESSAGE:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _texts(inner)
        elif field.type == field.TYPE_STRING:
            yield message, field.name, value


def _each(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value
