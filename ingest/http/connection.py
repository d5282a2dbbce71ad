"""One connection of a download, with one request at a time."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus

import requests
import urllib3

from ingest.http.adapter import GuardedAdapter
from ingest.http.cancellation import Cancellation
from ingest.http.coalescing import Coalesced
from ingest.http.failures import download_error
from ingest.http.guard import Guard
from ingest.http.hosts import Hosts
from ingest.http.response import CROWDED, broken
from ingest.http.session import session
from ingest.http.validators import HeaderValues
from ingest.settings import IngestSettings
from pipeline.errors import StageError
from pipeline.sources import check_url
from pipeline.texts import field_value
from pipeline.urls import escape_bytes, parse

BLOCK = 256 * 1024
"""Bytes per read from the socket: 64 KiB and 1 MiB were both slower on loopback."""

FAILURES = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException, UnicodeError)
"""What an exchange can raise, whichever library detects the failure."""


REDIRECTS = (
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
)
"""Statuses that redirect if there is a Location, as in the Fetch Standard."""

FRAMING = frozenset({"content-encoding", "content-length", "content-range", "transfer-encoding"})
"""Headers that are checked exactly as they were sent, because http.client interprets them that way."""


class Crowded(StageError):
    """Raised when the limit of connections to a host leaves no room for another: the download goes on without it."""

    def __init__(self, host: str) -> None:
        super().__init__(
            "source_unavailable", f"This worker has the maximum number of connections to {host}. Retry later."
        )


class Connection:
    """One connection at a time, kept open between requests to the same host.

    Parameters
    ----------
    parent: the download's cancellation, which also cancels this connection.
    waiting: if given, `get` waits for room at the host and calls this meanwhile; if not, it raises Crowded.
    asking: called with the host before each request.
    """

    def __init__(
        self,
        settings: IngestSettings,
        guard: Guard,
        hosts: Hosts,
        parent: Cancellation,
        waiting: Callable[[], None] | None = None,
        asking: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.host = ""
        self.cancellation = parent.child()
        self._settings = settings
        self._hosts = hosts
        self._waiting = waiting
        self._asking = asking
        self._adapter = GuardedAdapter(
            guard, self.cancellation, settings.source_max_header_bytes, settings.source_ca_bundle
        )
        self._session = session(settings, self._adapter)
        self._place = ""
        self._response: requests.Response | None = None

    def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """Request a URL and return the response once its headers have arrived, whatever its status.

        Raises
        ------
        StageError: with one of the `source_…` codes; Crowded is one.
        Exception: the reason of a cancellation, such as Stopped.
        """
        response = self._request(url, headers)
        while response.raw.status in CROWDED and self._waiting is not None and self._hosts.refused(self._place):
            # Other downloads here have additional connections to this host: they make room, as its limit is lower now.
            self.close()
            response = self._request(url, headers)
        return Response(self, url, response)

    def _request(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        wanted = check_url(url)
        host = wanted.host
        self._asking(host)
        self._enter(host)
        self.host = host
        seconds = self._settings.source_answer_timeout
        slow = StageError("source_timeout", f"{host} did not answer within {seconds:g} seconds. Retry later.")
        try:
            with self.cancellation.limit(seconds, slow):
                self._adapter.target = wanted.target
                response = self._session.get(
                    wanted.href,
                    headers=dict(headers),
                    stream=True,
                    allow_redirects=False,
                    timeout=(self._settings.source_connect_timeout, self._settings.source_read_timeout),
                )
        except StageError:
            # A cancellation shows up as different errors, depending on the phase. Its reason takes precedence.
            self.cancellation.check()
            raise
        except FAILURES as error:
            self.cancellation.check()
            raise download_error(error, host) from error
        self._response = response
        return response

    def location(self, url: str, response: requests.Response) -> str | None:
        """Return the URL that a response redirects to, as a browser reads it; None if it does not redirect.

        Raises StageError("source_invalid_url") if it is malformed, and "source_protocol_error" if there are several.
        """
        locations = dict.fromkeys(response.raw.headers.getlist("Location"))
        if response.raw.status not in REDIRECTS or not locations:
            return None
        if len(locations) > 1:
            raise broken(self.host, "it redirects to several URLs at once")
        try:
            return parse(escape_bytes(next(iter(locations))), url).href
        except ValueError as error:
            raise StageError(
                "source_invalid_url",
                f"{self.host} redirects to a malformed URL. Use the URL of the file itself.",
            ) from error

    @property
    def has_company(self) -> bool:
        """Whether this worker has other connections to the same host."""
        return self._hosts.count(self._place) > 1

    @property
    def is_wanted(self) -> bool:
        """Whether another download waits for room at this connection's host."""
        return self._hosts.is_wanted(self._place)

    def drop(self) -> None:
        """Close the connection, even if its response was not read to the end. The next request opens a new one."""
        if self._response is not None:
            self._response.close()
            self._response = None
        self._session.close()
        self.cancellation.renew()

    def close(self) -> None:
        """Close the connection and make room at its host."""
        self.drop()
        self._leave()

    def _enter(self, host: str) -> None:
        self.cancellation.check()
        if self._place == host:
            return
        self.close()
        if self._waiting is not None:
            self._hosts.enter(host, self.cancellation, self._waiting)
        elif not self._hosts.try_enter(host):
            raise Crowded(host)
        self._place = host

    def _leave(self) -> None:
        if self._place:
            self._hosts.leave(self._place, additional=self._waiting is None)
            self._place = ""


class Response:
    """A response: its status, its headers, and its body as a stream."""

    def __init__(self, connection: Connection, url: str, response: requests.Response) -> None:
        self.connection = connection
        self.url = url
        self.host = connection.host
        self.status = int(response.raw.status)
        # Nothing here may refer back to this response: without cycles its connection is closed as soon as it is freed.
        self.headers: HeaderValues = partial(_values, response.raw.headers)
        self._response = response
        self._coalesced = Coalesced(
            partial(_read, response.raw, connection, connection.host), connection.cancellation.pause
        )

    @property
    def location(self) -> str | None:
        """The URL that the response redirects to; None if it does not redirect."""
        return self.connection.location(self.url, self._response)

    def read(self) -> bytes:
        """Return the next bytes of the body that have arrived, or several small blocks joined; empty at the end.

        Raises StageError if the transfer fails, and the reason of a cancellation.
        """
        return self._coalesced.read()

    def close(self) -> None:
        """Discard the rest of the body and close the connection."""
        self.connection.drop()


def _values(headers: urllib3.HTTPHeaderDict, name: str) -> Sequence[str]:
    values: list[str] = headers.getlist(name)
    return values if name.lower() in FRAMING else [field_value(value) for value in values]


def _read(raw: urllib3.HTTPResponse, connection: Connection, host: str) -> bytes:
    try:
        block = raw.read1(BLOCK, decode_content=False)
    except FAILURES as error:
        connection.cancellation.check()
        raise download_error(error, host, in_body=True) from error
    if not block:
        # A cancelled connection looks like the end of a body that has no declared length.
        connection.cancellation.check()
    return block or b""
