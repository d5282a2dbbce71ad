"""Make requests, and urllib3 below it, connect through a guard.

This file alone overrides what urllib3 keeps private: `HTTPConnection._new_conn`, and reads `_dns_host`. It was written
against urllib3 2.x; tests/unit/test_insides.py fails if these change.

It also writes the request line. requests and urllib3 both normalise a URL's percent-encoding, so that a server would
refuse a signature over the original bytes. See docs/decisions/0024-links-as-people-paste-them.md.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path
from typing import Any, NoReturn

import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

from ingest.http.cancellation import Cancellation
from ingest.http.guard import Guard
from ingest.http.strict_response import StrictResponse


class _Connection(HTTPConnection):
    """An HTTP connection that also closes its socket in a case where urllib3 does not."""

    max_header_bytes: int
    _answer: http.client.HTTPResponse | None = None

    def response_class(self, sock: socket.socket, **options: Any) -> http.client.HTTPResponse:  # type: ignore[override]  # replaces a class, with the same call
        self._answer = answer = StrictResponse(sock, **options)
        answer.max_header_bytes = self.max_header_bytes
        return answer

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 itself has it
        try:
            return super().getresponse()
        except BaseException:
            # If urllib3 refuses a response's headers, it leaves the response, and so its socket, open.
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
    """Makes a requests.Session connect through a guard. A cancellation holds its sockets.

    Attributes
    ----------
    target: what the next request line contains, byte for byte.

    Parameters
    ----------
    authorities: PEM file of certificates to trust besides the public authorities; None: no others.
    """

    def __init__(
        self, guard: Guard, cancellation: Cancellation, max_header_bytes: int, authorities: Path | None = None
    ) -> None:
        self._guard = guard
        self._authorities = authorities
        self._cancellation = cancellation
        self._max_header_bytes = max_header_bytes
        self.target = "/"
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._authorities is not None:
            # requests adds the public ones to this context, because the session verifies by its default.
            kwargs["ssl_context"] = context = create_urllib3_context()
            context.load_verify_locations(self._authorities)
        super().init_poolmanager(*args, **kwargs)
        guard, cancellation, adapter = self._guard, self._cancellation, self

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

            def putrequest(self, method: str, _url: str, **options: bool) -> None:  # type: ignore[override]  # called so
                super().putrequest(method, adapter.target, **options)

        class Encrypted(_TLSConnection):
            max_header_bytes = most

            def _new_conn(self) -> socket.socket:
                return connect(self)

            def putrequest(self, method: str, _url: str, **options: bool) -> None:  # type: ignore[override]  # called so
                super().putrequest(method, adapter.target, **options)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Plain

        class TLSPool(HTTPSConnectionPool):
            ConnectionCls = Encrypted

        self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": TLSPool}

    def proxy_manager_for(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        # A proxy would resolve the name itself, which would bypass the guard.
        raise ValueError("sources are never fetched through a proxy")
