"""Check a server's response by its status and headers. Pure functions, without I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from ingest.http.validators import HeaderValues
from pipeline.errors import StageError
from pipeline.texts import amount

LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
"""Client errors after which a retry may succeed."""

CROWDED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""Refusals that may mean that the client has too many connections."""

NOT_OF_A_RANGE = (HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, *LATER)
"""Refusals of the client, whatever it requests."""

NOT_THESE_BYTES = (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, HTTPStatus.PRECONDITION_FAILED)
"""Statuses that do not mean an error of the file: an empty file has no range, and some servers treat If-Range as
If-Match."""

CHALLENGES = ("x-amzn-waf-action", "cf-mitigated", "x-vercel-mitigated")
"""Headers of a response that wants a browser to run a script or a person to solve a puzzle: AWS WAF, Cloudflare,
Vercel."""

DECODABLE = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "br", "zstd": "zstd"}
"""Content codings that are undone, and their names in content_coding.DECODERS."""

NOT_DECODABLE = frozenset({"aes128gcm", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress"})
"""The other codings of IANA's registry. What is in neither set is no coding: aws-chunked, UTF-8, none, binary."""

MOST_CODINGS = 2
"""Maximum codings of one body. One is usual; a proxy may add another."""

MAX_RETRY_AFTER = 7 * 24 * 3600.0
"""Seconds. A longer wait amounts to a refusal. statussvc caps it to its own longest delay anyway."""

_BLANKS = " \t"  # HTTP's only blanks (RFC 9110 §5.6.3). Stripping others would read headers unlike other parsers.

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


class OnlyBrowsers(StageError):
    """Raised when a server answers with a challenge for bots."""

    def __init__(self, host: str, said: str) -> None:
        super().__init__(
            "source_forbidden",
            f"{said} with a challenge: {host} lets only browsers in. Download the file with a browser, put it where "
            "programs may fetch it, and use that URL, or ask the server's owner to let this service in.",
        )


@dataclass(frozen=True, slots=True)
class Part:
    """What a 206 contains: the bytes from `first` up to but not including `end`, of `total` if it is known."""

    first: int
    end: int
    total: int | None


def refuses_range(code: int, headers: HeaderValues, *, is_alone: bool = False) -> bool:
    """Return whether a response that is not the requested part may be a refusal of the range alone.

    Some servers, and proxies before them, refuse any request that has a Range header, or answer with a broken 206.

    Parameters
    ----------
    is_alone: whether this was the first request for the file, and the worker has no other connection to the host. Then
        a 503 with Retry-After may be such a refusal too. Otherwise it is more likely the host's limit.
    """
    if code == HTTPStatus.PARTIAL_CONTENT:
        return True
    if code < 400 or code in (*NOT_OF_A_RANGE, *NOT_THESE_BYTES) or is_challenge(headers):
        return False
    return not headers("Retry-After") or (is_alone and code == HTTPStatus.SERVICE_UNAVAILABLE)


def may_have_expired(code: int) -> bool:
    """Return whether a status may mean that a URL has expired that gave a part of the file before.

    Servers of signed URLs use 400, 401, 403, 404 and 410 for that.
    """
    return 400 <= code < 500 and code not in (*LATER, *NOT_THESE_BYTES)


def is_challenge(headers: HeaderValues) -> bool:
    """Return whether a response's headers say that it is a challenge which only a browser can meet."""
    return any(headers(name) for name in CHALLENGES)


def check_status(host: str, code: int, headers: HeaderValues) -> None:
    """Check that a response contains the whole file.

    Raises StageError if not: "source_not_found", "source_forbidden", "source_refused", "source_pending" or
    "source_unavailable" (both with the server's Retry-After), or "source_protocol_error".
    """
    if code in (HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION):
        return
    said = f"{host} answered {_name(code)}"
    if code != HTTPStatus.NOT_MODIFIED and is_challenge(headers):
        raise OnlyBrowsers(host, said)
    if code == HTTPStatus.ACCEPTED:
        raise StageError(
            "source_pending",
            f"{said}: the server has to fetch the file first, as from a tape archive. It is asked again.",
            retry_after=retry_after(headers("Retry-After")),
        )
    if code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise StageError(
            "source_not_found", f"{said}: there is nothing at this address. Open the URL in a browser and check it."
        )
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise StageError(
            "source_forbidden",
            f"{said}: the file is not public. Make it readable without signing in, or use another URL.",
        )
    if code in LATER or code >= 500:
        raise StageError(
            "source_unavailable",
            f"{said}: the server cannot send the file at the moment. Retry later.",
            retry_after=retry_after(headers("Retry-After")),
            refused_by=host if code in CROWDED else "",
        )
    if code >= 400:
        raise StageError("source_refused", f"{said} and did not send the file. Open the URL in a browser and check it.")
    if code == HTTPStatus.PARTIAL_CONTENT:
        raise broken(host, "it sent a part of the file without a range request")
    raise broken(host, f"it answered {_name(code)}, without a file")


def part_of(host: str, code: int, headers: HeaderValues, first: int, end: int | None, max_bytes: int) -> Part | None:
    """Return which part of the file a response contains; None if it is not a 206, or not a valid one.

    Parameters are those of `check_part`. Raises StageError("source_too_large").
    """
    if code != HTTPStatus.PARTIAL_CONTENT:
        return None
    try:
        return check_part(host, headers, first, end, max_bytes)
    except StageError as error:
        if error.code != "source_protocol_error":
            raise
        return None


def check_part(host: str, headers: HeaderValues, first: int, end: int | None, max_bytes: int) -> Part:
    """Check a 206 and return which part of the file it contains.

    The part may be shorter than requested, but has to begin at the requested byte (RFC 9110 §15.3.7).

    Raises StageError: as `check_framing`, and "source_protocol_error" for a range that was not requested, no range,
    several ranges, or a length that does not match the range.

    Parameters
    ----------
    first: first byte of the requested range.
    end: byte after the last one of the requested range; None for the end of the file.
    """
    if any(value.lower().startswith("multipart/") for value in headers("Content-Type")):
        raise broken(host, "it sent several parts of the file instead of one")
    ranges = headers("Content-Range")
    match = _CONTENT_RANGE.fullmatch(ranges[0].strip()) if len(ranges) == 1 else None
    if match is None:
        raise broken(host, "it sent a part of the file without a valid Content-Range")
    last = int(match[2])
    part = Part(int(match[1]), last + 1, None if match[3] == "*" else int(match[3]))
    beyond = (end if end is not None else part.end) < part.end or (part.total or part.end) < part.end
    if part.first != first or part.end <= first or beyond:
        raise broken(host, "it sent a part of the file that was not requested")
    if part.total is not None and part.total > max_bytes:
        raise too_large(host, max_bytes, part.total)
    if codings(host, headers):
        raise broken(host, "it sent a part of the file compressed, which was not requested")
    length = check_framing(host, headers, max_bytes)
    if length not in (None, part.end - first):
        raise broken(host, "its Content-Length and Content-Range contradict each other")
    return part


def check_framing(host: str, headers: HeaderValues, max_bytes: int) -> int | None:
    """Return the body's declared length in bytes; None if it is chunked or ends with the connection.

    Raises
    ------
    StageError("source_protocol_error"): a length is not a number, differs from another length, or comes with a transfer
        coding; the transfer coding is unknown.
    StageError("source_too_large"): the length is above max_bytes.
    """
    # The same test as http.client's: it would return any other coding's body undecoded, with the chunk headers in it.
    transfer = [value.strip(_BLANKS).lower() for value in headers("Transfer-Encoding")]
    lengths = _tokens(headers("Content-Length"))
    if transfer not in ([], ["chunked"]):
        raise broken(host, "it sent the file with an unknown Transfer-Encoding")
    if transfer and lengths:
        raise broken(host, "its Content-Length and Transfer-Encoding contradict each other")
    if not lengths:
        return None
    if len(set(lengths)) > 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise broken(host, "its Content-Length is not a number of bytes")
    length = int(lengths[0])
    if length > max_bytes:
        raise too_large(host, max_bytes, length)
    return length


def codings(host: str, headers: HeaderValues) -> tuple[str, ...]:
    """Return the content codings of a body, as keys of content_coding.DECODERS, in the order of their application.

    Names that are not content codings are left out: some servers write a charset there, or how the file was uploaded.

    Raises StageError("source_protocol_error"): a coding that cannot be undone, or too many codings.
    """
    names = _tokens(headers("Content-Encoding"))
    found = tuple(DECODABLE[name] for name in names if name in DECODABLE)
    if unknown := next((name for name in names if name in NOT_DECODABLE), None):
        raise broken(host, f"it sent the file with the Content-Encoding {unknown}, which was not requested")
    if len(found) > MOST_CODINGS:
        raise broken(host, "it sent the file compressed several times over, which was not requested")
    return found


def retry_after(values: Sequence[str], now: datetime | None = None) -> float | None:
    """Return the seconds to wait from Retry-After (RFC 9110 §10.2.3: seconds or a date); None if absent or invalid."""
    value = values[0].strip() if values else ""
    if re.fullmatch(r"[0-9]+", value):
        # float() accepts any number of digits; int() has a limit.
        return min(float(value), MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def too_large(host: str, max_bytes: int, length: int | None = None) -> StageError:
    """Return the error for a file that is too large.

    Parameters
    ----------
    length: the declared length in bytes; None if the server declared none.
    """
    size = "is larger than that" if length is None else f"has {amount(length)}"
    return StageError(
        "source_too_large",
        f"This installation accepts files of up to {amount(max_bytes)}; the file at {host} {size}. "
        "Have the operator raise TILEWRIGHT_MAX_SOURCE_BYTES.",
    )


def incomplete(host: str) -> StageError:
    """Return the error for a body that ended too early."""
    return StageError(
        "source_incomplete",
        f"The connection to {host} ended before the whole file had arrived. "
        "Retry; if it happens again, check the server.",
    )


def broken(host: str, what: str) -> StageError:
    """Return the error for a response that breaks the rules of HTTP.

    Parameters
    ----------
    what: the rule that it breaks, as a clause.
    """
    return StageError(
        "source_protocol_error",
        f"{host} sent an invalid HTTP response: {what}. Retry if a proxy may be to blame, or use another server.",
    )


def _tokens(values: Sequence[str]) -> list[str]:
    return [token.strip(_BLANKS).lower() for value in values for token in value.split(",") if token.strip(_BLANKS)]


def _name(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)
