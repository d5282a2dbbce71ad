"""What a server's answer is worth, judged by its status and headers alone: pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from ingest.http.validators import HeaderValues
from pipeline.errors import StageError

LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
"""Client errors that pass by themselves."""

MAX_RETRY_AFTER = 7 * 24 * 3600.0
"""Seconds: a longer wait is a refusal in other words; statussvc caps it to its own longest delay anyway."""

_BLANKS = " \t"  # HTTP knows no others (RFC 9110 §5.6.3), and what is stripped here, another reader may not strip.

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """What a 206 carries: the bytes from `first` to before `end`, of `total` where it says so."""

    first: int
    end: int
    total: int | None


def check_status(host: str, code: int, headers: HeaderValues) -> None:
    """Passes an answer that carries the whole file.

    Raises StageError for every other one: "source_not_found", "source_forbidden", "source_refused",
    "source_unavailable" (with the server's Retry-After) or "source_protocol_error".
    """
    if code in (HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION):
        return
    said = f"{host} answered {_name(code)}"
    if code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise StageError(
            "source_not_found", f"{said}: there is nothing at this address. Open the URL in a browser and check it."
        )
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise StageError(
            "source_forbidden",
            f"{said}: not everyone may have this file. Make it readable without signing in, or give another URL.",
        )
    if code in LATER or code >= 500:
        raise StageError(
            "source_unavailable",
            f"{said}: it cannot serve the file at the moment. Retry later.",
            retry_after=retry_after(headers("Retry-After")),
        )
    if code >= 400:
        raise StageError("source_refused", f"{said} and does not give the file. Try the URL in a browser.")
    if code == HTTPStatus.PARTIAL_CONTENT:
        raise broken(host, "it sent a part of the file when it was not asked for one")
    raise broken(host, f"it answered {_name(code)}, with no file")


def check_part(host: str, headers: HeaderValues, first: int, end: int | None, max_bytes: int) -> Part:
    """What a 206 carries, judged by what was asked for: the bytes from `first` to before `end`, or to the last.

    It may carry less, but has to begin where it was asked to (RFC 9110 §15.3.7).

    Raises StageError: as `check_framing`, and "source_protocol_error" for another range than was asked for, none, or
    several, or a length that is not the range's.
    """
    if any(value.lower().startswith("multipart/") for value in headers("Content-Type")):
        raise broken(host, "it sent several parts of the file when asked for one")
    ranges = headers("Content-Range")
    match = _CONTENT_RANGE.fullmatch(ranges[0].strip()) if len(ranges) == 1 else None
    if match is None:
        raise broken(host, "it sent a part of the file and did not say which")
    last = int(match[2])
    part = Part(int(match[1]), last + 1, None if match[3] == "*" else int(match[3]))
    beyond = (end if end is not None else part.end) < part.end or (part.total or part.end) < part.end
    if part.first != first or part.end <= first or beyond:
        raise broken(host, "it sent another part of the file than it was asked for")
    if part.total is not None and part.total > max_bytes:
        raise too_large(host, max_bytes, part.total)
    length = check_framing(host, headers, max_bytes)
    if length not in (None, part.end - first):
        raise broken(host, "it declared two lengths for one part of the file")
    return part


def check_framing(host: str, headers: HeaderValues, max_bytes: int) -> int | None:
    """The body's length in bytes as declared; None where it is chunked or ends with the connection.

    Raises
    ------
    StageError("source_protocol_error"): a content coding although identity was asked for; a length that is not of
        digits only, that differs from another one, or that stands beside a transfer coding; an unknown transfer coding.
    StageError("source_too_large"): more than max_bytes.
    """
    codings = _tokens(headers("Content-Encoding"))
    if any(coding != "identity" for coding in codings):
        raise broken(host, "it sent the file in a compressed coding that was not asked for")
    # As http.client tells a chunked body: what it takes for another coding, it gives with the chunks' framing in it.
    transfer = [value.strip(_BLANKS).lower() for value in headers("Transfer-Encoding")]
    lengths = _tokens(headers("Content-Length"))
    if transfer not in ([], ["chunked"]):
        raise broken(host, "it sent the file in an unknown transfer coding")
    if transfer and lengths:
        raise broken(host, "it declared a length and chunks at once, which contradict each other")
    if not lengths:
        return None
    if len(set(lengths)) > 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise broken(host, "it declared a length that is not a number of bytes")
    length = int(lengths[0])
    if length > max_bytes:
        raise too_large(host, max_bytes, length)
    return length


def retry_after(values: Sequence[str], now: datetime | None = None) -> float | None:
    """Seconds to wait, from a Retry-After header (RFC 9110 §10.2.3: seconds or a date); None where it says nothing."""
    value = values[0].strip() if values else ""
    if re.fullmatch(r"[0-9]+", value):
        # float() takes any number of digits; int() does not.
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
    """The refusal of a file for its size: a declared length, or what has arrived."""
    size = "more" if length is None else f"{_bytes(length)}"
    return StageError(
        "source_too_large",
        f"The file at {host} has {size}, and this installation accepts {_bytes(max_bytes)}. "
        "Have the operator raise TILEWRIGHT_MAX_SOURCE_BYTES.",
    )


def incomplete(host: str) -> StageError:
    """The refusal of a body that ended too early."""
    return StageError(
        "source_incomplete",
        f"The connection to {host} ended before the whole file had arrived. "
        "Retry; if it happens again, check the server.",
    )


def broken(host: str, what: str) -> StageError:
    """The refusal of an answer that HTTP does not allow."""
    return StageError(
        "source_protocol_error",
        f"{host} sent an invalid HTTP response: {what}. Try another server, or retry if a proxy is to blame.",
    )


def _tokens(values: Sequence[str]) -> list[str]:
    return [token.strip(_BLANKS).lower() for value in values for token in value.split(",") if token.strip(_BLANKS)]


def _name(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
