"""Connects to checked addresses only.

The seam is urllib3's `HTTPConnection._new_conn`: a host is resolved once, every answer is checked, and the
connection goes to an address that was checked, so that a name cannot lead elsewhere at a second look-up. URL, Host
header and SNI stay as they are, TLS is verified for the name, and a redirect passes here like any other request.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterable
from http import HTTPStatus
from io import BufferedReader
from ipaddress import ip_address
from typing import Any, NoReturn

import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

from ingest.http.cancellation import Cancellation
from pipeline.errors import StageError
from pipeline.sources import Address, Allowed, forbidden, literal_address

Resolver = Callable[[str, int], Iterable[Address]]
"""Gives the addresses of a host; raises OSError where there is none."""


def look_up(host: str, port: int) -> list[Address]:
    """The system's resolver: each address once, in its order of preference."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers))


class Guard:
    """Decides for one worker which addresses its fetches may connect to.

    Parameters
    ----------
    allowed: the operator's list.
    resolver: what asks the name service.
    """

    def __init__(self, allowed: Allowed, resolver: Resolver = look_up) -> None:
        self._allowed = allowed
        self._resolver = resolver

    def screen(self, host: str, port: int, addresses: Iterable[Address]) -> list[Address]:
        """The addresses to try for a host: those on the operator's list, else all, if every one of them is permitted.

        Raises StageError("source_forbidden_address").
        """
        answers = list(addresses)
        named = [address for address in answers if self._allowed.lists(address, port)]
        if named:
            return named
        if not all(self._allowed.permits(host, address, port) for address in answers):
            raise forbidden(host)
        return answers

    def connect(
        self, cancellation: Cancellation, host: str, port: int, timeout: float | None, options: Iterable[Any]
    ) -> socket.socket:
        """A connected socket to an address of the host, held by the cancellation.

        Raises
        ------
        StageError: "source_forbidden_address", "source_unresolvable", "source_unreachable" or "source_timeout".
        """
        failure: OSError | None = None
        for address in self.screen(host, port, self._resolve(cancellation, host, port, timeout)):
            connection = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
            try:
                for option in options:
                    connection.setsockopt(*option)
                connection.settimeout(timeout)
                cancellation.hold(connection)
                connection.connect((str(address), port))
                cancellation.check()
                return connection
            except OSError as error:
                failure = error
                connection.close()
                cancellation.check()
            except BaseException:
                connection.close()
                raise
        raise _no_connection(host, port, failure) from failure

    def _resolve(self, cancellation: Cancellation, host: str, port: int, timeout: float | None) -> list[Address]:
        literal = literal_address(host)
        if literal is not None:
            return [literal]
        try:
            answers = list(cancellation.wait_for(lambda: self._resolver(host, port), timeout or 0.0))
        except TimeoutError as error:
            raise StageError(
                "source_unresolvable", f"Looking up the name {host} took too long. Retry later."
            ) from error
        except (OSError, UnicodeError) as error:
            raise _unresolvable(host) from error
        if not answers:
            raise _unresolvable(host)
        return answers


class HeadersTooLong(http.client.HTTPException):
    """Raised when an answer's headers have more bytes than are accepted."""


class HeadersUnreadable(http.client.HTTPException):
    """Raised when an answer's headers have a line that is none."""


