"""A client of the REST API, for the command line, the demo and the bench.

ClientError
├── NoAddress     the server's address is not a URL
├── NotSendable   an argument cannot be sent
├── Unreachable   the server did not answer, or it or a proxy said that the service is down
└── Problem       the server returned an error (application/problem+json, RFC 9457)
"""

from __future__ import annotations

import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import LocationParseError, NewConnectionError
from urllib3.util import Retry

from pipeline.errors import TilewrightError

Json = dict[str, Any]

Field = str | int | Sequence[str | int] | Mapping[str, str] | None
"""A value of the POST's body."""

DEFAULT_SERVER = "http://127.0.0.1:8000"

PATIENCE = 10.0
"""Seconds without a byte after which the server counts as unreachable. It answers from memory or from one row."""

POLL_INTERVAL = 0.5
"""Seconds between two polls of a status if the server sends no Retry-After."""

POLL_MOST = 5.0
"""Most seconds between two polls, whatever Retry-After says: slower progress bars would look frozen."""

OUTAGE_MOST = 60.0
"""Seconds that a watch waits for an unreachable server. A restart takes a few."""

LOST_MOST = 15.0
"""Seconds for which `submit` repeats a POST whose answer was lost. A restart of the server takes a few."""

INSPECT_WAIT = 5
"""Seconds that the server may wait for an inspection before it answers. Most inspections take less than one."""

PIECE = 1 << 18
"""Bytes of a download held in memory at once."""

FINAL = ("ready", "failed")
"""Values of `status` after which it does not change unless somebody retries."""


class ClientError(TilewrightError):
    """Base of the errors between client and server. `exit_code` is the exit code of the command."""

    exit_code = 1


class NoAddress(ClientError):
    """Raised when the given server address is not a URL."""

    exit_code = 2


class NotSendable(ClientError):
    """Raised when an argument cannot be part of an HTTP request."""

    exit_code = 2


class Unreachable(ClientError):
    """Raised when the server cannot be reached, or says that it is temporarily unavailable.

    Parameters
    ----------
    answered: whether the server, or a proxy before it, answered.
    may_be_done: whether the server may have processed the request, and only its answer was lost.
    """

    exit_code = 3

    def __init__(self, message: str, *, answered: bool = False, may_be_done: bool = False) -> None:
        super().__init__(message)
        self.answered = answered
        self.may_be_done = may_be_done


class Problem(ClientError):
    """Raised when the server returned an error.

    Parameters
    ----------
    status: the HTTP status.
    body: the members of the problem document; empty if the response was not one.
    """

    def __init__(self, status: int, body: Json) -> None:
        self.status = status
        self.body = body
        self.code: str = body.get("code", "")
        self.detail: str = body.get("detail") or body.get("title") or f"The server answered with the error {status}."
        super().__init__("\n".join((self.detail, *self._fields())))

    def _fields(self) -> Iterator[str]:
        for error in self.body.get("errors") or ():
            name = str(error.get("pointer", "")).rsplit("/", 1)[-1]
            reason = error.get("detail") or error.get("message") or "not accepted"
            if reason not in self.detail:
                yield f"  {name or 'body'}: {reason}"


@dataclass(frozen=True, slots=True)
class Poll:
    """The result of one poll.

    Parameters
    ----------
    status: the status; None if it has not changed.
    etag: the status's ETag; None if the server sent none.
    pause: seconds to wait before the next poll.
    """

    status: Json | None
    etag: str | None
    pause: float


