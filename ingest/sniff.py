"""Refuse files whose first bytes show that they are not images: web pages, text, documents, archives, videos.

Everything else passes. The tiler decides which image format it is, and whether it can be read. Does no I/O.
"""

from __future__ import annotations

import re

from pipeline.errors import DATASET_CODES, StageError

SNIFF_LENGTH = 1445
"""Number of bytes to check: the length of the resource header in the MIME Sniffing Standard (§5.2)."""

IMAGE_SIGNATURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG",
    b"GIF8",
    b"RIFF",  # WebP
    b"#?R",  # Radiance
    b"\xff\x0a",  # JPEG XL
    b"SIMPLE  =",  # FITS
    b"/* XPM",
)
"""Image formats whose first bytes could be mistaken for text. They pass, even those that Tilewright cannot read."""

OTHER_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (b"{\\rtf", "a text document (RTF)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"ID3", "an MP3 recording"),
    (b"fLaC", "a FLAC recording"),
    (b"OggS", "an Ogg recording or video"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"FLV\x01", "a Flash video"),
    (b"\x00\x00\x01\xba", "an MPEG video"),
    (b"\x00\x00\x01\xb3", "an MPEG video"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"\x7fELF", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\x00asm", "a program"),
)
"""Signatures of files that are not images, with their names."""

_MP3_FRAMES = (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")

_RIFF = {b"WAVE": "a WAV recording", b"AVI ": "an AVI video"}

_IMAGE_BRANDS = frozenset(
    {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"miaf"}
    | {b"jp2 ", b"jpx ", b"jxl ", b"crx "}
)
"""Brands of ISO media files that hold images: HEIF, AVIF, JPEG 2000, JPEG XL, and raw photographs."""

_FILM_BRANDS = (b"isom", b"iso", b"mp4", b"avc1", b"dash", b"M4V", b"M4A", b"M4P", b"qt  ", b"3g", b"f4v", b"mmp4")

_NETPBM = re.compile(rb"P[1-7Ff]\s")
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_PAGE = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|script|style|title|meta|link|iframe|h1|div|font|table|a|p|b|br)[\s/>]",
    re.IGNORECASE,
)
_PROLOGUE = re.compile(rb"(?:\s+|<!--.*?-->|<\?.*?\?>)*", re.DOTALL)
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe")


def is_web_page(head: bytes) -> bool:
    """Return whether the bytes begin an HTML page. Comments and an XML declaration may come first."""
    text = head.removeprefix(_BYTE_ORDER_MARKS[0])
    if text.startswith(_BYTE_ORDER_MARKS[1:]):
        text = text[2:].replace(b"\0", b"")
    prologue = _PROLOGUE.match(text)
    return _PAGE.match(text, prologue.end() if prologue else 0) is not None


def is_text(head: bytes) -> bool:
    """Return whether the bytes are text and not an image. XML, which may be SVG, and text-based image formats are not.

    Bytes are binary if one of them is a binary data byte (MIME Sniffing Standard §3).
    """
    if head.startswith(IMAGE_SIGNATURES) or _NETPBM.match(head):
        return False
    if head.startswith(_BYTE_ORDER_MARKS[1:]):
        return True
    if _BINARY.search(head):
        return False
    text = head.removeprefix(_BYTE_ORDER_MARKS[0]).lstrip().lower()
    return not (text.startswith(b"<?xml") or b"<svg" in text)


def other_kind(head: bytes) -> str:
    """Return the name of the well-known format other than images that the bytes begin, or ""."""
    for signature, kind in OTHER_SIGNATURES:
        if head.startswith(signature):
            return kind
    if head.startswith(_MP3_FRAMES):
        return "an MP3 recording"
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    return "a TAR archive" if head[257:262] == b"ustar" else ""


def _iso_media(head: bytes) -> str:
    """Return the name of a video, unless any brand in the first box (ISO/IEC 14496-12 §4.3) is an image format's."""
    box = head[: int.from_bytes(head[:4], "big")]
    brands = {box[8:12], *(box[start : start + 4] for start in range(16, len(box), 4))}
    if brands & _IMAGE_BRANDS or not box[8:12].startswith(_FILM_BRANDS):
        return ""
    return "a video or recording (MP4 or QuickTime)"


class Sniffer:
    """Checks the beginning of a file while it arrives, and raises as soon as it cannot be an image.

    Parameters
    ----------
    host: the server's name, for error messages.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._head = b""
        self.is_done = False

    def take(self, first: int, block: bytes | memoryview) -> None:
        """Check a block that begins at `first`. Blocks that do not continue the file's beginning are ignored.

        Raises StageError: "not_an_image", "unsupported_format".
        """
        if not self.is_done and first == len(self._head):
            self._head += block[: SNIFF_LENGTH - first]
            self._judge(is_all=len(self._head) == SNIFF_LENGTH)

    def finish(self) -> None:
        """Check a file that is shorter than SNIFF_LENGTH. Raises the same errors as `take`."""
        if not self.is_done:
            self._judge(is_all=True)

    def _judge(self, *, is_all: bool) -> None:
        advice = DATASET_CODES["not_an_image"].advice
        if is_web_page(self._head):
            raise StageError("not_an_image", f"{self._host} sent a web page, not an image. {advice}")
        if not is_all:
            return
        self.is_done = True
        if kind := other_kind(self._head):
            raise StageError("unsupported_format", f"{self._host} sent {kind}, not an image. {_FORMATS}")
        if is_text(self._head):
            raise StageError("not_an_image", f"{self._host} sent text, not an image. {advice}")


_FORMATS = DATASET_CODES["unsupported_format"].advice
