"""Map exceptions of requests, urllib3, http.client and sockets to error codes and messages for people."""

from __future__ import annotations

import http.client
import ssl

import requests
import urllib3
from urllib3.exceptions import LocationParseError

from ingest.http.response import broken, incomplete
from ingest.http.strict_response import ChunksUnreadable, HeadersTooLong, HeadersUnreadable
from ingest.http.tls_failures import certificate_failure, handshake_failure
from pipeline.causes import causes
from pipeline.errors import DATASET_CODES, StageError


def download_error(error: Exception, host: str, *, in_body: bool = False) -> StageError:
    """Return the StageError for a failed exchange with a host.

    The libraries wrap each other's errors, so the whole chain of causes is searched.

    Parameters
    ----------
    in_body: whether the response's headers had already arrived.
    """
    chain = list(causes(error))

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in chain)

    if caused_by(requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationParseError, UnicodeError):
        return StageError("source_invalid_url", f"The URL is malformed. {DATASET_CODES['source_invalid_url'].advice}")
    certificate = next((cause for cause in chain if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return certificate_failure(certificate, host)
    if caused_by(TimeoutError, urllib3.exceptions.TimeoutError, requests.exceptions.Timeout):
        return StageError("source_timeout", f"{host} sent nothing for too long. Retry later.")
    if caused_by(http.client.RemoteDisconnected, http.client.IncompleteRead, urllib3.exceptions.IncompleteRead):
        return incomplete(host)
    if caused_by(HeadersTooLong):
        return broken(host, "its headers are larger than TILEWRIGHT_SOURCE_MAX_HEADER_BYTES")
    if caused_by(HeadersUnreadable):
        return broken(host, "a header line is malformed, so the headers after it are not reliable")
    if caused_by(ChunksUnreadable):
        return broken(host, "a chunk is malformed, so the bytes after it are not reliable")
    if caused_by(http.client.HTTPException, urllib3.exceptions.InvalidHeader):
        return broken(host, "the response cannot be parsed")
    handshake = next((cause for cause in chain if isinstance(cause, ssl.SSLError)), None)
    if handshake is not None and not in_body:
        return handshake_failure(handshake, host)
    return incomplete(host)
