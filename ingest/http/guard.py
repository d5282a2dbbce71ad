"""Connect only to addresses that were checked.

A host is resolved once, every address is checked, and the connection uses a checked address, so a second lookup cannot
lead elsewhere (DNS rebinding). URL, Host header and SNI stay unchanged, and TLS is verified for the name. A redirect is
checked like any other request. ingest.http.adapter makes requests connect this way.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

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
