"""Refuse files whose first bytes show that they are not images: web pages, text, documents, archives, videos.

Everything else passes. The tiler decides which image format it is, and whether it can be read. Does no I/O.
"""

from __future__ import annotations

import re

from pipeline.errors import DATASET_CODES, StageError
from pipeline.formats.signatures import archive_kind, image_kind, other_kind, packed_kind
from pipeline.source_formats import ARCHIVES

SNIFF_LENGTH = 1445
"""Number of bytes to check: the length of the resource header in the MIME Sniffing Standard (§5.2)."""

_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_PAGE = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|script|style|title|meta|link|iframe|h1|div|font|table|a|p|b|br)[\s/>]",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    rb"too many (?:\w+ ){0,2}(?:connections|requests|downloads)|rate limit|bandwidth limit"
    rb"|(?:limit|quota)(?: \w+){0,4} (?:exceeded|reached)|(?:exceeded|reached)(?: \w+){0,4} (?:limit|quota)",
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
    if image_kind(head):
        return False
    if head.startswith(_BYTE_ORDER_MARKS[1:]):
        return True
    if _BINARY.search(head):
        return False
    text = head.removeprefix(_BYTE_ORDER_MARKS[0]).lstrip().lower()
    return not (text.startswith(b"<?xml") or b"<svg" in text)


class Sniffer:
    """Checks the beginning of a file while it arrives, and raises as soon as it cannot be an image.

    Parameters
    ----------
    host: the server's name, for error messages.
    advice: what to do about a page or text; "" for the usual advice.
    """

    def __init__(self, host: str, advice: str = "") -> None:
        self._host = host
        self._advice = advice or DATASET_CODES["not_an_image"].advice
        self._head = b""
        self.is_done = False

    def take(self, first: int, block: bytes | memoryview) -> None:
        """Check a block that begins at `first`. Blocks that do not continue the file's beginning are ignored.

        Raises StageError: "not_an_image", "unsupported_format", and "source_unavailable" for a text about a limit.
        """
        if not self.is_done and first == len(self._head):
            self._head += block[: SNIFF_LENGTH - first]
            self._judge(is_all=len(self._head) == SNIFF_LENGTH)

    def finish(self) -> None:
        """Check a file that is shorter than SNIFF_LENGTH. Raises the same errors as `take`."""
        if not self.is_done:
            self._judge(is_all=True)

    def _judge(self, *, is_all: bool) -> None:
        if (is_web_page(self._head) or (is_all and is_text(self._head))) and _LIMIT.search(self._head):
            raise StageError(
                "source_unavailable",
                f"Instead of the file, {self._host} sent a text that says that a limit is reached. Retry later.",
                refused_by=self._host,
            )
        if is_web_page(self._head):
            raise StageError("not_an_image", f"{self._host} sent a web page, not an image. {self._advice}")
        if not is_all:
            return
        self.is_done = True
        if archive_kind(self._head):
            return  # the tiler finds the image in it
        if kind := packed_kind(self._head):
            raise StageError("unsupported_format", f"{self._host} sent {kind}. {_ARCHIVES}")
        if kind := other_kind(self._head):
            raise StageError("unsupported_format", f"{self._host} sent {kind}, not an image. {_FORMATS}")
        if is_text(self._head):
            raise StageError("not_an_image", f"{self._host} sent text, not an image. {self._advice}")


_ARCHIVES = (
    f"Of archives and compressed files, {' and '.join(ARCHIVES.values())} are read: pack the image again, or give the "
    "address of the image itself."
)
_FORMATS = DATASET_CODES["unsupported_format"].advice
