"""Say what is wrong with a server's TLS, and who can do what about it. Pure functions, without I/O."""

from __future__ import annotations

import ssl

from pipeline.errors import StageError

SELF_SIGNED = (18, 19)
NO_ISSUER = (2, 20, 21)
OTHER_NAME = (62, 63, 64)
NOT_YET_VALID, EXPIRED, REVOKED = 9, 10, 23
"""OpenSSL's results of a verification (X509_V_ERR_…)."""

BUNDLE = "have the operator add the missing certificate to TILEWRIGHT_SOURCE_CA_BUNDLE"

OLD_PROTOCOL = frozenset(
    {
        "NO_PROTOCOLS_AVAILABLE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
        "UNSUPPORTED_PROTOCOL",
        "WRONG_SSL_VERSION",
    }
)
NO_TLS = frozenset(
    {"HTTPS_PROXY_REQUEST", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "WRONG_VERSION_NUMBER"}
)
WEAK = frozenset(
    {
        "BAD_ECC_CERT",
        "DH_KEY_TOO_SMALL",
        "EE_KEY_TOO_SMALL",
        "NO_SHARED_CIPHER",
        "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        "WRONG_SIGNATURE_TYPE",
    }
)
REFUSED = frozenset({"SSLV3_ALERT_HANDSHAKE_FAILURE"})
CLIENT_CERTIFICATE = frozenset({"SSLV3_ALERT_BAD_CERTIFICATE", "TLSV13_ALERT_CERTIFICATE_REQUIRED"})
OTHER_HOST = frozenset({"TLSV1_UNRECOGNIZED_NAME"})
"""OpenSSL's reasons for which a handshake fails (SSL_R_…), by what they mean here."""


def certificate_failure(error: ssl.SSLCertVerificationError, host: str) -> StageError:
    """Return the error for a server whose certificate is not accepted. A retry cannot help by itself."""
    return StageError("source_unreachable", _certificate(error, host), retryable=False)


def handshake_failure(error: ssl.SSLError, host: str) -> StageError:
    """Return the error for a failed TLS handshake."""
    reason = error.reason or ""
    if reason in OLD_PROTOCOL:
        said = (
            f"{host} offers only versions of TLS before 1.2, which are not secure. Have the server's owner update it, "
            "or offer the file elsewhere."
        )
    elif reason in NO_TLS:
        said = (
            f"{host} does not speak TLS on this port. Check the port, or try the URL with http:// instead of https://."
        )
    elif reason in WEAK:
        said = (
            f"{host} and this service have no secure cipher or key in common. Have the server's owner update its TLS "
            "configuration, or offer the file elsewhere."
        )
    elif reason in REFUSED:
        said = (
            f"{host} refuses the TLS handshake: it has no secure cipher in common with this service, or wants a client "
            "certificate. Have the server's owner update its TLS configuration, or offer the file elsewhere."
        )
    elif reason in CLIENT_CERTIFICATE:
        said = f"{host} asks for a client certificate: the file is not public. Use another URL."
    elif reason in OTHER_HOST:
        said = f"{host} answers at an address whose server does not know this name. Check the host in the URL."
    else:
        said = f"The TLS handshake with {host} failed. Check its TLS configuration, then retry."
        return StageError("source_unreachable", said)
    return StageError("source_unreachable", said, retryable=reason in NO_TLS)


def _certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    code = error.verify_code
    if code == EXPIRED:
        return (
            f"The TLS certificate of {host} has expired. Have the server's owner renew it, then retry. If a browser "
            "accepts it, have the operator check the worker's clock."
        )
    if code == NOT_YET_VALID:
        return (
            f"The TLS certificate of {host} is not valid yet. Have the operator check the worker's clock, or the "
            "server's owner the certificate, then retry."
        )
    if code in OTHER_NAME:
        return (
            f"The TLS certificate of {host} is for another name. Use the name that the certificate is for, or have the "
            "server's owner get one for this name."
        )
    if code in NO_ISSUER:
        return (
            f"{host} sends an incomplete chain of TLS certificates: an intermediate one is missing, or its authority "
            f"is not a public one. Have the server's owner send the whole chain, or {BUNDLE}, then retry."
        )
    if code in SELF_SIGNED:
        return (
            f"The TLS certificate of {host} is self-signed, or is by an authority that is not a public one. If you "
            f"trust it, {BUNDLE}, then retry."
        )
    if code == REVOKED:
        return f"The TLS certificate of {host} was revoked. Have the server's owner replace it, then retry."
    return f"The TLS certificate of {host} is not accepted: {error.verify_message}. Fix the certificate, then retry."
