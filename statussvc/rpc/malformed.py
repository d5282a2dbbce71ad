"""The error of requests that break the rules of status.proto."""

from __future__ import annotations


class Malformed(Exception):
    """Raised when a request is invalid. Its argument is a sentence that begins with the field's name.

    Not a ValueError: bugs in this service raise those too, and must not be blamed on the caller.
    """
