"""Small blocks taken together: without a network, by what is read and how long it took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from ingest.http.coalescing import ENOUGH, LONGEST, MANY, REST, SMALL, Coalesced


class Body:
    """Gives its blocks one by one, each in its time; reading costs a millisecond of work."""

    def __init__(self, blocks: Sequence[bytes | Exception], seconds: float = 0.0) -> None:
        self.blocks = iter(blocks)
        self.seconds = seconds
        self.now = self.worked = 0.0
        self.reads = 0
        self.rests: list[float] = []
        self.crumbs = Coalesced(self.read, self.rests.append, lambda: self.now, lambda: self.worked)

    def read(self) -> bytes:
        self.reads += 1
        self.now += self.seconds
        self.worked += 0.001
        block = next(self.blocks, b"")
        if isinstance(block, Exception):
            raise block
        return block

    def all(self) -> Iterator[bytes]:
        while block := self.crumbs.read():
            yield block


def test_no_byte_is_lost_and_none_changes_its_place() -> None:
    blocks = [bytes([number % 251]) * (number * 7 % 90 + 1) for number in range(5000)]
    assert b"".join(Body([*blocks]).all()) == b"".join(blocks)


def test_a_small_block_by_itself_is_handed_on_at_once() -> None:
    body = Body([b"a", b"b" * SMALL, b"c"])
    assert (body.crumbs.read(), body.reads) == (b"a", 1)
    assert (body.crumbs.read(), body.reads) == (b"b" * SMALL, 2)
    assert (body.crumbs.read(), body.reads) == (b"c", 3)


def test_many_small_blocks_are_taken_together_and_a_large_one_ends_that() -> None:
    body = Body([b"x"] * (MANY + 100) + [b"y" * SMALL, b"z", b"z"])
    sizes = [len(block) for block in body.all()]
    assert sizes == [1] * MANY + [100 + SMALL, 1, 1]


def test_what_is_taken_together_is_bounded_in_bytes_blocks_and_time() -> None:
    assert max(map(len, Body([b"x" * 500] * 1000).all())) == 500 * -(-ENOUGH // 500)
    assert max(map(len, Body([b"x"] * 3 * ENOUGH).all())) == ENOUGH
    slow = Body([b"x"] * 1000, seconds=LONGEST / 3)
    assert max(map(len, slow.all())) <= 4


def test_an_error_comes_behind_the_bytes_that_came_before_it() -> None:
    body = Body([b"x"] * (MANY + 10) + [ConnectionError("broken")])
    assert b"".join(body.crumbs.read() for _ in range(MANY + 1)) == b"x" * (MANY + 10)
    with pytest.raises(ConnectionError):
        body.crumbs.read()


@pytest.mark.parametrize(("size", "rests"), [(1, True), (63, True), (64, False), (1000, False)])
def test_a_reader_of_tiny_blocks_rests_many_times_as_long_as_it_works(size: int, rests: bool) -> None:
    body = Body([b"x" * size] * 20_000)
    assert sum(map(len, body.all())) == size * 20_000
    assert bool(body.rests) is rests
    # But for the last, behind which nothing comes
    assert not rests or sum(body.rests) >= REST * 0.001 * 15_000
