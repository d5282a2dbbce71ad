"""The one error of requests that break the rules of status.proto."""

from __future__ import annotations


class Malformed(Exception):
    """Raised when a request cannot be meant; its argument is a sentence that begins with the field's name.

    No ValueError: those are also raised by what is wrong inside the service, of which no caller is to blame.
    """
