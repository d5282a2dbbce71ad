"""One file at its server: asked for as a whole or by parts, always of one version.

    origin.begin(line)            the first request: the file from some byte on
    origin.part(line, 10, 20)     any bytes of the same version, once the first answer has shown that parts are given
    origin.read(line, 10, 20)     the same, into memory

Whether ranges work, the length and the version are what the first answer says, and are remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from ingest.http import Answer, Connection, Crowded, HeaderValues, Version, version
from ingest.http import response as answer
from ingest.settings import IngestSettings
from pipeline.errors import StageError, TilewrightError

NOTHING = Version()

NOT_THESE_BYTES = (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, HTTPStatus.PRECONDITION_FAILED)
"""Answers to a range that say nothing of the file: an empty one has no range, an If-Range is taken for an If-Match."""

MOVED_ON = ("source_forbidden", "source_not_found", "source_refused")
"""Codes that may mean that the address which a redirect gave has expired."""


class Unchanged(TilewrightError):
    """Raised when a server need not send the file, since it is still in the state that is known."""


class OtherVersion(StageError):
    """Raised when a server does not give the rest of what it has begun to give."""

    def __init__(self, host: str) -> None:
        super().__init__(
            "source_incomplete",
            f"The file at {host} changed while it was downloaded, so that its parts do not fit together. "
            "Retry: it is fetched anew.",
        )


class Stream:
    """A body on its way: the bytes from `first` on, of which those before `next` have been read."""

    def __init__(self, reply: Answer, first: int, end: int | None) -> None:
        self.first = self.next = first
        self.end = end
        self._answer = reply
        self._peeked = bytearray()

    @property
    def host(self) -> str:
        """Who sends it."""
        return self._answer.host

    @property
    def ahead(self) -> int:
        """Bytes that have been peeked at."""
        return len(self._peeked)

    def read(self) -> bytes:
        """The next bytes, as many as have arrived; none at the end.

        Raises StageError: "source_incomplete" where it ends before `end`, "source_protocol_error" where it does not.
        """
        block, self._peeked = bytes(self._peeked) or self._fetch(), bytearray()
        self.next += len(block)
        return block

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, which stay to be read; fewer where there are no more."""
        while len(self._peeked) < count and (block := self._fetch(len(self._peeked))):
            self._peeked += block
        return bytes(memoryview(self._peeked)[:count])

    def close(self) -> None:
        """Leaves what has not been read, and the connection with it."""
        self._answer.close()

    def _fetch(self, ahead: int = 0) -> bytes:
        left = None if self.end is None else self.end - self.next - ahead
        if left == 0:
            return b""
        block = self._answer.read()
        if left is not None and not block:
            raise answer.incomplete(self.host)
        if left is not None and len(block) > left:
            raise answer.broken(self.host, "it sent more than it had declared")
        return block


