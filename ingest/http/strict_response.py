"""A response whose headers are read strictly, and within limits that http.client lacks.

This file alone overrides private methods of the standard library's http.client (`_read_status`, `_get_chunk_left`,
`_read_next_chunk_size`, `_read_and_discard_trailer`), as Python 3.11 has them. tests/unit/test_insides.py checks that
they still exist, and tests/integration/ingest/test_limits.py what they do.
"""

from __future__ import annotations

import http.client
import re
import ssl
from http import HTTPStatus
from io import BufferedReader
from typing import Any

from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

MAX_CHUNK_LINE = 4096
"""Bytes of the line that precedes a chunk: its size, and extensions that nobody uses."""

_CHUNK_SIZE = re.compile(rb"0*[0-9A-Fa-f]{1,16}")
"""RFC 9112, 7.1; Python's int() would also accept signs, underscores and 0x."""


class HeadersTooLong(http.client.HTTPException):
    """Raised when a response's headers are larger than the limit."""


class HeadersUnreadable(http.client.HTTPException):
    """Raised when a response's headers contain a malformed line."""


class ChunksUnreadable(http.client.HTTPException):
    """Raised when a chunk's size, or what follows its data, is malformed."""


class _Headers:
    """Wraps a socket's file while headers are read. Counts bytes, and strips blanks at the end of each line."""

    def __init__(self, file: BufferedReader, most: int) -> None:
        self._file = file
        self._left = most

    def readline(self, limit: int = -1) -> bytes:
        try:
            line = self._file.readline(limit)
        except ssl.SSLEOFError:
            line = b""
        self._left -= len(line)
        if self._left < 0:
            raise HeadersTooLong
        if not line.endswith(b"\n") and len(line) != limit:
            # http.client would treat the headers so far as complete.
            raise http.client.RemoteDisconnected("the connection ended within the headers")
        # http.client does not recognise "chunked " with a blank as "chunked".
        text = line.rstrip(b" \t\r\n")
        return text + b"\r\n" if text and text != line else line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class StrictResponse(http.client.HTTPResponse):
    """A response with stricter header parsing than http.client's.

    One limit covers all headers, those of interim answers included; http.client limits only each line. A malformed
    line raises HeadersUnreadable; http.client stops there, and would miss a length after it. Any interim answer is
    skipped; http.client takes all but 100 for the final one.
    """

    max_header_bytes: int
    fp: BufferedReader | _Headers | None  # type: ignore[assignment]  # _Headers while the headers are read

    def begin(self) -> None:
        file = self.fp
        if isinstance(file, BufferedReader):
            self.fp = _Headers(file, self.max_header_bytes)
            try:
                super().begin()
                assert_header_parsing(self.msg)
            except HeaderParsingError as error:
                raise HeadersUnreadable from error
            finally:
                if isinstance(self.fp, _Headers):
                    self.fp = file

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # typeshed does not know it
            if not HTTPStatus.SWITCHING_PROTOCOLS < line[1] < HTTPStatus.OK or self.fp is None:
                return line
            # RFC 9110 §15.2: a server may send any number of interim answers, such as 102 and 103.
            while self.fp.readline(self.max_header_bytes + 1) not in (b"\r\n", b"\n", b""):
                pass

    def _get_chunk_left(self) -> int | None:
        # http.client skips two bytes after a chunk's data, whatever they are.
        if self.chunk_left == 0:
            if self._safe_read(2) != b"\r\n":  # type: ignore[attr-defined]  # typeshed does not know it
                raise ChunksUnreadable("a chunk is longer than its size")
            self.chunk_left = None
        left: int | None = super()._get_chunk_left()  # type: ignore[misc]  # typeshed does not know it
        return left

    def _read_next_chunk_size(self) -> int:
        # http.client takes the digits that came before the connection ended for the size, and so a 0 for the end.
        line = self.fp.readline(MAX_CHUNK_LINE + 1) if self.fp is not None else b""
        if len(line) > MAX_CHUNK_LINE:
            raise ChunksUnreadable("a chunk's first line is too long")
        if not line.endswith(b"\n"):
            raise http.client.IncompleteRead(b"")
        size = line.partition(b";")[0].strip(b" \t\r\n")
        if not _CHUNK_SIZE.fullmatch(size):
            # A ValueError would become an IncompleteRead, as if the connection had ended.
            raise ChunksUnreadable(f"not a chunk's size: {size[:20]!r}")
        return int(size, 16)

    def _read_and_discard_trailer(self) -> None:
        # http.client has no limit for the lines after the last chunk.
        left = self.max_header_bytes
        while self.fp is not None:
            line = self.fp.readline(left + 1)
            left -= len(line)
            if left < 0:
                raise HeadersTooLong
            if not line:
                raise http.client.IncompleteRead(b"")
            if line in (b"\r\n", b"\n"):
                return
