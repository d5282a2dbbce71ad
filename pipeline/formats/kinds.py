"""Tell the kind of a file by its first bytes. Pure functions."""

from __future__ import annotations

import re

HEAD = 4096
"""Bytes read to tell text from an image: the <html> of a web page comes well before."""


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
"""Kinds that are known but not supported, with their names at the beginning of a sentence."""

# The signatures that libvips' loaders check; those of the specifications are longer. The kind has to agree with the
# loader that libvips chooses, since the kind decides how strictly a file is read.
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
    """Return the kind of a file.

    Returns
    -------
    "jpeg", "png", "webp", "gif", "tiff" or "heif" (the supported formats), "svg", one of FOREIGN or of
    pipeline.formats.tiff.raw_photographs.KINDS, "text" (including HTML and JSON), "empty", or "other".
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
    # The last character may be cut off if it has several bytes. Text has no control characters.
    body = head[:-4] if len(head) == HEAD else head
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = body.decode("utf-8", errors="strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    return all(character.isprintable() or character in "\t\n\r\f\ufeff" for character in text)
