"""One file on its server, requested as a whole or in parts of one version.

    remote_file.begin(connection)           the first request: the file from some byte on
    remote_file.part(connection, 10, 20)    a range of the same version, if the first response showed that ranges work
    remote_file.read(connection, 10, 20)    the same, into memory

The first response determines the length, the version, and whether ranges work.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from ingest.http import (
    Connection,
    Crowded,
    HeaderValues,
    Part,
    Response,
    Version,
    broken,
    check_framing,
    check_part,
    check_status,
    incomplete,
    version,
)
from ingest.settings import IngestSettings
from pipeline.errors import StageError, TilewrightError

NOTHING = Version()

NOT_THESE_BYTES = (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, HTTPStatus.PRECONDITION_FAILED)
"""Statuses that do not mean an error of the file: an empty file has no range, and some servers treat If-Range as
If-Match."""

MOVED_ON = ("source_forbidden", "source_not_found", "source_refused")
"""Codes that may mean that the URL from a redirect has expired."""


class Unchanged(TilewrightError):
    """Raised when a server does not send the file, because the known version is still current."""


class OtherVersion(StageError):
    """Raised when a server no longer sends the version that the first response had."""

    def __init__(self, host: str) -> None:
        super().__init__(
            "source_incomplete",
            f"The file at {host} changed during the download. Retry to download it from the start.",
        )


class Stream:
    """A body that is being received. It begins at byte `first` of the file; the bytes before `next` were read.

    After an error nothing more of the body is read: every later `read` or `peek` that needs more raises it again. The
    libraries below have closed the connection by then, and would report the end of the body.
    """

    def __init__(self, reply: Response, first: int, end: int | None) -> None:
        self.first = self.next = first
        self.end = end
        self._answer = reply
        self._peeked = bytearray()
        self._failure: StageError | None = None

    @property
    def host(self) -> str:
        """The server's name."""
        return self._answer.host

    @property
    def ahead(self) -> int:
        """Number of bytes that were peeked at but not read."""
        return len(self._peeked)

    def read(self) -> bytes:
        """Return the next bytes that have arrived; empty at the end.

        Raises StageError: "source_incomplete" if the body ends before `end`, "source_protocol_error" if it goes on.
        """
        block, self._peeked = bytes(self._peeked) or self._fetch(), bytearray()
        self.next += len(block)
        return block

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes without consuming them; fewer at the end."""
        while len(self._peeked) < count and (block := self._fetch(len(self._peeked))):
            self._peeked += block
        return bytes(memoryview(self._peeked)[:count])

    def close(self) -> None:
        """Discard the rest of the body and close the connection."""
        self._answer.close()

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
        block = self._answer.read()
        if left is not None and not block:
            raise incomplete(self.host)
        if left is not None and len(block) > left:
            raise broken(self.host, "it sent more bytes than it declared")
        return block


class RemoteFile:
    """The file at a URL, and what its server said about it.

    Attributes
    ----------
    host: the server that sent the first response.
    length: length of the file in bytes; None if the server does not declare it.
    version: the file's version; empty if the server sent no strong validator.
    gives_parts: whether the server answered a range request with that range.
    headers: headers of the first response.
    is_whole: whether the first response contains the whole file, so that its headers describe the whole file.
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
        """Whether several requests can fetch parts that are certain to belong to one version."""
        return self.gives_parts and bool(self.version)

    def begin(
        self, connection: Connection, first: int = 0, expected: Version = NOTHING, known: Version = NOTHING
    ) -> Stream:
        """Make the first request for the file, from a byte on.

        If the server ignores ranges, its response is the whole file, and no range is requested again.

        Parameters
        ----------
        first: first byte to request. The response begins at 0 instead if the file no longer has the `expected` version.
        expected: version of the bytes before `first`, which an earlier download has.
        known: version that the server does not have to send.

        Raises
        ------
        Unchanged: the file still has the `known` version.
        StageError: with the code for the server's response.
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
            part = check_part(reply.host, reply.headers, first, None, self._settings.max_source_bytes)
            self.length, self.gives_parts = part.total, True
            self.is_whole = part == Part(0, part.end, part.end)
            return Stream(reply, first, part.end)
        with_file(reply)
        self.length = check_framing(reply.host, reply.headers, self._settings.max_source_bytes)
        self.is_whole = True
        return Stream(reply, 0, self.length)

    def part(self, connection: Connection, first: int, end: int) -> Stream:
        """Request the bytes from `first` up to but not including `end`. The response may end earlier.

        Raises StageError, and OtherVersion if the server no longer sends the version of the first response.
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
        part = check_part(reply.host, reply.headers, first, end, self._settings.max_source_bytes)
        if part.total != self.length:
            raise OtherVersion(reply.host)
        return Stream(reply, first, part.end)

    def read(self, connection: Connection, first: int, end: int) -> bytes:
        """Return the bytes from `first` up to but not including `end`. Raises the same errors as `part`."""
        read = bytearray()
        while first + len(read) < end:
            stream = self.part(connection, first + len(read), end)
            while block := stream.read():
                read += block
        return bytes(read)

    def _opens(self, reply: Response, first: int, expected: Version) -> bool:
        """Return whether a 206 can begin a download: it has the rest of the file, or the rest can follow safely."""
        part = check_part(reply.host, reply.headers, first, None, self._settings.max_source_bytes)
        if expected and not expected.shows_in(reply.headers):
            return False
        return part.total is not None and (part.end == part.total or bool(version(reply.headers)))

    def _part(self, connection: Connection, url: str, asked: Mapping[str, str]) -> Response:
        reply = self._follow(connection, asked, url)
        if reply.status not in (HTTPStatus.PARTIAL_CONTENT, *NOT_THESE_BYTES):
            with_file(reply)
        return reply

    def _follow(self, connection: Connection, headers: Mapping[str, str], url: str = "") -> Response:
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
                    f"{came_from} redirects to another URL, which failed: {error.message}",
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


def with_file(reply: Response) -> None:
    """Check that a response contains the whole file; raise StageError if it does not."""
    check_status(reply.host, reply.status, reply.headers)
