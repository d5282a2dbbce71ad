"""One file on its server, requested as a whole or in parts of one version.

    remote_file.begin(connection)           the first request: the file from some byte on
    remote_file.part(connection, 10, 20)    a range of the same version, if the first response showed that ranges work
    remote_file.read(connection, 10, 20)    the same, into memory

The first response determines the length, the version, and whether ranges work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus

from ingest.download.stream import DecodedStream, Stream
from ingest.http import (
    NOT_THESE_BYTES,
    ChainCookies,
    Connection,
    Crowded,
    HeaderValues,
    Part,
    Response,
    Version,
    check_framing,
    check_part,
    check_status,
    codings,
    is_challenge,
    may_have_expired,
    part_of,
    refuses_range,
    version,
)
from ingest.links import Link, rewritten
from ingest.settings import IngestSettings
from pipeline.errors import DATASET_CODES, StageError, TilewrightError

NOTHING = Version()

MAY_WANT_CONTACT = (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
"""Statuses for clients whose User-Agent names nobody, by Wikimedia's policy among others."""


class Unchanged(TilewrightError):
    """Raised when a server does not send the file, because the known version is still current."""


class OtherVersion(StageError):
    """Raised when a server no longer sends the version that the first response had."""

    def __init__(self, host: str) -> None:
        super().__init__(
            "source_incomplete",
            f"The file at {host} changed during the download. Retry to download it from the start.",
        )


