"""Tells the kind of a file from its first bytes. Pure."""

from __future__ import annotations

HEAD = 4096
"""Bytes looked at to tell text from an image: a page's <html> comes well before."""


def kind_of(head: bytes) -> str:
    """Tell the kind of a file from its first bytes.

    Returns
    -------
    "jpeg", "png", "webp", "gif", "tiff" or "heif" (the readable formats), "svg", "text" (HTML and JSON
    included), "empty", or "other".
    """
    if not head:
        return "empty"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "tiff"
    if head[4:8] == b"ftyp":
        return "heif"
    if not _is_text(head):
        return "other"
    return "svg" if b"<svg" in head.lower() and b"<html" not in head.lower() else "text"


def _is_text(head: bytes) -> bool:
    # A multi-byte character may be cut at the end; control characters are what no text has.
    body = head[:-4] if len(head) == HEAD else head
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = body.decode("utf-8", errors="strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    return all(character.isprintable() or character in "\t\n\r\f\ufeff" for character in text)
