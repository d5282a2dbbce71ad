"""Expected checksums of a file, from the server's headers or from the request for the dataset. Does no I/O.

Headers: Repr-Digest and Content-Digest (RFC 9530), Digest (RFC 3230), Content-MD5 (RFC 1864) and x-goog-hash.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ingest.http import HeaderValues
from pipeline.errors import StageError

Algorithm = Literal["sha256", "sha512", "md5"]

ALGORITHMS: dict[str, Algorithm] = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5"}
"""Names in headers, and hashlib's names. 32-bit checksums are left out, because they add little to TCP's own."""

REQUEST = "the request"
"""Value of `Checksum.by` for a checksum from the request for the dataset."""

LENGTHS = {"sha256": 32, "sha512": 64, "md5": 16}
"""Bytes of a digest. A value of any other length is ignored."""

# RFC 9651 §3.2: a member of a dictionary may have parameters. RFC 9530 defines none.
_MEMBER = re.compile(r"\s*([A-Za-z0-9-]+)\s*=\s*:?([A-Za-z0-9+/]+={0,2}):?\s*(?:;.*)?")


@dataclass(frozen=True, slots=True)
class Checksum:
    """An expected checksum.

    Parameters
    ----------
    digest: in hex.
    by: where it comes from: the name of a header, or REQUEST.
    """

    algorithm: Algorithm
    digest: str
    by: str


def from_headers(headers: HeaderValues, *, is_whole: bool) -> tuple[Checksum, ...]:
    """Return the file's checksums in a response's headers.

    Parameters
    ----------
    is_whole: whether the response contains the whole file. If not, headers that describe only its content are ignored.
    """
    names = ["Repr-Digest", "Digest"]
    if is_whole:
        names.append("Content-Digest")
    found = [expected for name in names for expected in _members(headers(name), name)]
    found += _members(headers("x-goog-hash"), "x-goog-hash")
    if is_whole:
        found += [
            Checksum("md5", digest, "Content-MD5")
            for value in headers("Content-MD5")
            for digest in _decoded("md5", value.strip())
        ]
    return tuple(found)


def from_request(sha256: str) -> tuple[Checksum, ...]:
    """Return the checksum in the request for the dataset: a SHA-256 in hex, or "" for none."""
    return (Checksum("sha256", sha256.lower(), REQUEST),) if sha256 else ()


def algorithms(checksums: Iterable[Checksum]) -> set[Algorithm]:
    """Return the hashes to compute. SHA-256 is always one of them, because it identifies the source."""
    return {"sha256", *(expected.algorithm for expected in checksums)}


class ChecksumMismatch(StageError):
    """Raised when a file does not have an expected checksum.

    Parameters
    ----------
    expected: the expected checksum.
    found: the checksum of the received file, in hex.
    host: the server that sent the file.
    again: whether a second download had the same wrong checksum.
    """

    def __init__(self, expected: Checksum, found: str, host: str, *, again: bool = False) -> None:
        advice = "Retry; if it happens again, check the file at its source."
        if again:
            advice = "Two downloads returned the same bytes: check the sha256 in your request, and the URL."
        super().__init__(
            "source_corrupted",
            f"The file from {host} has the {expected.algorithm} {found}, but {expected.by} says {expected.digest}. "
            f"{advice}",
            retryable=False if again else None,
        )
        self.expected = expected
        self.found = found
        self.host = host

    def again(self) -> ChecksumMismatch:
        """Return the same error as not retryable: the same bytes came twice, so they were not damaged in transit."""
        return ChecksumMismatch(self.expected, self.found, self.host, again=True)


def verify(checksums: Iterable[Checksum], digests: Mapping[Algorithm, str], host: str) -> None:
    """Raise ChecksumMismatch unless the digests of the received file match all expected checksums."""
    for expected in checksums:
        if digests[expected.algorithm] != expected.digest:
            raise ChecksumMismatch(expected, digests[expected.algorithm], host)


def _members(values: Iterable[str], by: str) -> Iterator[Checksum]:
    for value in values:
        for member in value.split(","):
            match = _MEMBER.fullmatch(member)
            algorithm = ALGORITHMS.get(match[1].lower()) if match else None
            if match and algorithm:
                yield from (Checksum(algorithm, digest, by) for digest in _decoded(algorithm, match[2]))


def _decoded(algorithm: Algorithm, text: str) -> Iterator[str]:
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return
    if len(digest) == LENGTHS[algorithm]:
        yield digest.hex()
