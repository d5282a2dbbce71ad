"""What a source, or whoever submitted it, promises of its bytes: digests to hold against what has arrived. Pure.

Understood are Repr-Digest and Content-Digest (RFC 9530), Digest (RFC 3230), Content-MD5 (RFC 1864) and x-goog-hash.
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
"""Names in headers, to hashlib's. Checksums of 32 bits are left out: TCP has one of its own."""

REQUEST = "the request"
"""Who promises what the submitter has given."""

LENGTHS = {"sha256": 32, "sha512": 64, "md5": 16}
"""Bytes of a digest: what has others is no digest, and promises nothing."""

# RFC 9651 §3.2: a member of a dictionary may have parameters, of which RFC 9530 knows none.
_MEMBER = re.compile(r"\s*([A-Za-z0-9-]+)\s*=\s*:?([A-Za-z0-9+/]+={0,2}):?\s*(?:;.*)?")


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest that the file ought to have, in hex, and who says so."""

    algorithm: Algorithm
    digest: str
    by: str


def promised(headers: HeaderValues, *, is_whole: bool) -> tuple[Checksum, ...]:
    """What an answer's headers promise.

    Parameters
    ----------
    is_whole: whether the answer carries all of the file; else what speaks of the answer's content says nothing of it.
    """
    names = ["Repr-Digest", "Digest"]
    if is_whole:
        names.append("Content-Digest")
    found = [promise for name in names for promise in _members(headers(name), name)]
    found += _members(headers("x-goog-hash"), "x-goog-hash")
    if is_whole:
        found += [
            Checksum("md5", digest, "Content-MD5")
            for value in headers("Content-MD5")
            for digest in _decoded("md5", value.strip())
        ]
    return tuple(found)


def requested(sha256: str) -> tuple[Checksum, ...]:
    """What the request for the dataset promises: a SHA-256 in hex; "" promises nothing."""
    return (Checksum("sha256", sha256.lower(), REQUEST),) if sha256 else ()


def algorithms(checksums: Iterable[Checksum]) -> set[Algorithm]:
    """What has to be computed: SHA-256 always, since it is the source's identity."""
    return {"sha256", *(promise.algorithm for promise in checksums)}


class ChecksumMismatch(StageError):
    """Raised where a promise is not kept.

    Parameters
    ----------
    promise: the one.
    found: the digest of what has arrived, in hex.
    host: that sent it.
    again: whether it is so for the second time.
    """

    def __init__(self, promise: Checksum, found: str, host: str, *, again: bool = False) -> None:
        advice = "Retry; if it happens again, check the file at its source."
        if again:
            advice = "It was fetched twice, with the same bytes: check the sha256 that you gave, and the URL."
        super().__init__(
            "source_corrupted",
            f"The file from {host} has the {promise.algorithm} {found}, and {promise.by} promises {promise.digest}. "
            f"{advice}",
            retryable=False if again else None,
        )
        self.promise = promise
        self.found = found
        self.host = host

    def again(self) -> ChecksumMismatch:
        """The same, for good: what comes twice is no damage on the way."""
        return ChecksumMismatch(self.promise, self.found, self.host, again=True)


def hold(checksums: Iterable[Checksum], digests: Mapping[Algorithm, str], host: str) -> None:
    """Raises Unkept where a promise is not kept by the digests of what has arrived."""
    for promise in checksums:
        if digests[promise.algorithm] != promise.digest:
            raise ChecksumMismatch(promise, digests[promise.algorithm], host)


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
