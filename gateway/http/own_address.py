"""What the gateway's absolute URLs begin with, as a request's client sees them."""

from __future__ import annotations

import re

from starlette.types import Scope

_HOST = re.compile(r"(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""A host name or an address, with an optional port (RFC 9110, 7.2)."""


def base_of(scope: Scope) -> str:
    """Return the scheme and the host of a request, without a trailing slash."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if not _HOST.fullmatch(host):
        # HTTP/1.0 needs no Host, and a malformed one must not get into a response that caches keep. Use the address
        # that the client connected to instead.
        address, port = scope.get("server") or ("localhost", None)
        host = f"{address}:{port}" if port else address
    return f"{scope.get('scheme', 'http')}://{host}"
