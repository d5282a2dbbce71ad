"""One connection of a download: its requests go out, and its answers come in, one after the other."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from urllib.parse import urljoin

import requests
import urllib3

from ingest.http.cancellation import Cancellation
from ingest.http.coalescing import Coalesced
from ingest.http.failures import explain
from ingest.http.guard import Guard, GuardedAdapter
from ingest.http.hosts import Hosts
from ingest.http.session import session
from ingest.http.validators import HeaderValues
from ingest.settings import IngestSettings
from pipeline.errors import StageError
from pipeline.sources import check_url
from pipeline.texts import field_value

BLOCK = 256 * 1024
"""Bytes asked of the socket at once: 64 KiB and 1 MiB were both slower on loopback."""

FAILURES = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException, UnicodeError)
"""What an exchange can raise, whichever of the libraries notices."""


FRAMING = frozenset({"content-encoding", "content-length", "content-range", "transfer-encoding"})
"""Headers that are judged as they came: http.client goes by what stands there, and what is no number is refused."""


class Crowded(StageError):
    """Raised when a further connection finds no room at its host: the download goes on without it."""

    def __init__(self, host: str) -> None:
        super().__init__("source_unavailable", f"This worker has as many connections to {host} as it may. Retry later.")


class Connection:
    """One connection at a time, kept open between requests to one host.

    Parameters
    ----------
    parent: the download's; this connection is cancelled with it.
    waiting: where given, a place at a host is waited for, and this called meanwhile; else there is none without room.
    """

    def __init__(
        self,
        settings: IngestSettings,
        guard: Guard,
        hosts: Hosts,
        parent: Cancellation,
        waiting: Callable[[], None] | None = None,
    ) -> None:
        self.host = ""
        self.cancellation = parent.child()
        self._settings = settings
        self._hosts = hosts
        self._waiting = waiting
        self._session = session(settings, GuardedAdapter(guard, self.cancellation, settings.source_max_header_bytes))
        self._place = ""
        self._response: requests.Response | None = None

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Asks for a URL and gives the answer, whatever it is, once its headers are there.

        Raises
        ------
        StageError: with one of the `source_…` codes; Crowded.
        Stopped, or another reason of a cancellation.
        """
        host = check_url(url).host
        self._enter(host)
        self.host = host
        seconds = self._settings.source_answer_timeout
        slow = StageError("source_timeout", f"{host} did not answer within {seconds:g} seconds. Retry later.")
        try:
            with self.cancellation.limit(seconds, slow):
                response = self._session.get(
                    url,
                    headers=dict(headers),
                    stream=True,
                    allow_redirects=False,
                    timeout=(self._settings.source_connect_timeout, self._settings.source_read_timeout),
                )
        except StageError:
            # What a cancellation looks like from here depends on where it struck: its reason is what counts.
            self.cancellation.check()
            raise
        except FAILURES as error:
            self.cancellation.check()
            raise explain(error, host) from error
        self._response = response
        return Answer(self, url, response)

    def location(self, url: str, response: requests.Response) -> str | None:
        """Where an answer redirects to; None where it does not."""
        try:
            location = self._session.location(response)
            # Browsers take an unquoted space; some servers rely on it.
            return None if location is None else urljoin(url, location.replace(" ", "%20"))
        except ValueError as error:
            raise StageError(
                "source_invalid_url",
                f"{self.host} redirects to a malformed URL. Give the URL at which the file itself lies.",
            ) from error

    @property
    def is_wanted(self) -> bool:
        """Whether another download waits for a place at this connection's host."""
        return self._hosts.is_wanted(self._place)

    def drop(self) -> None:
        """Ends the connection, whatever has not been read of its answer; the next request makes a new one."""
        if self._response is not None:
            self._response.close()
            self._response = None
        self._session.close()
        self.cancellation.renew()

    def close(self) -> None:
        """Ends the connection and gives its place back."""
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
            self._hosts.leave(self._place)
            self._place = ""


class Answer:
    """An answer: its status and headers, and its body as it comes."""

    def __init__(self, connection: Connection, url: str, response: requests.Response) -> None:
        self.connection = connection
        self.url = url
        self.host = connection.host
        self.status = int(response.raw.status)
        # Nothing here refers back to this answer: its connection ends with it, and not when cycles are collected.
        self.headers: HeaderValues = partial(_values, response.raw.headers)
        self._response = response
        self._coalesced = Coalesced(
            partial(_read, response.raw, connection, connection.host), connection.cancellation.pause
        )

    @property
    def location(self) -> str | None:
        """Where it redirects to; None where it does not."""
        return self.connection.location(self.url, self._response)

    def read(self) -> bytes:
        """The next bytes of the body, as many as have arrived, or some small blocks together; none at its end.

        Raises StageError where it cannot go on, and the reason where it was cancelled.
        """
        return self._coalesced.read()

    def close(self) -> None:
        """Leaves what has not been read, and the connection with it."""
        self.connection.drop()


def _values(headers: urllib3.HTTPHeaderDict, name: str) -> Sequence[str]:
    values: list[str] = headers.getlist(name)
    return values if name.lower() in FRAMING else [field_value(value) for value in values]


def _read(raw: urllib3.HTTPResponse, connection: Connection, host: str) -> bytes:
    try:
        block = raw.read1(BLOCK, decode_content=False)
    except FAILURES as error:
        connection.cancellation.check()
        raise explain(error, host, in_body=True) from error
    if not block:
        # A cancelled connection looks like the end of a body without a length.
        connection.cancellation.check()
    return block or b""