class Expired(StageError):
    """Raised when a server refuses the rest of a file of which a part has arrived. That part is kept."""

    def __init__(self, host: str) -> None:
        super().__init__(
            "source_expired",
            f"{host} refuses the rest of the file, so the link has probably expired. What has arrived is kept for up "
            f"to a week. {DATASET_CODES['source_expired'].advice}",
        )


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
    link: the last link that was rewritten on the way to the file; None if there was none.
    page_advice: what to tell the person if the file is a web page; "" for the usual advice.
    is_decoded: whether the first response has content codings, so that its headers describe the coded bytes.
    """

    def __init__(self, url: str, settings: IngestSettings) -> None:
        self.length: int | None = None
        self.version = NOTHING
        self.gives_parts = False
        self.host = ""
        self.headers: HeaderValues = lambda _: ()
        self.is_whole = False
        self.is_decoded = False
        self.link: Link | None = None
        self.page_advice = ""
        self._url = url
        self._settings = settings
        self._found_at = url

    @property
    def found_at(self) -> str:
        """The URL that the last redirect led to."""
        return self._found_at

    def move(self, link: Link) -> None:
        """Request the file from where a response says that it is."""
        before = self.link.note if self.link is not None else ""
        self.link = replace(link, note=" ".join(filter(None, (before, link.note))))
        self._url = self._found_at = link.url

    @property
    def most_tiles(self) -> int:
        """How many tiles may be fetched in place of the file."""
        return self._settings.source_max_tiles

    def forget(self) -> None:
        """Forget what the first response said: it was a description, and tiles are fetched in its place."""
        self.length, self.version, self.gives_parts = None, NOTHING, False
        self.headers = lambda _: ()

    @property
    def is_divisible(self) -> bool:
        """Whether several requests can fetch parts that are certain to belong to one version."""
        return self.gives_parts and bool(self.version)

    def begin(
        self, connection: Connection, first: int = 0, expected: Version = NOTHING, known: Version = NOTHING
    ) -> Stream:
        """Make the first request for the file, from a byte on.

        If the server ignores ranges, its response is the whole file, and no range is requested again. If it refuses the
        range, the file is requested once more without a range, and that response counts.

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
        max_bytes = self._settings.max_source_bytes
        reply = self._follow(connection, {"Range": f"bytes={first}-"} | expected.if_range | known.unless)
        part = part_of(reply.host, reply.status, reply.headers, first, None, max_bytes)
        is_alone = not connection.has_company
        is_refused = part is None and refuses_range(reply.status, reply.headers, is_alone=is_alone)
        if part is not None and self._opens(part, reply, expected):
            self._note(reply)
            self.length, self.gives_parts = part.total, True
            self.is_whole = part == Part(0, part.end, part.end)
            return Stream(reply, first, part.end)
        if part is not None or is_refused or reply.status in NOT_THESE_BYTES:
            reply.close()
            if expected and not is_refused:
                return self.begin(connection, known=known)
            reply = self._follow(connection, known.unless)
        if reply.status == HTTPStatus.NOT_MODIFIED and known:
            reply.close()
            raise Unchanged
        self._note(reply)
        self._require_file(reply)
        stream = self._whole(reply)
        self.length, self.is_whole, self.is_decoded = stream.end, True, isinstance(stream, DecodedStream)
        # An earlier run received parts of this version, so other ranges may be answered.
        self.gives_parts = is_refused and expected.is_same(self.version) and not self.is_decoded
        return stream

    def whole(self, connection: Connection) -> Stream:
        """Request the whole file, without a range. Raises StageError with the code for the server's response."""
        reply = self._follow(connection, {})
        self._note(reply)
        self._require_file(reply)
        return self._whole(reply)

    def part(self, connection: Connection, first: int, end: int, *, or_whole: bool = False) -> Stream:
        """Request the bytes from `first` up to but not including `end`. The response may end earlier.

        Raises
        ------
        OtherVersion: the server no longer sends the version of the first response.
        Expired: the server refuses the file that it sent before.
        StageError: with the code for the server's response.

        Parameters
        ----------
        or_whole: request the whole file if the server refuses the range. The stream then begins at 0.
        """
        max_bytes = self._settings.max_source_bytes
        asked = {"Range": f"bytes={first}-{end - 1}"} | self.version.if_range
        reply = self._follow(connection, asked, self._found_at)
        if self._found_at != self._url and may_have_expired(reply.status):
            reply.close()
            reply = self._follow(connection, asked)
        part = part_of(reply.host, reply.status, reply.headers, first, end, max_bytes)
        if part is not None:
            if part.total != self.length or not self.version.shows_in(reply.headers):
                raise OtherVersion(reply.host)
            return Stream(reply, first, part.end)
        if or_whole and refuses_range(reply.status, reply.headers):
            reply.close()
            reply = self._follow(connection, {})
        if may_have_expired(reply.status) and not is_challenge(reply.headers):
            raise Expired(reply.host)
        if reply.status == HTTPStatus.PARTIAL_CONTENT:
            check_part(reply.host, reply.headers, first, end, max_bytes)
        if reply.status in NOT_THESE_BYTES:
            raise OtherVersion(reply.host)
        self._require_file(reply)
        if not or_whole or not self.version.is_same(version(reply.headers)):
            raise OtherVersion(reply.host)
        stream = self._whole(reply)
        if stream.end != self.length:
            raise OtherVersion(reply.host)
        return stream

    def read(self, connection: Connection, first: int, end: int) -> bytes:
        """Return the bytes from `first` up to but not including `end`. Raises the same errors as `part`."""
        read = bytearray()
        while first + len(read) < end:
            stream = self.part(connection, first + len(read), end)
            while block := stream.read():
                read += block
        return bytes(read)

    def _note(self, reply: Response) -> None:
        self.host, self.headers, self.version = reply.host, reply.headers, version(reply.headers)

    @staticmethod
    def _opens(part: Part, reply: Response, expected: Version) -> bool:
        """Return whether a 206 can begin a download: it has the rest of the file, or the rest can follow safely."""
        if expected and not expected.shows_in(reply.headers):
            return False
        return part.total is not None and (part.end == part.total or bool(version(reply.headers)))

    def _whole(self, reply: Response) -> Stream:
        """Return the body of a response that contains the whole file."""
        found = codings(reply.host, reply.headers)
        length = check_framing(reply.host, reply.headers, self._settings.max_source_bytes)
        stream = Stream(reply, 0, length, unranged=True)
        return DecodedStream(reply, stream, found) if found else stream

    def _follow(self, connection: Connection, headers: Mapping[str, str], url: str = "") -> Response:
        url = url or self._url
        came_from = ""
        cookies = ChainCookies()
        for _ in range(self._settings.source_max_redirects + 1):
            if (link := rewritten(url)) is not None:
                self.link, url = link, link.url
            try:
                own = cookies.header(url)
                reply = connection.get(url, {**headers, **own})
                following = reply.location
            except StageError as error:
                if not came_from or isinstance(error, Crowded):
                    raise
                connection.cancellation.check()
                raise error.copy(f"{came_from} redirects to another URL, which failed: {error.message}") from error
            if following is None:
                # Without its cookies the last URL may lead nowhere, and they are forgotten with this chain.
                self._found_at = self._url if own else url
                return reply
            reply.close()
            cookies.take(url, reply.headers("Set-Cookie"))
            url, came_from = following, reply.host
        raise StageError(
            "source_too_many_redirects",
            f"{came_from} redirects more than {self._settings.source_max_redirects} times. "
            "Use the URL of the file itself.",
        )

    def _require_file(self, reply: Response) -> None:
        """Check that a response contains the whole file; raise StageError if it does not."""
        try:
            check_status(reply.host, reply.status, reply.headers)
        except StageError as error:
            if reply.status not in MAY_WANT_CONTACT or self._settings.source_contact or is_challenge(reply.headers):
                raise
            raise error.copy(
                f"{error.message} Some servers answer only who names a contact: the operator can set "
                "TILEWRIGHT_SOURCE_CONTACT."
            ) from error
