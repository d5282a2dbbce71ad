"""What clients ask for in headers."""

from __future__ import annotations

import pytest

from gateway.http import is_not_modified, preferred_wait


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["wait=10"], 10),
        (["Wait = 10"], 10),
        (['wait="10"'], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async", "wait=10; foo=bar"], 10),
        (["wait=10, wait=20"], 10),
        (["wait=0"], 0),
        (["wait=301"], 300),
        (["wait=" + "9" * 5000], 300),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=soon"], None),
        (["wait=²"], None),
        (["waiting=10"], None),
        ([""], None),
    ],
)
def test_a_wait_is_read_as_rfc_7240_has_it_and_capped(headers: list[str], seconds: float | None) -> None:
    assert preferred_wait(headers, longest=300) == seconds


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ([], False),
        (['W/"7"'], True),
        (['"7"'], True),
        (['"6", W/"7"'], True),
        (['"6"', '"7"'], True),
        (["*"], True),
        (['W/"70"'], False),
        (["7"], False),
        ([""], False),
    ],
)
def test_if_none_match_is_compared_weakly(headers: list[str], same: bool) -> None:
    raw = [(b"if-none-match", value.encode()) for value in headers]
    assert is_not_modified(raw, b'W/"7"') is same
