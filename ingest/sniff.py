"""Tells a web page or other text from an image by the first bytes: pure.

What is not plainly text passes; which image it is, and whether it can be read, is the tiler's to say.
"""

from __future__ import annotations

import re

SNIFF_LENGTH = 1445
"""Bytes looked at: as many as the MIME Sniffing Standard (§5.2) gives its own decision."""

IMAGE_SIGNATURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG",
    b"GIF8",
    b"RIFF",  # WebP
    b"%PDF",
    b"#?R",  # Radiance
    b"SIMPLE  =",  # FITS
    b"/* XPM",
)
"""Formats whose first bytes could pass for text; they are let through even where nobody here can read them."""

_NETPBM = re.compile(rb"P[1-7Ff]\s")
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_PAGE = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|script|style|title|meta|link|iframe|h1|div|font|table|a|p|b|br)[\s/>]",
    re.IGNORECASE,
)
_PROLOGUE = re.compile(rb"(?:\s+|<!--.*?-->|<\?.*?\?>)*", re.DOTALL)
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe")


def is_web_page(head: bytes) -> bool:
    """Whether the bytes begin an HTML page, after any comments and XML declaration."""
    text = head.removeprefix(_BYTE_ORDER_MARKS[0])
    if text.startswith(_BYTE_ORDER_MARKS[1:]):
        text = text[2:].replace(b"\0", b"")
    prologue = _PROLOGUE.match(text)
    return _PAGE.match(text, prologue.end() if prologue else 0) is not None


def is_text(head: bytes) -> bool:
    """Whether the bytes are text that is no image: not XML, since SVG is, nor an image format made of text.

    Binary is what holds a binary data byte (MIME Sniffing Standard §3).
    """
    if head.startswith(IMAGE_SIGNATURES) or _NETPBM.match(head):
        return False
    if head.startswith(_BYTE_ORDER_MARKS[1:]):
        return True
    if _BINARY.search(head):
        return False
    text = head.removeprefix(_BYTE_ORDER_MARKS[0]).lstrip().lower()
    return not (text.startswith(b"<?xml") or b"<svg" in text)
