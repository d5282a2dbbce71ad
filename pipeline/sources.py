"""Decide which sources may be fetched, by their URL and by every address that it leads to. Pure functions.

The gateway calls `check_url` and `check_literal_host` before it accepts a dataset. Ingest asks `Allowed` about each
address before it connects, after resolution and at every redirect.

An address is refused if IANA's special-purpose registries say that it is not globally reachable
(`ipaddress.is_global`), if it is multicast, if it contains an IPv4 address that is refused, or if it is in
EXTRA_DENIED.
"""

from __future__ import annotations

import re
import socket
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pipeline.errors import DATASET_CODES, StageError
from pipeline.urls import DEFAULT_PORTS, Url, ascii_host, parse

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_LENGTH = 8000
"""In characters. RFC 9112 §3 asks servers to accept request lines of at least 8,000 octets; longer ones may fail."""

FIRST_UNPRIVILEGED_PORT = 1024
"""Lower ports, except 80 and 443, belong to mail, directory and shell services, to which no request may be sent."""

EXTRA_DENIED: tuple[Network, ...] = (
    ip_network("168.63.129.16/32"),  # Azure's wire server: a public address that answers only from inside
    ip_network("192.0.0.0/24"),  # IETF protocol assignments; Oracle's metadata server is 192.0.0.192
    ip_network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    ip_network("64:ff9b:1::/48"),  # local NAT64, RFC 8215: it may lead into the operator's network
    ip_network("100:0:0:1::/64"),  # dummy prefix, RFC 9780
    ip_network("2001::/23"),  # IETF protocol assignments, including Teredo
    ip_network("2002::/16"),  # 6to4, deprecated by RFC 7526 and no longer routed
    ip_network("3fff::/20"),  # documentation, RFC 9637
    ip_network("5f00::/16"),  # segment routing, RFC 9602
    ip_network("fec0::/10"),  # site-local, RFC 3879
)
"""Refused whatever Python's `ipaddress` says: some of these registry entries are newer than some Python releases."""

LAST_32_BITS: tuple[IPv6Network, ...] = (
    IPv6Network("::/96"),  # IPv4-compatible, RFC 4291 §2.5.5.1
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated, RFC 2765
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052
)
"""Prefixes whose last 32 bits are an IPv4 address."""

ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""RFC 5214 §6.1: bits 64 to 95 of an address whose last 32 bits are an IPv4 address."""

_HOST = re.compile(r"(?=.{1,253}\.?\Z)(?!-)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
"""A name that every parser and resolver ends at the same place."""

_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Controls, which would be stored and shown. Tabs and line ends come from wrapped text, and the parser drops them."""


def check_url(url: str) -> Url:
    """Check a source's URL, and return it as it is requested. It is parsed as browsers do.

    Raises
    ------
    StageError("source_invalid_url"): if it is not http or https, has no host or a malformed one, contains a user name
        or password, has a port below 1024 other than 80 and 443, or is longer than MAX_URL_LENGTH, as it is given or
        as it is requested.
    """
    if len(url) > MAX_URL_LENGTH:
        raise _invalid(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if _UNSAFE.search(url):
        raise _invalid("The URL contains a control character.")
    try:
        parsed = parse(url)
    except ValueError as error:
        begins = url.lstrip()[:6].lower().startswith(tuple(f"{scheme}:" for scheme in DEFAULT_PORTS))
        reason = "The URL's host or port is malformed." if begins else "The URL has to begin with http:// or https://."
        raise _invalid(reason) from error
    if parsed.has_credentials:
        raise _invalid("The URL contains a user name or password, which would be stored and shown: leave it out.")
    if len(parsed.href) > MAX_URL_LENGTH:
        raise _invalid(f"The URL is longer than {MAX_URL_LENGTH} characters once it is percent-encoded.")
    if ":" not in parsed.host and not _HOST.fullmatch(parsed.host):
        raise _invalid("The URL's host is malformed.")
    if parsed.port not in DEFAULT_PORTS.values() and parsed.port < FIRST_UNPRIVILEGED_PORT:
        raise _invalid(
            f"The URL has port {parsed.port}: only 80, 443 and ports from {FIRST_UNPRIVILEGED_PORT} on are allowed."
        )
    return parsed


def literal_address(host: str) -> Address | None:
    """Return the address of a host that is an address in any notation that resolvers accept; None for a name.

    Accepts the notations of inet_aton ("127.1", "0x7f.1", "0177.0.0.1", "2130706433"), full-width digits, and IPv6.
    """
    plain = _plain(host)
    try:
        return ip_address(plain)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(plain))
    except (OSError, UnicodeError):
        return None


