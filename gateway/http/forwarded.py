"""The scheme by which a client reached the proxy in front of the gateway: RFC 7239, and the older X-Forwarded-Proto."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Collection, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)

_SCHEMES = {"http", "https"}

_PROTO = re.compile(r'(?:^|[;\s])proto\s*=\s*"?([a-z]+)"?', re.IGNORECASE)

UNTRUSTED = (
    "A request from {client} has {header}, and is not from a trusted proxy, so it is ignored: absolute addresses begin "
    "with {scheme}://. If that is your proxy, add it to TILEWRIGHT_TRUSTED_PROXIES."
)
NO_PUBLIC_URL = (
    "Requests come through a proxy ({header}), and TILEWRIGHT_PUBLIC_URL is not set. Absolute addresses, as in "
    "info.json, are made from each request's Host, and are not cached. Set it to the address at which users reach the "
    "proxy."
)


class Forwarded:
    """ASGI middleware: replace the scheme of requests that a trusted proxy passes on.

    Parameters
    ----------
    trusted: networks of proxies.
    warnings: filled with a sentence for each kind of wrong configuration that is seen; each is logged once.
    """

    def __init__(
        self,
        app: ASGIApp,
        trusted: Collection[ipaddress.IPv4Network | ipaddress.IPv6Network],
        warnings: dict[str, str],
        *,
        has_public_url: bool,
    ) -> None:
        self._app = app
        self._trusted = trusted
        self._warnings = warnings
        self._has_public_url = has_public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (found := forwarded_scheme(scope["headers"])):
            header, scheme = found
            client = (scope.get("client") or ("",))[0]
            if not self._is_trusted(client):
                self._warn("untrusted proxy", UNTRUSTED.format(client=client, header=header, scheme=scope["scheme"]))
            else:
                scope = {**scope, "scheme": scheme}
                if not self._has_public_url:
                    self._warn("no public URL", NO_PUBLIC_URL.format(header=header))
        await self._app(scope, receive, send)

    def _is_trusted(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._trusted)

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warnings:
            self._warnings[kind] = text
            logger.warning("%s", text)


def forwarded_scheme(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """Return the name of the header that tells the scheme, and the scheme; None if no header does.

    Of several proxies, the nearest one counts: only that one's address is known.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        if name in (b"forwarded", b"x-forwarded-proto"):
            nearest = value.decode("latin-1").rpartition(",")[2].strip()
            if name == b"forwarded":
                match = _PROTO.search(nearest)
                nearest = match[1] if match else ""
            if nearest.lower() in _SCHEMES:
                found["Forwarded" if name == b"forwarded" else "X-Forwarded-Proto"] = nearest.lower()
    return next(((name, found[name]) for name in ("Forwarded", "X-Forwarded-Proto") if name in found), None)