class RemoteFile:
    """A URL as its server offers it.

    Attributes
    ----------
    host: who gave the first answer.
    length: bytes of the file; None where the server does not say.
    version: what tells this state of the file from others; empty where nothing does.
    gives_parts: whether the server has answered a range with that range.
    headers: of the first answer.
    is_whole: whether the first answer carries all of the file, so that its headers speak of all of it.
    """

    def __init__(self, url: str, settings: IngestSettings) -> None:
        self.length: int | None = None
        self.version = NOTHING
        self.gives_parts = False
        self.host = ""
        self.headers: HeaderValues = lambda _: ()
        self.is_whole = False
        self._url = url
        self._settings = settings
        self._found_at = url

    @property
    def is_divisible(self) -> bool:
        """Whether its bytes may come by several requests, and be known to be of one version."""
        return self.gives_parts and bool(self.version)

    def begin(
        self, connection: Connection, first: int = 0, expected: Version = NOTHING, known: Version = NOTHING
    ) -> Stream:
        """Asks for the file from a byte on, for the first time.

        A server that ignores ranges shows it here: its answer is the whole file, and no range is asked for again.

        Parameters
        ----------
        first: where to begin; the answer begins at 0 instead where the file is not in the `expected` state any more.
        expected: the state of which the bytes before `first` are known.
        known: a state in which the file need not be sent.

        Raises
        ------
        Unchanged: the file is in the `known` state.
        StageError: with the code that the server's answer stands for.
        """
        reply = self._follow(connection, {"Range": f"bytes={first}-"} | expected.if_range | known.unless)
        is_part = reply.status == HTTPStatus.PARTIAL_CONTENT
        if reply.status in NOT_THESE_BYTES or (is_part and not self._opens(reply, first, expected)):
            reply.close()
            if expected:
                return self.begin(connection, known=known)
            reply, is_part = self._follow(connection, known.unless), False
        if reply.status == HTTPStatus.NOT_MODIFIED and known:
            reply.close()
            raise Unchanged
        self.host, self.headers, self.version = reply.host, reply.headers, version(reply.headers)
        if is_part:
            part = answer.check_part(reply.host, reply.headers, first, None, self._settings.max_source_bytes)
            self.length, self.gives_parts, self.is_whole = part.total, True, part == answer.Part(0, part.end, part.end)
            return Stream(reply, first, part.end)
        with_file(reply)
        self.length = answer.check_framing(reply.host, reply.headers, self._settings.max_source_bytes)
        self.is_whole = True
        return Stream(reply, 0, self.length)

    def part(self, connection: Connection, first: int, end: int) -> Stream:
        """Asks for the bytes from `first` to before `end`; the answer may end earlier.

        Raises StageError; OtherVersion where the server does not give these bytes of the version it first gave.
        """
        asked = {"Range": f"bytes={first}-{end - 1}"} | self.version.if_range
        try:
            reply = self._part(connection, self._found_at, asked)
        except StageError as error:
            if error.code not in MOVED_ON or self._found_at == self._url:
                raise
            reply = self._part(connection, self._url, asked)
        if reply.status != HTTPStatus.PARTIAL_CONTENT or not self.version.shows_in(reply.headers):
            raise OtherVersion(reply.host)
        part = answer.check_part(reply.host, reply.headers, first, end, self._settings.max_source_bytes)
        if part.total != self.length:
            raise OtherVersion(reply.host)
        return Stream(reply, first, part.end)

    def read(self, connection: Connection, first: int, end: int) -> bytes:
        """The bytes from `first` to before `end`, in memory. Raises as `part`."""
        read = bytearray()
        while first + len(read) < end:
            stream = self.part(connection, first + len(read), end)
            while block := stream.read():
                read += block
        return bytes(read)

    def _opens(self, reply: Answer, first: int, expected: Version) -> bool:
        """Whether a 206 can stand at the beginning: all of the rest comes with it, or can be asked for safely."""
        part = answer.check_part(reply.host, reply.headers, first, None, self._settings.max_source_bytes)
        if expected and not expected.shows_in(reply.headers):
            return False
        return part.total is not None and (part.end == part.total or bool(version(reply.headers)))

    def _part(self, connection: Connection, url: str, asked: Mapping[str, str]) -> Answer:
        reply = self._follow(connection, asked, url)
        if reply.status not in (HTTPStatus.PARTIAL_CONTENT, *NOT_THESE_BYTES):
            with_file(reply)
        return reply

    def _follow(self, connection: Connection, headers: Mapping[str, str], url: str = "") -> Answer:
        url = url or self._url
        came_from = ""
        for _ in range(self._settings.source_max_redirects + 1):
            try:
                reply = connection.get(url, headers)
                following = reply.location
            except StageError as error:
                if not came_from or isinstance(error, Crowded):
                    raise
                connection.cancellation.check()
                raise StageError(
                    error.code,
                    f"{came_from} redirects elsewhere, and there: {error.message}",
                    retryable=error.retryable,
                    retry_after=error.retry_after,
                ) from error
            if following is None:
                self._found_at = url
                return reply
            reply.close()
            url, came_from = following, reply.host
        raise StageError(
            "source_too_many_redirects",
            f"{came_from} redirects more than {self._settings.source_max_redirects} times. "
            "Use the URL of the file itself.",
        )


def with_file(reply: Answer) -> None:
    """Passes an answer that carries the whole file; raises the StageError that any other stands for."""
    answer.check_status(reply.host, reply.status, reply.headers)
