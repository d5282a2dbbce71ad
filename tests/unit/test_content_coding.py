"""Content codings: which names are codings, and what their bytes become, within bounds."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator

import brotli
import pytest
from backports import zstd

from ingest.http import content_coding
from ingest.http.content_coding import MAX_RATIO, STEP, decoded
from ingest.http.response import codings
from pipeline.errors import StageError

TIFF = b"II*\0" + hashlib.shake_128(b"pixels").digest(900_000) + bytes(700_000)
PACKED = {
    "gzip": gzip.compress(TIFF),
    "deflate": zlib.compress(TIFF),
    "br": brotli.compress(TIFF, quality=5),
    "zstd": zstd.compress(TIFF, options={zstd.CompressionParameter.checksum_flag: 1}),
}


def unpack(body: bytes, *names: str, piece: int = 1 << 16) -> bytes:
    return b"".join(blocks(body, *names, piece=piece))


def blocks(body: bytes, *names: str, piece: int = 1 << 16) -> Iterator[bytes]:
    pieces = iter([body[first : first + piece] for first in range(0, len(body), piece)])
    read = decoded(lambda: next(pieces, b""), names, "example.org")
    while block := read():
        yield block
    assert read() == b""


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", ()),
        ("identity", ()),
        ("aws-chunked", ()),
        ("UTF-8", ()),
        ("none", ()),
        ("binary", ()),
        ("iso-8859-1, 8bit", ()),
        ("aws-chunked,GZIP", ("gzip",)),
        ("x-gzip", ("gzip",)),
        ("deflate, br", ("deflate", "br")),
        ("zstd", ("zstd",)),
    ],
)
def test_only_the_names_of_codings_are_codings(value: str, found: tuple[str, ...]) -> None:
    assert codings("example.org", lambda _: [value]) == found


@pytest.mark.parametrize("value", ["compress", "x-compress", "dcb", "gzip, gzip, gzip"])
def test_what_cannot_be_undone_is_refused(value: str) -> None:
    with pytest.raises(StageError, match="not requested") as refusal:
        codings("example.org", lambda _: [value])
    assert refusal.value.code == "source_protocol_error"


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
def test_each_coding_is_undone(coding: str, piece: int) -> None:
    packed = PACKED[coding]
    if piece == 1:
        packed = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd.compress}[
            coding
        ](TIFF[:5000])
    assert unpack(packed, coding, piece=piece) == (TIFF if piece > 1 else TIFF[:5000])


@pytest.mark.parametrize(
    ("body", "names", "expected"),
    [
        (gzip.compress(TIFF[:1000]) + gzip.compress(TIFF[1000:]), ("gzip",), TIFF),
        (zstd.compress(TIFF[:1000]) + zstd.compress(TIFF[1000:]), ("zstd",), TIFF),
        (gzip.compress(TIFF) + bytes(500), ("gzip",), TIFF),
        (zlib.compress(TIFF, wbits=-15), ("deflate",), TIFF),
        (brotli.compress(gzip.compress(TIFF)), ("gzip", "br"), TIFF),
        (b"", ("gzip",), b""),
        *((TIFF, (coding,), TIFF) for coding in PACKED),
        (b"BM" + TIFF, ("gzip",), b"BM" + TIFF),
    ],
    ids=[
        "two members",
        "two frames",
        "padding",
        "bare deflate",
        "twice",
        "nothing",
        *(f"not {coding}" for coding in PACKED),
        "no gzip",
    ],
)
def test_the_bytes_decide(body: bytes, names: tuple[str, ...], expected: bytes) -> None:
    for piece in (7919, 1 << 20):
        assert unpack(body, *names, piece=piece) == expected


@pytest.mark.parametrize("coding", PACKED)
def test_a_body_that_ends_early_is_incomplete(coding: str) -> None:
    with pytest.raises(StageError) as failure:
        unpack(PACKED[coding][:-1000], coding)
    assert failure.value.code == "source_incomplete"


@pytest.mark.parametrize("coding", PACKED)
def test_damaged_data_is_told(coding: str) -> None:
    # br has no checksum, so damage between its structures is not noticed.
    damaged = bytearray(PACKED[coding])
    first = 0 if coding == "br" else 100
    damaged[first:2000] = b"\xa5" * (2000 - first)
    with pytest.raises(StageError) as failure:
        unpack(bytes(damaged), coding)
    assert failure.value.code in ("source_protocol_error", "source_incomplete")


BOMBS: dict[str, Callable[[int], bytes]] = {
    "gzip": lambda size: gzip.compress(bytes(size)),
    "deflate": lambda size: zlib.compress(bytes(size)),
    "br": lambda size: brotli.compress(bytes(size)),
    "zstd": lambda size: zstd.compress(bytes(size)),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lowers the number of bytes that may have any ratio."""
    monkeypatch.setattr(content_coding, "UNMEASURED", 4 << 20)
    return 4 << 20


@pytest.mark.parametrize("coding", BOMBS)
def test_a_bomb_is_left_after_a_bounded_number_of_bytes(coding: str, small: int) -> None:
    # Given a body of zeros that becomes much larger, when it is decoded
    packed, arrived = BOMBS[coding](10 * small), list[int]()
    with pytest.raises(StageError, match=f"more than {MAX_RATIO} times") as failure:
        arrived.extend(len(block) for block in blocks(packed, coding))
    # Then each step is small, it ends at the limit, and it is not tried again
    assert max(arrived) <= 2 * STEP
    assert sum(arrived) <= max(small, MAX_RATIO * len(packed))
    assert (failure.value.code, failure.value.retryable) == ("source_too_large", False)


def test_a_bomb_in_a_bomb_counts_by_what_was_received(small: int) -> None:
    with pytest.raises(StageError, match=f"more than {MAX_RATIO} times"):
        unpack(gzip.compress(gzip.compress(bytes(3 * small))), "gzip", "gzip")


def test_a_zstd_window_is_bounded() -> None:
    wide = zstd.compress(
        TIFF * 20,
        options={
            zstd.CompressionParameter.window_log: 27,
            zstd.CompressionParameter.enable_long_distance_matching: 1,
            zstd.CompressionParameter.content_size_flag: 0,
        },
    )
    with pytest.raises(StageError, match="zstd data is damaged"):
        unpack(wide, "zstd")


def test_a_body_within_the_ratio_may_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_coding, "UNMEASURED", 1000)
    assert unpack(PACKED["gzip"], "gzip") == TIFF