def is_public(address: Address) -> bool:
    """Return whether an address is public, and any IPv4 address embedded in it is public as well."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        address = IPv6Address(int(address))  # without a scope id
        if not all(is_public(embedded) for embedded in _embedded(address)):
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not any(address.version == net.version and address in net for net in EXTRA_DENIED)
    )


class Allowed:
    """The operator's list of sources that are allowed although they are not public.

    Parameters
    ----------
    entries: each is a host ("nas.example") or an address ("10.0.0.5"), also with a port ("nas.example:8080",
        "[fd00::5]:8080"), or a CIDR ("10.0.0.0/8"). A host given by name may lead to any address.

    Raises
    ------
    ValueError: if an entry is none of these. The message is for people.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._hosts: set[tuple[str, int | None]] = set()
        self._networks: list[tuple[Network, int | None]] = []
        for entry in entries:
            self._add(entry.strip())

    def names(self, host: str, port: int) -> bool:
        """Return whether a host's name is on the list, for this port or for all ports."""
        plain = _plain(host)
        return (plain, port) in self._hosts or (plain, None) in self._hosts

    def lists(self, address: Address, port: int) -> bool:
        """Return whether an address is on the list. A mapped IPv6 address counts as its IPv4 address."""
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or IPv6Address(int(address))
        return any(
            address.version == network.version and address in network and only in (None, port)
            for network, only in self._networks
        )

    def permits(self, host: str, address: Address, port: int) -> bool:
        """Return whether a connection to this address is allowed for a URL with this host."""
        return is_public(address) or self.lists(address, port) or self.names(host, port)

    def _add(self, entry: str) -> None:
        try:
            self._networks.append((ip_network(entry.strip("[]")), None))
            return
        except ValueError:
            host, port = _split_port(entry)
        address = literal_address(host)
        if address is not None:
            self._networks.append((ip_network(address), port))
        elif _is_name(host):
            self._hosts.add((_plain(host), port))
        else:
            raise ValueError(f"{entry!r} is not a host, an address or a CIDR without host bits, such as 10.0.0.0/8.")


def check_literal_host(url: str, allowed: Allowed) -> None:
    """Refuse a URL whose host is an address that is not public, or `localhost`.

    Names are not resolved: ingest refuses a name that leads to such an address, when it connects.

    Raises
    ------
    StageError("source_invalid_url"): as `check_url`.
    StageError("source_forbidden_address"): if the host is refused and not on the list.
    """
    target = check_url(url)
    address = literal_address(target.host)
    permits = partial(allowed.permits, target.host, port=target.port)
    if address is not None:
        if not permits(address=address):
            raise forbidden(target.host)
    elif _plain(target.host).split(".")[-1] == "localhost" and not (
        permits(address=IPv4Address("127.0.0.1")) or permits(address=IPv6Address("::1"))
    ):
        raise forbidden(target.host)


def forbidden(host: str) -> StageError:
    """Return the error for a refused host. It does not reveal the address of a name within the operator's network."""
    advice = DATASET_CODES["source_forbidden_address"].advice
    if literal_address(host) is not None:
        return StageError("source_forbidden_address", f"{host} is a private or reserved address. {advice}")
    return StageError("source_forbidden_address", f"{host} leads to a private or reserved address. {advice}")


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    bits = int(address)
    if any(address in network for network in LAST_32_BITS) or (bits >> 32) & 0xFFFF_FFFF in ISATAP:
        yield IPv4Address(bits & 0xFFFF_FFFF)


def _plain(host: str) -> str:
    """Return a host for comparison: full-width characters narrowed (as IDNA does), lower case, no final dot."""
    narrow = unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower()
    with suppress(ValueError):
        narrow = ascii_host(narrow)
    return narrow.rstrip(".")


def _is_name(host: str) -> bool:
    return _HOST.fullmatch(_plain(host)) is not None


def _split_port(entry: str) -> tuple[str, int | None]:
    host, colon, port = entry.rpartition(":")
    if colon and port.isascii() and port.isdigit() and not port.startswith("0") and int(port) < 65536:
        return host.removeprefix("[").removesuffix("]"), int(port)
    return entry, None


def _invalid(reason: str) -> StageError:
    return StageError("source_invalid_url", f"{reason} {DATASET_CODES['source_invalid_url'].advice}")
