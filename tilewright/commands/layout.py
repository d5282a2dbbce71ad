"""The ways in which a pyramid is exported: apart, since the command names them before it imports what does it."""

from __future__ import annotations

from enum import StrEnum


class Layout(StrEnum):
    """How a pyramid is laid out as files."""

    DZI = "dzi"
    XYZ = "xyz"
    SZI = "szi"
