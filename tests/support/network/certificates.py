"""TLS as servers have it: with a certificate that is in order, or wrong in one way."""

from __future__ import annotations

import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

NOW = datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority that is not a public one, and the contexts of servers whose certificates it has signed.

    Parameters
    ----------
    host: the name or address that the servers have.
    """

    host: str
    root: trustme.CA

    @classmethod
    def of(cls, host: str) -> Authority:
        return cls(host, trustme.CA())

    def bundle(self, folder: Path) -> Path:
        """A PEM file with its certificate."""
        path = folder / "authority.pem"
        path.write_bytes(self.root.cert_pem.bytes())
        return path

    def good(self) -> ssl.SSLContext:
        return _context(self.root.issue_cert(self.host))

    def expired(self) -> ssl.SSLContext:
        return _context(self.root.issue_cert(self.host, not_before=_days(-9), not_after=_days(-2)))

    def not_yet_valid(self) -> ssl.SSLContext:
        return _context(self.root.issue_cert(self.host, not_before=_days(2)))

    def other_name(self) -> ssl.SSLContext:
        return _context(self.root.issue_cert("other.test"))

    def intermediate(self, *, complete: bool) -> ssl.SSLContext:
        """Signed by an intermediate authority, whose certificate is sent or left out."""
        leaf = self.root.create_child_ca().issue_cert(self.host)
        context = _server()
        if complete:
            leaf.configure_cert(context)
        else:
            with leaf.private_key_and_cert_chain_pem.tempfile() as chain:
                pem = Path(chain).read_text(encoding="ascii")
            end = "-----END CERTIFICATE-----\n"
            with trustme.Blob((pem.partition(end)[0] + end).encode()).tempfile() as alone:
                context.load_cert_chain(alone)
        return context

    def old(self) -> ssl.SSLContext:
        """Speaks TLS 1.1 at most."""
        context = self.good()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        return context

    def for_clients(self) -> ssl.SSLContext:
        """Wants a certificate of the client, too. By TLS 1.2, which says so within the handshake."""
        context = self.good()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        self.root.configure_trust(context)
        return context


def _server() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def _context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = _server()
    leaf.configure_cert(context)
    return context


def _days(count: int) -> datetime:
    return NOW + timedelta(days=count)
