"""Streams one URL into a file in constant memory, counted and hashed, or says in a sentence why it cannot be had."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urljoin

import requests
import urllib3
from requests.structures import CaseInsensitiveDict

from ingest import answer
from ingest.body import BLOCK, Body, Room
from ingest.explain import explain
from ingest.guard import Guard, GuardedAdapter
from ingest.settings import IngestSettings
from ingest.wire import Wire
from pipeline.errors import StageError, Stopped
from pipeline.sources import check_url

MAX_REDIRECTS = 5
"""More is a loop or a sign-in; curl's and the browsers' limits of 20 and more only make the error later."""

Progress = Callable[[int, int | None], None]
"""Told the bytes that have arrived, and those to come in all where the server says so."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole file: its SHA-256 in hex and its length in bytes."""

    sha256: str
    bytes: int


class Fetch:
    """One download, to be run once.

    Parameters
    ----------
    url: where from.
    path: the file to write; what is there is overwritten. After an error it may hold a part.
    guard: decides what may be connected to.
    progress: called after every block, from the running thread.
    room: is asked whether what is to come fits on the disk; by default it always does.
    """

    def __init__(
        self,
        url: str,
        path: Path,
        *,
        settings: IngestSettings,
        guard: Guard,
        progress: Progress,
        room: Room = lambda _: None,
    ) -> None:
        self._url = url
        self._path = path
        self._settings = settings
        self._progress = progress
        self._room = room
        self._wire = Wire()
        self._session = _session(settings, GuardedAdapter(guard, self._wire))
        self._host = ""

    def run(self) -> Fetched:
        """Fetches the file.

        Raises
        ------
        StageError: with one of the `source_…` codes, "not_an_image" or "out_of_disk".
        Stopped: `close` was called.
        """
        late = StageError(
            "source_timeout",
            f"The download took longer than {self._settings.source_time_limit:.0f} seconds. Retry later.",
        )
        try:
            with self._wire.limit(self._settings.source_time_limit, late):
                return self._follow()
        except StageError:
            # What the cut of a wire looks like from here depends on where it struck: its reason is what counts.
            self._wire.check()
            raise
        except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException, UnicodeError) as error:
            self._wire.check()
            raise explain(error, self._host) from error
        finally:
            self._session.close()
            self._wire.release()

    def close(self) -> None:
        """Makes `run` end at once with Stopped, from another thread, whatever it is waiting for."""
        self._wire.cut(Stopped("the download was stopped"))

    def _follow(self) -> Fetched:
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            self._wire.check()
            response = self._ask(url)
            try:
                following = self._next(url, response)
                if following is None:
                    return self._receive(response)
                url = following
            finally:
                response.close()
                self._wire.release()
        raise StageError(
            "source_too_many_redirects",
            f"{self._host} redirects more than {MAX_REDIRECTS} times. Give the URL at which the file itself lies.",
        )

    def _next(self, url: str, response: requests.Response) -> str | None:
        try:
            location = self._session.location(response)
            # Browsers take an unquoted space; some servers rely on it.
            return None if location is None else urljoin(url, location.replace(" ", "%20"))
        except ValueError as error:
            raise StageError(
                "source_invalid_url",
                f"{self._host} redirects to a malformed URL. Give the URL at which the file itself lies.",
            ) from error

    def _ask(self, url: str) -> requests.Response:
        came_from = self._host
        try:
            self._host = check_url(url).host
            slow = StageError("source_timeout", f"{self._host} took too long to answer. Retry later.")
            with self._wire.limit(self._settings.source_answer_timeout, slow):
                return self._session.get(
                    url,
                    stream=True,
                    allow_redirects=False,
                    timeout=(self._settings.source_connect_timeout, self._settings.source_read_timeout),
                )
        except StageError as error:
            if not came_from:
                raise
            self._wire.check()
            raise StageError(
                error.code, f"{came_from} redirects elsewhere, and there: {error.message}", retryable=error.retryable
            ) from error

    def _receive(self, response: requests.Response) -> Fetched:
        raw: urllib3.HTTPResponse = response.raw
        answer.check_status(self._host, raw.status, raw.headers.getlist)
        total = answer.check_framing(self._host, raw.headers.getlist, self._settings.max_source_bytes)
        with Body(self._path, self._host, total, self._settings.max_source_bytes, self._room) as body:
            self._progress(0, total)
            while block := raw.read1(BLOCK, decode_content=False):
                body.take(block)
                self._progress(body.bytes, total)
            # A wire that was cut looks like the end of a body without a length.
            self._wire.check()
            body.finish()
        return Fetched(body.sha256, body.bytes)


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002  the signature is requests'
        # Whoever finds one here reads the answer's whole body into memory, also when told not to follow.
        return None

    def location(self, response: requests.Response) -> str | None:
        return super().get_redirect_target(response)


def _session(settings: IngestSettings, adapter: GuardedAdapter) -> _Session:
    session = _Session()
    # Else proxies, .netrc's passwords and authorities come from the worker's environment.
    session.trust_env = False
    session.verify = str(settings.source_ca_bundle) if settings.source_ca_bundle else True
    session.headers = CaseInsensitiveDict(
        {
            "User-Agent": user_agent(settings.source_contact),
            "Accept": "image/*, */*;q=0.8",
            "Accept-Encoding": "identity",
        }
    )
    session.adapters.clear()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def user_agent(contact: str) -> str:
    """Who asks, and whom to ask back."""
    return f"Tilewright/{_version()}" + (f" (+{contact})" if contact else "")


@cache
def _version() -> str:
    return version("tilewright")
