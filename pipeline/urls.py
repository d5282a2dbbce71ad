"""URLs as browsers read them: the WHATWG URL Standard (https://url.spec.whatwg.org/). Pure functions.

Every service parses a source's URL here, so that all agree which host it names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ada_url import URL

DEFAULT_PORTS = {"http": 80, "https": 443}

_ENDS_A_HOST = re.compile(r"[\s/\\?#@%\[\]]")


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed http or https URL. All its texts are ASCII.

    Parameters
    ----------
    href: the URL as it is requested: normalised and percent-encoded, without a fragment.
    scheme: "http" or "https".
    host: the host in lower case; an IPv6 address has no brackets.
    port: the port, also if it is the scheme's own.
    path: the path, percent-encoded; at least "/".
    query: the query, percent-encoded and without its "?"; "" if there is none.
    fragment: the fragment, percent-encoded and without its "#"; never sent.
    has_credentials: whether the URL has a user name or password, which `href` then contains as well.
    """

    href: str
    scheme: str
    host: str
    port: int
    path: str
    query: str
    fragment: str
    has_credentials: bool

    @property
    def origin(self) -> str:
        """The scheme, host and port, as in `https://example.org:8443`."""
        return self.href.removesuffix(self.target)

    @property
    def target(self) -> str:
        """What a request line contains: the path and the query, byte for byte."""
        return self.href[self.href.index("/", len(self.scheme) + 3) :]


def parse(text: str, base: str = "") -> Url:
    """Parse a URL, or a reference relative to the URL `base`.

    Spaces around it, and tabs and line ends within it, are dropped. What the standard encodes is percent-encoded as
    UTF-8. What is percent-encoded already stays as it is.

    Raises ValueError if it is not a URL, its scheme is neither http nor https, or it has no host.
    """
    url = URL(text, base) if base else URL(text)
    scheme = url.protocol.removesuffix(":")
    if scheme not in DEFAULT_PORTS:
        raise ValueError(f"the scheme {scheme} is neither http nor https")
    if not url.hostname:
        raise ValueError("the URL has no host")
    return Url(
        href=url.href.partition("#")[0],
        scheme=scheme,
        host=url.hostname.removeprefix("[").removesuffix("]"),
        port=int(url.port) if url.port else DEFAULT_PORTS[scheme],
        path=url.pathname,
        query=url.search.removeprefix("?"),
        fragment=url.hash.removeprefix("#"),
        has_credentials=bool(url.username or url.password),
    )


def ascii_host(host: str) -> str:
    """Return a host as `Url.host` has it. Raises ValueError if it cannot be a host, or contains what ends one."""
    if _ENDS_A_HOST.search(host):
        raise ValueError("a delimiter in a host")
    return parse(f"http://{f'[{host}]' if ':' in host else host}/").host


def escape_bytes(location: str) -> str:
    """Return a Location header, decoded as Latin-1, with each byte from 0x80 percent-encoded, as browsers do."""
    return "".join(char if char < "\x80" else f"%{ord(char):02X}" for char in location)
