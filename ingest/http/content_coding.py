"""Undo the content codings of a response that was to have none (RFC 9110 §8.4): gzip, deflate, br and zstd.

The output is bounded twice: each step returns about STEP bytes, whatever the input holds, and a body that grows beyond
all measure is refused.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

import brotli

from ingest.http.response import broken, incomplete
from pipeline.errors import StageError
from pipeline.formats.signatures import GZIP, ZSTD, image_kind
from pipeline.texts import amount

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

Read = Callable[[], bytes]
"""Returns the next bytes that have arrived; empty at the end. May raise StageError."""

STEP = 256 * 1024
"""Bytes to decode at once."""

UNMEASURED = 64 * 1024**2
"""Decoded bytes of a body that may have any ratio: a blank image of this size is 64 kB of gzip."""

MAX_RATIO = 250
"""Maximum decoded bytes for each received one, beyond UNMEASURED. gzip gets to 1,000 with zeros only; brotli and zstd
get to a million."""

ZSTD_WINDOW_LOG = 23
"""A window of 8 MiB, the maximum for the content coding (RFC 9659)."""

HEAD = 64
"""Bytes that show whether a body was labelled wrongly."""

MAGIC = {"gzip": GZIP, "zstd": ZSTD}
"""What a coded body begins with. The others have no magic number."""

ERRORS = (zlib.error, brotli.error, ZstdError)


class _Decoder(Protocol):
    """Decodes one member of a body."""

    @property
    def is_finished(self) -> bool: ...

    @property
    def is_hungry(self) -> bool:
        """Whether it has returned all that the input so far holds."""

    @property
    def rest(self) -> bytes:
        """The input after the end."""

    def step(self, data: bytes) -> bytes:
        """Return about STEP decoded bytes at most. `data` is new input; empty unless `is_hungry`."""


class _Zlib:
    """gzip and deflate. The latter is zlib's format; some servers send the bare stream (RFC 9110 §8.4.1.2)."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._made = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding == "gzip" else None
        self._is_full = False

    @property
    def is_finished(self) -> bool:
        return self._made is not None and self._made.eof

    @property
    def is_hungry(self) -> bool:
        return self._made is None or not (self._made.unconsumed_tail or self._is_full)

    @property
    def rest(self) -> bytes:
        return self._made.unused_data if self._made is not None else b""

    def step(self, data: bytes) -> bytes:
        if self._made is None:
            has_header = len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0
            self._made = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        block = self._made.decompress(self._made.unconsumed_tail + data, STEP)
        # Output may be left inside the decompressor although it has consumed all input.
        self._is_full = len(block) >= STEP
        return block


class _Brotli:
    def __init__(self, _: str) -> None:
        self._made = brotli.Decompressor()
        self._is_full = False
        self.rest = b""

    @property
    def is_finished(self) -> bool:
        return bool(self._made.is_finished())

    @property
    def is_hungry(self) -> bool:
        return not self._is_full and bool(self._made.can_accept_more_data())

    def step(self, data: bytes) -> bytes:
        block = bytes(self._made.process(data, output_buffer_limit=STEP))
        self._is_full = len(block) >= STEP
        return block


class _Zstd:
    def __init__(self, _: str) -> None:
        self._made = ZstdDecompressor(options={DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})

    @property
    def is_finished(self) -> bool:
        return self._made.eof

    @property
    def is_hungry(self) -> bool:
        return self._made.needs_input

    @property
    def rest(self) -> bytes:
        return self._made.unused_data

    def step(self, data: bytes) -> bytes:
        return self._made.decompress(data, STEP)


DECODERS: dict[str, Callable[[str], _Decoder]] = {"gzip": _Zlib, "deflate": _Zlib, "br": _Brotli, "zstd": _Zstd}


def decoded(read: Read, codings: Sequence[str], host: str) -> Read:
    """Return a function that returns the next decoded bytes; empty at the end.

    A body that is not coded at all, although its header says so, is returned as it is.

    Parameters
    ----------
    codings: in the order in which they were applied, each a key of DECODERS.

    Raises StageError: what `read` raises; "source_protocol_error", "source_incomplete", "source_too_large".
    """
    head = _Head(read)
    measure = _Measure(head.read, host)
    layers: list[Read] = [measure.received]
    for coding in reversed(codings):
        layers.append(_Decoded(layers[-1], coding, host).read)
    outermost = codings[-1]

    def next_block() -> bytes:
        if head.is_plain is None:
            head.look(MAGIC.get(outermost, b""))
        return head.read() if head.is_plain else measure.decoded(layers[-1]())

    return next_block


class _Head:
    """Shows the beginning of a body before it is read."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._head = b""
        self.is_plain: bool | None = None

    def look(self, magic: bytes) -> None:
        while len(self._head) < HEAD and (block := self._read()):
            self._head += block
        self.is_plain = bool(image_kind(self._head)) or not self._head.startswith(magic) or not self._head

    def read(self) -> bytes:
        block, self._head = self._head, b""
        return block or self._read()


class _Measure:
    """Compares the decoded bytes with the received ones."""

    def __init__(self, read: Read, host: str) -> None:
        self._read = read
        self._host = host
        self._in = self._out = 0

    def received(self) -> bytes:
        block = self._read()
        self._in += len(block)
        return block

    def decoded(self, block: bytes) -> bytes:
        self._out += len(block)
        if self._out > max(UNMEASURED, MAX_RATIO * self._in):
            raise StageError(
                "source_too_large",
                f"{self._host} sent the file compressed, and it unpacks to more than {MAX_RATIO} times its size: "
                f"{amount(self._in)} became more than {amount(self._out)}. Offer the file without compression.",
            )
        return block


class _Decoded:
    """Decodes one coding. A body may have several members, one after the other."""

    def __init__(self, read: Read, coding: str, host: str) -> None:
        self._read = read
        self._coding = coding
        self._host = host
        self._decoder = DECODERS[coding](coding)
        self._rest = b""
        self._has_ended = False

    def read(self) -> bytes:
        while not self._has_ended:
            block = self._step()
            if self._decoder.is_finished:
                self._next_member()
            if block:
                return block
        return b""

    def _step(self) -> bytes:
        data = b""
        if self._decoder.is_hungry:
            data, self._rest = self._rest or self._read(), b""
            if not data:
                raise incomplete(self._host)
        try:
            return self._decoder.step(data)
        except ERRORS as error:
            raise broken(self._host, f"its {self._coding} data is damaged") from error

    def _next_member(self) -> None:
        """Go on with the next member of the body, if there is one. What is no member is ignored, as browsers do."""
        magic, rest = MAGIC.get(self._coding), self._decoder.rest
        while magic and len(rest) < len(magic) and (block := self._read()):
            rest += block
        if magic and rest.startswith(magic):
            self._decoder, self._rest = DECODERS[self._coding](self._coding), rest
        else:
            self._has_ended = True
