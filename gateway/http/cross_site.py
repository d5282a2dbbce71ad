"""Refuse writes from pages of other origins, and requests for other hosts.

Any page that a browser shows can send requests to a gateway on the same machine. The page cannot read the responses,
but a simple POST is sent all the same (cross-site request forgery). And if the page's own host name is made to resolve
to 127.0.0.1, the gateway becomes part of the page's origin (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110 9.2.1)."""

ANY = "*"

ALL = frozenset({ANY, "0.0.0.0", "::"})  # noqa: S104  nothing listens here
"""Entries of `hosts` that allow any name. A wildcard address is one, because any name of the machine leads to it."""

FOREIGN_SITES = frozenset({b"cross-site", b"same-site"})
"""Sec-Fetch-Site of requests from pages that are not the gateway's: https://www.w3.org/TR/fetch-metadata/."""


_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s/?#@\\:\[\]]+)(:[0-9]*)?", re.IGNORECASE)
"""RFC 9110 7.2: a name or an address, and a port. urlsplit alone would also take a user, a path or a query."""


class ForeignOrigin(Exception):
    """Raised when a page of another origin requests a change."""


class WrongHost(Exception):
    """Raised when a request is meant for another host."""


class CrossSiteCheck:
    """ASGI middleware. Raises ForeignOrigin, WrongHost.

    Parameters
    ----------
    listens_on: the address that the gateway listens on.
    public_url: the URL at which users reach the gateway, or "".
    hosts: additional host names of the gateway, in lower case; one of ALL for any.
    origins: origins whose pages may change data, in the form that browsers send; `*` for any.
    """

    def __init__(
        self, app: ASGIApp, listens_on: str, public_url: str, hosts: Collection[str], origins: Collection[str]
    ) -> None:
        self._app = app
        self._origins = frozenset(origins)
        public = urlsplit(public_url)
        self._own_origin = f"{public.scheme}://{public.netloc}".lower() if public_url else ""
        named = {host.strip("[]") for host in hosts} | ({public.hostname or ""} if public_url else set())
        self._hosts = None if not ALL.isdisjoint(named) or not (named or is_loopback(listens_on)) else frozenset(named)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        host = _header(headers, b"host").decode("latin-1").lower()
        if not self._is_own_host(host):
            raise WrongHost(host)
        if scope["method"] not in SAFE and self._is_foreign(headers, host):
            raise ForeignOrigin
        await self._app(scope, receive, send)

    def _is_own_host(self, host: str) -> bool:
        name = name_of(host)
        # Only an HTTP/1.0 request can have no Host here: the server requires it otherwise.
        return self._hosts is None or not host or is_loopback(name) or name in self._hosts

    def _is_foreign(self, headers: Iterable[tuple[bytes, bytes]], host: str) -> bool:
        origin = _header(headers, b"origin").decode("latin-1").lower()
        if ANY in self._origins or (origin and origin in self._origins):
            return False
        if not origin:
            return _header(headers, b"sec-fetch-site").lower() in FOREIGN_SITES
        # The scheme is not compared, because a proxy in front may use another one.
        return origin != self._own_origin and (not host or _place(origin) != host)

    def is_own_host(self, host: bytes) -> bool:
        """Return whether a request with this Host header is meant for this gateway."""
        return self._is_own_host(host.decode("latin-1").lower())


def is_loopback(name: str) -> bool:
    """Return whether a name or an address always means this machine (RFC 6761 6.3 for `localhost`)."""
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def is_host(value: str) -> bool:
    """Return whether a Host header holds a name or an address, and perhaps a port, or is empty."""
    return not value or _HOST.fullmatch(value) is not None


def name_of(host: str) -> str:
    """Return the name in a Host header, without the port; "" if the header holds none, or more than that."""
    if not _HOST.fullmatch(host):
        return ""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    return next((value for one, value in headers if one == name), b"")
