"""Tells the kind of a file from its first bytes. Pure."""

from __future__ import annotations

import re

HEAD = 4096
"""Bytes looked at to tell text from an image: a page's <html> comes well before."""


FOREIGN = {
    "jp2": "JPEG 2000",
    "jxl": "JPEG XL",
    "psd": "A Photoshop file",
    "exr": "OpenEXR",
    "fits": "FITS",
    "bmp": "BMP",
    "pnm": "PNM",
    "pdf": "PDF",
}
"""Kinds that are known and not read, as a sentence may begin."""

# As libvips' loaders tell them, which takes less than their specifications say: how strictly a file is read goes by its
# kind.
_SIGNATURES = (
    (b"\xff\xd8", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"IIU\0", "rw2"),
    (b"IIRO", "orf"),
    (b"IIRS", "orf"),
    (b"MMOR", "orf"),
    (b"FUJIFILMCCD-RAW", "raf"),
    (b"FOVb", "x3f"),
    (b"\0MRM", "mrw"),
    (b"II\x1a\0\0\0HEAPCCDR", "crw"),
    (b"GIF", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\xff\x0a", "jxl"),
    (b"8BPS", "psd"),
    (b"\x76\x2f\x31\x01", "exr"),
    (b"SIMPLE  =", "fits"),
    (b"%PDF-", "pdf"),
)
_CR2 = re.compile(rb"II\*\0.{4}CR\x02\0", re.DOTALL)
_IIQ = re.compile(rb"II\*\0.{4}IIII.waR|MM\0\*.{4}MMMMRaw.", re.DOTALL)
_PNM = re.compile(rb"P[1-7Ff]\s+\d")
_BMP = re.compile(rb"BM.{4}\0{4}", re.DOTALL)


def kind_of(head: bytes) -> str:
    """Tell the kind of a file from its first bytes.

    Returns
    -------
    "jpeg", "png", "webp", "gif", "tiff" or "heif" (the readable formats), "svg", one of FOREIGN or of
    pipeline.formats.raw_photographs.KINDS, "text" (HTML and JSON included), "empty", or "other".
    """
    if not head:
        return "empty"
    if _CR2.match(head) or _IIQ.match(head):
        return "cr2" if _CR2.match(head) else "iiq"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return "cr3" if head[8:12] == b"crx " else "heif"
    if _PNM.match(head) or _BMP.match(head):
        return "pnm" if head.startswith(b"P") else "bmp"
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