class _Headers:
    """A socket's file while headers are read from it. What is blank at a line's end is no part of it."""

    def __init__(self, file: BufferedReader, most: int) -> None:
        self._file = file
        self._left = most

    def readline(self, limit: int = -1) -> bytes:
        try:
            line = self._file.readline(limit)
        except ssl.SSLEOFError:
            line = b""
        self._left -= len(line)
        if self._left < 0:
            raise HeadersTooLong
        if not line.endswith(b"\n") and len(line) != limit:
            # http.client would take those that have come for all.
            raise http.client.RemoteDisconnected("the connection ended within the headers")
        # http.client takes "chunked " for another coding than "chunked".
        text = line.rstrip(b" \t\r\n")
        return text + b"\r\n" if text and text != line else line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Answer(http.client.HTTPResponse):
    """An answer whose headers can be relied on.

    All of them, of interim answers too, have one limit: http.client has one for each line. It stops where a line is no
    header, so that a length behind it would not be seen; and it takes any interim answer but 100 for the final one.
    """

    max_header_bytes: int
    fp: BufferedReader | _Headers | None  # type: ignore[assignment]  # what reads like a file, for a while

    def begin(self) -> None:
        file = self.fp
        if isinstance(file, BufferedReader):
            self.fp = _Headers(file, self.max_header_bytes)
            try:
                super().begin()
                assert_header_parsing(self.msg)
            except HeaderParsingError as error:
                raise HeadersUnreadable from error
            finally:
                if isinstance(self.fp, _Headers):
                    self.fp = file

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # typeshed does not know it
            if not HTTPStatus.SWITCHING_PROTOCOLS < line[1] < HTTPStatus.OK or self.fp is None:
                return line
            # RFC 9110 §15.2: any number of interim answers may come unasked, 102 and 103 among them.
            while self.fp.readline(self.max_header_bytes + 1) not in (b"\r\n", b"\n", b""):
                pass

    def _read_and_discard_trailer(self) -> None:
        # http.client reads lines behind the last chunk for as long as any come.
        left = self.max_header_bytes
        while self.fp is not None:
            line = self.fp.readline(left + 1)
            left -= len(line)
            if left < 0:
                raise HeadersTooLong
            if line in (b"\r\n", b"\n", b""):
                return


class _Connection(HTTPConnection):
    """An HTTP connection that closes its socket also where urllib3 does not."""

    max_header_bytes: int
    _answer: http.client.HTTPResponse | None = None

    def response_class(self, sock: socket.socket, **options: Any) -> http.client.HTTPResponse:  # type: ignore[override]  # called like the class that it stands for
        self._answer = answer = _Answer(sock, **options)
        answer.max_header_bytes = self.max_header_bytes
        return answer

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 itself has it
        try:
            return super().getresponse()
        except BaseException:
            # urllib3 forgets an answer whose headers it refuses, and with it the open socket.
            if self._answer is not None:
                self._answer.close()
            raise


class _TLSConnection(_Connection, HTTPSConnection):
    """The same under TLS, where only the peer can end a body that has no length (RFC 9112 §9.8)."""

    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, ssl.SSLSocket):
            # Else whoever can end the TCP connection ends the file, too.
            self.sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # typeshed knows the parameter only


class GuardedAdapter(HTTPAdapter):
    """Makes a requests.Session connect through a guard, its sockets held by a cancellation."""

    def __init__(self, guard: Guard, cancellation: Cancellation, max_header_bytes: int) -> None:
        self._guard = guard
        self._cancellation = cancellation
        self._max_header_bytes = max_header_bytes
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        guard, cancellation = self._guard, self._cancellation

        def connect(connection: HTTPConnection) -> socket.socket:
            timeout = connection.timeout
            return guard.connect(
                cancellation,
                # Not `host`, which lacks the final dot that keeps the resolver from its search list.
                connection._dns_host.strip("[]"),
                connection.port,
                timeout if isinstance(timeout, (int, float)) else None,
                connection.socket_options or (),
            )

        most = self._max_header_bytes

        class Plain(_Connection):
            max_header_bytes = most

            def _new_conn(self) -> socket.socket:
                return connect(self)

        class Encrypted(_TLSConnection):
            max_header_bytes = most

            def _new_conn(self) -> socket.socket:
                return connect(self)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Plain

        class TLSPool(HTTPSConnectionPool):
            ConnectionCls = Encrypted

        self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": TLSPool}

    def proxy_manager_for(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        # A proxy would resolve the name itself, and so undo the guard.
        raise ValueError("sources are never fetched through a proxy")


def _unresolvable(host: str) -> StageError:
    return StageError(
        "source_unresolvable",
        f"The name {host} could not be resolved to an address. Check its spelling; retry if it is right.",
    )


def _no_connection(host: str, port: int, failure: OSError | None) -> StageError:
    if isinstance(failure, TimeoutError):
        return StageError(
            "source_timeout",
            f"{host} did not take a connection on port {port} in time. Check that it is up, then retry.",
        )
    reason = failure.strerror if failure is not None and failure.strerror else "no connection"
    return StageError(
        "source_unreachable",
        f"{host} could not be reached on port {port}: {reason}. Check that the server is up, then retry.",
    )