class Client:
    """A client of one server. Every method raises Unreachable and Problem.

    Parameters
    ----------
    server: http(s)://HOST:PORT, with or without a final slash.

    Raises
    ------
    NoAddress: if `server` is not such a URL.
    """

    def __init__(self, server: str = DEFAULT_SERVER) -> None:
        self.server = server.rstrip("/")
        self._session = requests.Session()
        # A server may close an idle connection just when it is used again. Repeating a GET once is harmless.
        once = Retry(total=None, connect=0, read=1, redirect=0, status=0, other=0, allowed_methods={"GET"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=once))
        self._session.headers["Accept"] = "application/json"
        if _host(self.server) in ("127.0.0.1", "::1", "localhost"):
            self._session.trust_env = False  # no proxy can reach this machine's own loopback

    def submit(self, url: str, name: str, *, key: str | None = None, **fields: Field) -> Json:
        """Create a dataset from the URL of an image, and return the server's answer, which has a `dataset_id`.

        If the answer may have been lost, the request is repeated for up to LOST_MOST seconds. Every request has the
        same Idempotency-Key, so only one dataset is created.

        Parameters
        ----------
        key: the Idempotency-Key; default: a new one.
        fields: further fields of the POST's body; those that are None are left out.

        Raises
        ------
        NotSendable: if the key cannot be a header's value.
        """
        body = {"url": url, "name": name} | {field: value for field, value in fields.items() if value is not None}
        key = uuid.uuid4().hex if key is None else key
        header = _header_value(key)
        lost_at: float | None = None
        while True:
            try:
                return self._json("POST", "/api/datasets", json=body, headers={"Idempotency-Key": header})
            except Unreachable as error:
                if lost_at is None and not error.may_be_done:
                    raise
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > LOST_MOST:
                    raise Unreachable(
                        f"{error}\nThe dataset may or may not have been accepted. Submit it again with "
                        f"--idempotency-key {key} (the header Idempotency-Key): this creates no second dataset.",
                        answered=error.answered,
                        may_be_done=True,
                    ) from error
                time.sleep(POLL_INTERVAL)

    def get(self, dataset_id: str) -> Json:
        """Return the dataset."""
        return self._json("GET", _path(dataset_id))

    def status(self, dataset_id: str) -> Json:
        """Return the dataset's status."""
        return self._json("GET", f"{_path(dataset_id)}/status")

    def poll(self, dataset_id: str, etag: str | None = None) -> Poll:
        """Return the dataset's status if it has changed since the one with this ETag."""
        headers = {"If-None-Match": etag} if etag else {}
        response = self._send("GET", f"{_path(dataset_id)}/status", headers=headers)
        hint = response.headers.get("Retry-After", "")
        pause = min(float(hint), POLL_MOST) if hint.isascii() and hint.isdigit() else POLL_INTERVAL
        changed = None if response.status_code == 304 else _object(response)
        return Poll(changed, response.headers.get("ETag") or etag, pause)

    def watch(self, dataset_id: str, *, pause: float | None = None) -> Iterator[Json]:
        """Yield the dataset's status now and after each change, until it is final.

        If the server becomes unreachable after its first answer, wait for it, up to OUTAGE_MOST seconds each time.

        Parameters
        ----------
        pause: seconds between two polls; default: as the server's Retry-After says.
        """
        etag: str | None = None
        answered_at: float | None = None
        while True:
            try:
                poll = self.poll(dataset_id, etag)
            except Unreachable:
                if answered_at is None or time.monotonic() - answered_at > OUTAGE_MOST:
                    raise
                time.sleep(POLL_INTERVAL)
                continue
            answered_at = time.monotonic()
            etag = poll.etag
            if poll.status is not None:
                yield poll.status
                if poll.status["status"] in FINAL:
                    return
            time.sleep(poll.pause if pause is None else pause)

    def page(self, cursor: str | None = None, **filters: str | int | list[str] | None) -> Json:
        """Return one page of the catalogue, newest first: `datasets` and `next_cursor`.

        Parameters
        ----------
        filters: `status`, `category`, `subject`, `q`, `url`, `sha256`, `reference`, `tag`, `metadata.KEY` and `limit`;
            those that are None are left out.
        """
        return self._json("GET", "/api/datasets", params={"cursor": cursor, **filters})

    def datasets(self, **filters: str | int | list[str] | None) -> Iterator[Json]:
        """Yield all datasets, page by page. `filters` are those of `page`."""
        cursor: str | None = None
        while True:
            page = self.page(cursor, **filters)
            yield from page["datasets"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def collection_url(self, **filters: str | list[str] | None) -> str:
        """Return the address of the IIIF collection with some filters of `page`, all but `status` and `limit`."""
        given = {name: value for name, value in filters.items() if value}
        return (
            f"{self.server}/iiif/collections/all{'?' if given else ''}{urlencode(given, doseq=True, quote_via=quote)}"
        )

    def cancel(self, dataset_id: str) -> Json:
        """Cancel a dataset. Raises Problem with status 409 if it has ended already."""
        return self._json("POST", f"{_path(dataset_id)}/cancel")

    def retry(self, dataset_id: str, url: str | None = None) -> Json:
        """Retry a failed or cancelled dataset. Raises Problem with status 409 for any other.

        Parameters
        ----------
        url: the source's new URL, as when a signed link has expired; default: the present one.
        """
        return self._json("POST", f"{_path(dataset_id)}/retry", json={} if url is None else {"url": url})

    def refresh(self, dataset_id: str, *, force: bool = False) -> Json:
        """Have a ready dataset's source fetched again. Raises Problem with status 409 for any other.

        Parameters
        ----------
        force: whether new tiles are made even if nothing has changed.
        """
        params = {"force": "true"} if force else None
        return self._json("POST", f"{_path(dataset_id)}/refresh", params=params)

    def versions(self, dataset_id: str) -> list[Json]:
        """Return the versions of a dataset that are kept, newest first."""
        found: list[Json] = self._json("GET", f"{_path(dataset_id)}/versions")["versions"]
        return found

    def delete(self, dataset_id: str) -> None:
        """Delete a dataset."""
        self._send("DELETE", _path(dataset_id))

    def tile_bytes(self, path: str) -> bytes:
        """Return the content at a path of the server: a tile or another small file."""
        return self._send("GET", path).content

    def download(self, path: str, target: Path, advance: Callable[[int, int], None]) -> None:
        """Download the content at a path of the server into a new file.

        Parameters
        ----------
        advance: called with the bytes written so far and the total.

        Raises
        ------
        Unreachable: also if the connection breaks during the download.
        """
        response = self._send("GET", path, stream=True)
        total, done = int(response.headers["Content-Length"]), 0
        with response, target.open("xb") as file:
            try:
                for piece in response.iter_content(PIECE):
                    file.write(piece)
                    done += len(piece)
                    advance(done, total)
            except requests.exceptions.RequestException as error:
                raise Unreachable(
                    f"The connection to {self.server} broke after {done:,} of {total:,} bytes. Try again."
                ) from error

    def inspect(self, url: str, member: str | None = None) -> Json:
        """Inspect a source, and return the inspection once it has ended, with a `report` or an `error`.

        Parameters
        ----------
        member: name of the image in a ZIP archive that has several.
        """
        body = {"url": url} | ({} if member is None else {"member": member})
        answer = self._json("POST", "/api/inspections", json=body, headers={"Prefer": f"wait={INSPECT_WAIT}"})
        path = f"/api/inspections/{quote(answer['inspection_id'], safe='')}"
        while answer["status"] not in FINAL:
            time.sleep(POLL_INTERVAL)
            answer = self._json("GET", path)
        return answer

    def ready(self) -> Json:
        """Return the result of the server's readiness check."""
        return self._json("GET", "/readyz")

    def close(self) -> None:
        self._session.close()

    def _json(self, method: str, path: str, **arguments: Any) -> Json:
        return _object(self._send(method, path, **arguments))

    def _send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            response = self._session.request(method, self.server + path, timeout=PATIENCE, **arguments)
        except LocationParseError as error:
            raise NotSendable(f"{self.server} is not the address of a server.") from error
        except UnicodeError as error:
            raise NotSendable("An argument is not text in UTF-8. Check the terminal's encoding.") from error
        except requests.exceptions.RequestException as error:
            raise Unreachable(
                f"No Tilewright server answers at {self.server}. "
                "Start one with `tilewright up`, or give another address with --server or TILEWRIGHT_SERVER.",
                may_be_done=not _never_connected(error),
            ) from error
        if response.ok:
            return response
        problem = Problem(response.status_code, _problem(response))
        if response.status_code in (502, 503, 504):
            # A proxy or the gateway sends these also if only an answer was lost: the request may have been processed.
            raise Unreachable(f"{self.server}: {problem.detail}", answered=True, may_be_done=True) from problem
        raise problem


def _host(server: str) -> str:
    try:
        parts = urlsplit(server)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoAddress(f"{server} is not the address of a server. Use http://HOST:PORT.")
    return parts.hostname


def _never_connected(error: requests.exceptions.RequestException) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.exceptions.ConnectTimeout) or isinstance(reason, NewConnectionError)


def _path(dataset_id: str) -> str:
    return f"/api/datasets/{quote(dataset_id, safe='', errors='surrogateescape')}"


def _header_value(key: str) -> bytes:
    """Return an Idempotency-Key as bytes for its header. Other text than ASCII is sent as UTF-8, as curl does."""
    if not key or key != key.strip() or any(unicodedata.category(character) == "Cc" for character in key):
        raise NotSendable(
            "The idempotency key has to be some text without control characters, such as line breaks, and without "
            "blanks at its ends."
        )
    return key.encode(errors="surrogateescape")


def _object(response: requests.Response) -> Json:
    try:
        body = response.json()
    except requests.exceptions.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise Unreachable(
            f"The answer from {response.url} is not that of a Tilewright server. Check the server's address."
        )
    return body


def _problem(response: requests.Response) -> Json:
    try:
        body = response.json()
    except requests.exceptions.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
