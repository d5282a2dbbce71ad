"""Tell the kind of a file by its first bytes. Pure functions."""

from __future__ import annotations

from pipeline.formats.signatures import PDF, archive_kind, image_kind

HEAD = 4096
"""Bytes read to tell text from an image: the <html> of a web page comes well before."""


FOREIGN = {
    "jp2": "JPEG 2000",
    "jxl": "JPEG XL",
    "jxr": "JPEG XR",
    "jls": "JPEG-LS",
    "qoi": "QOI",
    "psd": "A Photoshop file",
    "exr": "OpenEXR",
    "fits": "FITS",
    "hdr": "Radiance",
    "xpm": "XPM",
    "pdf": "PDF",
    "zip": "A ZIP archive",
    "gzip": "A gzip file",
    "tiles": "A file of IIIF tiles",
}
"""Kinds that are known but not supported, with their names at the beginning of a sentence."""


def kind_of(head: bytes) -> str:
    """Return the kind of a file.

    Returns
    -------
    "jpeg", "png", "webp", "gif", "tiff", "heif", "bmp", "pnm" or "tga" (the supported formats), "svg", one of FOREIGN
    or of pipeline.formats.tiff.raw_photographs.KINDS, "text" (including HTML and JSON), "empty", or "other".
    """
    if not head:
        return "empty"
    if kind := image_kind(head):
        return kind
    if kind := archive_kind(head):
        return kind
    if head.startswith(PDF):
        return "pdf"
    if not _is_text(head):
        return "other"
    return "svg" if b"<svg" in head.lower() and b"<html" not in head.lower() else "text"


def _is_text(head: bytes) -> bool:
    # The last character may be cut off if it has several bytes. Text has no control characters.
    body = head[:-4] if len(head) == HEAD else head
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = body.decode("utf-8", errors="strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    return all(character.isprintable() or character in "\t\n\r\f\ufeff" for character in text)
