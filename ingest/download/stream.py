"""The body of a response, as bytes of the file."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.http import (
    Response,
    broken,
    decoded,
    incomplete,
)
from pipeline.errors import StageError


class Stream:
    """A body that is being received. It begins at byte `first` of the file; the bytes before `next` were read.

    A body that was requested without a range is `unranged`: bytes that are there already arrive once more.

    After an error nothing more of the body is read: every later `read` or `peek` that needs more raises it again. The
    libraries below have closed the connection by then, and would report the end of the body.
    """

    def __init__(self, reply: Response, first: int, end: int | None, *, unranged: bool = False) -> None:
        self.first = self.next = first
        self.end = end
        self.unranged = unranged
        self._reply = reply
        self._peeked = bytearray()
        self._failure: StageError | None = None

    @property
    def host(self) -> str:
        """The server's name."""
        return self._reply.host

    @property
    def ahead(self) -> int:
        """Number of bytes that were peeked at but not read."""
        return len(self._peeked)

    def read(self, most: int | None = None) -> bytes:
        """Return the next bytes that have arrived; empty at the end.

        Raises StageError: "source_incomplete" if the body ends before `end`, "source_protocol_error" if it goes on.

        Parameters
        ----------
        most: maximum bytes to return.
        """
        block, self._peeked = bytes(self._peeked) or self._fetch(), bytearray()
        if most is not None and len(block) > most:
            self._peeked += block[most:]
            block = block[:most]
        self.next += len(block)
        return block

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes without consuming them; fewer at the end."""
        while len(self._peeked) < count and (block := self._fetch(len(self._peeked))):
            self._peeked += block
        return bytes(memoryview(self._peeked)[:count])

    def close(self) -> None:
        """Discard the rest of the body and close the connection."""
        self._reply.close()

    def _fetch(self, ahead: int = 0) -> bytes:
        if self._failure is not None:
            raise self._failure.copy()
        try:
            return self._receive(ahead)
        except StageError as error:
            # A copy: the error's own traceback would refer back to this object.
            self._failure = error.copy()
            raise

    def _receive(self, ahead: int) -> bytes:
        left = None if self.end is None else self.end - self.next - ahead
        if left == 0:
            return b""
        block = self._reply.read()
        if left is not None and not block:
            raise incomplete(self.host)
        if left is not None and len(block) > left:
            raise broken(self.host, "it sent more bytes than it declared")
        return block


class DecodedStream(Stream):
    """A body whose content codings are undone while it arrives. Its length is unknown.

    Parameters
    ----------
    coded: the body as it is sent.
    codings: see `decoded`.
    """

    def __init__(self, reply: Response, coded: Stream, codings: Sequence[str]) -> None:
        super().__init__(reply, 0, None, unranged=True)
        self._read_decoded = decoded(coded.read, codings, coded.host)

    def _receive(self, ahead: int) -> bytes:  # noqa: ARG002  the end is the decoder's to find
        return self._read_decoded()
