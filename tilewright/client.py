"""A client of the REST contract, for the command line, the demo and the bench.

ClientError
├── Unreachable   no answer came, or a proxy or the gateway answered that the service is down
└── Problem       the server answered with an error (application/problem+json, RFC 9457)
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError
from urllib3.util import Retry

from pipeline.errors import TilewrightError

Json = dict[str, Any]

DEFAULT_SERVER = "http://127.0.0.1:8000"

PATIENCE = 10.0
"""Seconds without a byte after which a server counts as unreachable: it answers from memory or from a row."""

POLL_INTERVAL = 0.5
"""Seconds between two looks at a status where the server gives no hint."""

POLL_MOST = 5.0
"""Seconds: a hint to wait longer is cut to this, or progress bars would look dead."""

OUTAGE_MOST = 60.0
"""Seconds that a watch bears a server that is away: a restart takes a few."""

LOST_MOST = 15.0
"""Seconds for which the answer to a POST that may have been taken is sought: a restart takes a few."""

INSPECT_WAIT = 5
"""Seconds that the server may hold its answer back for an inspection's end: most take less than one."""

PIECE = 1 << 18
"""Bytes of a download held in memory at once."""

FINAL = ("ready", "failed")
"""`status` after which nothing changes by itself."""


class ClientError(TilewrightError):
    """Base of what goes wrong between client and server. `exit_code` is what the command ends with."""

    exit_code = 1


class NoAddress(ClientError):
    """Raised when what was given as the server's address is none."""

    exit_code = 2


class Unreachable(ClientError):
    """Raised when the server cannot be reached, or says that it cannot serve at the moment (`answered`).

    `may_be_done`: whether the request may have reached the server all the same, and only its answer was lost.
    """

    exit_code = 3

    def __init__(self, message: str, *, answered: bool = False, may_be_done: bool = False) -> None:
        super().__init__(message)
        self.answered = answered
        self.may_be_done = may_be_done


