"""Connect only to addresses that were checked.

This overrides urllib3's `HTTPConnection._new_conn`. A host is resolved once, every address is checked, and the
connection uses a checked address, so a second lookup cannot lead elsewhere (DNS rebinding). URL, Host header and SNI
stay unchanged, and TLS is verified for the name. A redirect is checked like any other request.
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
"""Returns the addresses of a host and port; raises OSError if there are none."""


def look_up(host: str, port: int) -> list[Address]:
    """Return the addresses from the system's resolver, each once, in order of preference."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers))


class Guard:
    """Decides which addresses a worker may connect to.

    Parameters
    ----------
    allowed: the operator's list of allowed sources.
    resolver: looks up the addresses of a host.
    """

    def __init__(self, allowed: Allowed, resolver: Resolver = look_up) -> None:
        self._allowed = allowed
        self._resolver = resolver

    def screen(self, host: str, port: int, addresses: Iterable[Address]) -> list[Address]:
        """Return the addresses to try for a host.

        These are the addresses on the operator's list. If none is on the list, they are all addresses, provided that
        every one is permitted.

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
        """Return a socket connected to an address of the host, held by the cancellation.

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
            raise StageError("source_unresolvable", f"The DNS lookup of {host} took too long. Retry later.") from error
        except (OSError, UnicodeError) as error:
            raise _unresolvable(host) from error
        if not answers:
            raise _unresolvable(host)
        return answers


class HeadersTooLong(http.client.HTTPException):
    """Raised when an answer's headers are larger than the limit."""


class HeadersUnreadable(http.client.HTTPException):
    """Raised when an answer's headers contain a malformed line."""


class _Headers:
    """Wraps a socket's file while headers are read. Counts bytes, and strips blanks at the end of each line."""

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
            # http.client would treat the headers so far as complete.
            raise http.client.RemoteDisconnected("the connection ended within the headers")
        # http.client does not recognise "chunked " with a blank as "chunked".
        text = line.rstrip(b" \t\r\n")
        return text + b"\r\n" if text and text != line else line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Answer(http.client.HTTPResponse):
    """An answer with stricter header parsing than http.client's.

    One limit covers all headers, those of interim answers included; http.client limits only each line. A malformed
    line raises HeadersUnreadable; http.client stops there, and would miss a length after it. Any interim answer is
    skipped; http.client takes all but 100 for the final one.
    """

    max_header_bytes: int
    fp: BufferedReader | _Headers | None  # type: ignore[assignment]  # _Headers while the headers are read

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
            # RFC 9110 §15.2: a server may send any number of interim answers, such as 102 and 103.
            while self.fp.readline(self.max_header_bytes + 1) not in (b"\r\n", b"\n", b""):
                pass

    def _read_and_discard_trailer(self) -> None:
        # http.client has no limit for the lines after the last chunk.
        left = self.max_header_bytes
        while self.fp is not None:
            line = self.fp.readline(left + 1)
            left -= len(line)
            if left < 0:
                raise HeadersTooLong
            if line in (b"\r\n", b"\n", b""):
                return


class _Connection(HTTPConnection):
    """An HTTP connection that also closes its socket in a case where urllib3 does not."""

    max_header_bytes: int
    _answer: http.client.HTTPResponse | None = None

    def response_class(self, sock: socket.socket, **options: Any) -> http.client.HTTPResponse:  # type: ignore[override]  # replaces a class, with the same call
        self._answer = answer = _Answer(sock, **options)
        answer.max_header_bytes = self.max_header_bytes
        return answer

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 itself has it
        try:
            return super().getresponse()
        except BaseException:
            # If urllib3 refuses an answer's headers, it leaves the answer, and so its socket, open.
            if self._answer is not None:
                self._answer.close()
            raise


class _TLSConnection(_Connection, HTTPSConnection):
    """The same with TLS. A body without a length must end with a TLS close_notify (RFC 9112 §9.8)."""

    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, ssl.SSLSocket):
            # Otherwise anyone who can end the TCP connection could truncate the file unnoticed.
            self.sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # typeshed has only the parameter


class GuardedAdapter(HTTPAdapter):
    """Makes a requests.Session connect through a guard. A cancellation holds its sockets."""

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
                # Not `host`, which lacks the trailing dot. The dot keeps the resolver from using its search list.
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
        # A proxy would resolve the name itself, which would bypass the guard.
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
            f"{host} did not accept a connection on port {port} in time. Check that the server is up, then retry.",
        )
    reason = failure.strerror if failure is not None and failure.strerror else "no connection"
    return StageError(
        "source_unreachable",
        f"{host} could not be reached on port {port}: {reason}. Check that the server is up, then retry.",
    )
