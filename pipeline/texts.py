"""Limits and clean-up of a dataset's texts, shared by the gateway, statussvc and the workers."""

from __future__ import annotations

import re

DATASET_ID = r"custom_[0-9a-f]{8,64}"
"""Pattern of a dataset's id."""

MAX_NAME = 200
"""In characters, as all of these limits."""

MAX_DESCRIPTION = 10_000
"""A few pages of text. The catalogue contains whole descriptions, and its largest page has to fit into one message
(pipeline.channels.MAX_MESSAGE)."""

MAX_LABEL = 200
"""Most characters of a category or a subject."""

MAX_MEMBER = 1000
"""Most characters of a name in an archive."""

MAX_REFERENCE = 255
"""Most characters of a client's own id of a dataset."""

MAX_TAGS, MAX_TAG = 50, 100
"""Most tags of a dataset, and most characters of each."""

MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 50, 64, 1000
"""Most keys of a dataset's metadata, and most characters of a key and of a value."""

MAX_FILTERS = 10
"""Most tags and metadata entries that a list may be filtered by: each is a look-up for each row."""

MAX_STATEMENT = 1000
"""Most characters of the text of a statement of rights or attribution."""

MAX_QUERY = 200
"""Most characters of a search text."""

MAX_KEY = 255
"""Most characters of an Idempotency-Key."""


MAX_SENTENCE = 2000
"""Most characters of an error's message: a paragraph. It is sent with every status of its dataset."""

_NO_FIELD_VALUE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")
"""Characters that a header's value must not contain; its bytes are read as Latin-1."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters with an effect on terminals or line readers, except tab and line feed: the C0 and C1 controls, Unicode's
line separators, and controls of the writing direction."""


def visible(text: str) -> str:
    """Return an untrusted text so that a terminal can show it: controls are escaped, such as \\u001b."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def sentence(text: str, most: int = MAX_SENTENCE) -> str:
    """Return a message that may quote untrusted text so that it can be stored, sent and shown.

    Controls are escaped, unpaired surrogates become question marks, and the text is cut to `most` characters.
    """
    shown = visible(text.encode(errors="replace").decode())
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def field_value(text: str) -> str:
    """Return a header's value with each control replaced by a space: RFC 9110 §5.5 asks it for CR, LF and NUL."""
    return _NO_FIELD_VALUE.sub(" ", text).strip(" \t")


_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "bytes"))
"""Sizes and names of the units in which bytes are shown. The page has the same in web/js/format.js."""


def amount(count: float) -> str:
    """Format a number of bytes for people, in decimal units: 1.5 GB, 150 MB, 12.3 MB, 3 kB, 555 bytes."""
    size, unit = _unit(count)
    return f"{_in_units(count, size)} {unit}"


def amount_of(done: float, total: float) -> str:
    """Format a part of a number of bytes in the unit of the whole: 4.0 of 12.3 MB."""
    size, unit = _unit(total)
    return f"{_in_units(done, size)} of {_in_units(total, size)} {unit}"


def _unit(count: float) -> tuple[int, str]:
    return next((unit for unit in _UNITS if count >= unit[0]), _UNITS[-1])


def _in_units(count: float, size: int) -> str:
    value = count / size
    return f"{value:,.1f}" if size >= 10**6 and value < 100 else f"{value:,.0f}"


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded in UTF-8: JSON may contain unpaired surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