class Problem(ClientError):
    """Raised when the server answered with an error.

    Parameters
    ----------
    status: the HTTP status.
    body: the problem's members; empty where the answer was no problem document.
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
            if reason != self.detail:
                yield f"  {name or 'body'}: {reason}"


@dataclass(frozen=True, slots=True)
class Poll:
    """One look at a status: None where nothing has changed, its ETag, and seconds to wait before the next look."""

    status: Json | None
    etag: str | None
    pause: float


class Client:
    """Talks to one server. Every method raises Unreachable and Problem.

    Parameters
    ----------
    server: http(s)://HOST:PORT, with or without a final slash. Raises NoAddress where it is none.
    """

    def __init__(self, server: str = DEFAULT_SERVER) -> None:
        self.server = server.rstrip("/")
        self._session = requests.Session()
        # A server may close an idle connection just as it is used again; asking once more is harmless.
        once = Retry(total=None, connect=0, read=1, redirect=0, status=0, other=0, allowed_methods={"GET"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=once))
        self._session.headers["Accept"] = "application/json"
        if _host(self.server) in ("127.0.0.1", "::1", "localhost"):
            self._session.trust_env = False  # no proxy can reach this machine's own loopback

    def submit(self, url: str, name: str, *, key: str | None = None, **fields: str | int | None) -> Json:
        """Creates a dataset from an image's URL and gives the server's answer, `dataset_id` in it.

        Where an answer may have been lost it asks again, LOST_MOST seconds at most, by the same Idempotency-Key: there
        is one dataset however often it asks.

        Parameters
        ----------
        key: the Idempotency-Key; by default a new one.
        fields: those of the contract's POST; what is None is left out.
        """
        body = {"url": url, "name": name} | {field: value for field, value in fields.items() if value is not None}
        key = key or uuid.uuid4().hex
        lost_at: float | None = None
        while True:
            try:
                return self._json("POST", "/api/datasets", json=body, headers={"Idempotency-Key": key})
            except Unreachable as error:
                if lost_at is None and not error.may_be_done:
                    raise
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > LOST_MOST:
                    raise Unreachable(
                        f"{error}\nWhether the dataset was accepted is not known. Submit it again with "
                        f"--idempotency-key {key} (the header Idempotency-Key): that makes no second one.",
                        answered=error.answered,
                        may_be_done=True,
                    ) from error
                time.sleep(POLL_INTERVAL)

    def get(self, dataset_id: str) -> Json:
        """The dataset."""
        return self._json("GET", _path(dataset_id))

    def status(self, dataset_id: str) -> Json:
        """The dataset's status."""
        return self._json("GET", f"{_path(dataset_id)}/status")

    def poll(self, dataset_id: str, etag: str | None = None) -> Poll:
        """The dataset's status, if it is another than the one `etag` names."""
        headers = {"If-None-Match": etag} if etag else {}
        response = self._send("GET", f"{_path(dataset_id)}/status", headers=headers)
        hint = response.headers.get("Retry-After", "")
        pause = min(float(hint), POLL_MOST) if hint.isascii() and hint.isdigit() else POLL_INTERVAL
        changed = None if response.status_code == 304 else _object(response)
        return Poll(changed, response.headers.get("ETag") or etag, pause)

    def watch(self, dataset_id: str, *, pause: float | None = None) -> Iterator[Json]:
        """The dataset's status now and after each change, until it is final.

        A server that goes away after its first answer is waited for, OUTAGE_MOST seconds at a time.

        Parameters
        ----------
        pause: seconds between two looks; by default what the server asks for.
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

    def page(self, cursor: str | None = None, **filters: str | int | None) -> Json:
        """One page of the catalogue, newest first: `datasets` and `next_cursor`.

        `filters` are `status`, `category`, `subject`, `q` and `limit`; what is None is left out.
        """
        return self._json("GET", "/api/datasets", params={"cursor": cursor, **filters})

    def datasets(self, **filters: str | int | None) -> Iterator[Json]:
        """The catalogue, page after page."""
        cursor: str | None = None
        while True:
            page = self.page(cursor, **filters)
            yield from page["datasets"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def cancel(self, dataset_id: str) -> Json:
        """Stops the work on a dataset; Problem 409 where there is none to stop."""
        return self._json("POST", f"{_path(dataset_id)}/cancel")

    def retry(self, dataset_id: str) -> Json:
        """Starts the work on a failed or cancelled dataset again; Problem 409 for any other."""
        return self._json("POST", f"{_path(dataset_id)}/retry")

    def delete(self, dataset_id: str) -> None:
        """Deletes a dataset."""
        self._send("DELETE", _path(dataset_id))

    def tile_bytes(self, path: str) -> bytes:
        """What lies at a path of the server: a tile, or another small file."""
        return self._send("GET", path).content

    def download(self, path: str, target: Path, advance: Callable[[int, int], None]) -> None:
        """Writes what lies at a path of the server into a new file, piece by piece.

        Parameters
        ----------
        advance: is told the bytes written so far and the bytes in all.

        Raises Unreachable also where the connection breaks off.
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
                raise Unreachable(f"{self.server} broke off after {done:,} of {total:,} bytes. Try again.") from error

    def inspect(self, url: str) -> Json:
        """Has a source looked at, and gives the inspection once it has ended: `report`, or `error`."""
        answer = self._json("POST", "/api/inspections", json={"url": url}, headers={"Prefer": f"wait={INSPECT_WAIT}"})
        path = f"/api/inspections/{quote(answer['inspection_id'], safe='')}"
        while answer["status"] not in FINAL:
            time.sleep(POLL_INTERVAL)
            answer = self._json("GET", path)
        return answer

    def ready(self) -> Json:
        """What the server's readiness check says."""
        return self._json("GET", "/readyz")

    def close(self) -> None:
        self._session.close()

    def _json(self, method: str, path: str, **arguments: Any) -> Json:
        return _object(self._send(method, path, **arguments))

    def _send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            response = self._session.request(method, self.server + path, timeout=PATIENCE, **arguments)
        except requests.exceptions.RequestException as error:
            raise Unreachable(
                f"No Tilewright server answers at {self.server}. "
                "Start one with `tilewright up`, or name another with --server or TILEWRIGHT_SERVER.",
                may_be_done=not _never_connected(error),
            ) from error
        if response.ok:
            return response
        problem = Problem(response.status_code, _problem(response))
        if response.status_code in (502, 503, 504):
            # Each of these may come of an answer that was lost behind the gateway, or before it.
            raise Unreachable(f"{self.server}: {problem.detail}", answered=True, may_be_done=True) from problem
        raise problem


def _host(server: str) -> str:
    try:
        parts = urlsplit(server)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoAddress(f"{server} is not a server's address: write http://HOST:PORT.")
    return parts.hostname


def _never_connected(error: requests.exceptions.RequestException) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.exceptions.ConnectTimeout) or isinstance(reason, NewConnectionError)


def _path(dataset_id: str) -> str:
    return f"/api/datasets/{quote(dataset_id, safe='')}"


def _object(response: requests.Response) -> Json:
    try:
        body = response.json()
    except requests.exceptions.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise Unreachable(f"{response.url} did not answer as a Tilewright server does. Check the server's address.")
    return body


def _problem(response: requests.Response) -> Json:
    try:
        body = response.json()
    except requests.exceptions.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
