"""The bookkeeping of a download's bytes: whatever connections do, the file becomes exactly the source's."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingest.download.byte_ranges import UNBOUNDED, ByteRanges, Range, Ranges, Span

EDGES = st.integers(0, 60)
RANGES = st.lists(st.tuples(EDGES, EDGES).map(lambda pair: (min(pair), max(pair))), max_size=8)


def members(ranges: Ranges) -> set[int]:
    return {one for first, end in ranges for one in range(first, end)}


@given(RANGES, RANGES)
def test_a_set_of_ranges_is_a_set_of_bytes(put_in: list[Range], taken_out: list[Range]) -> None:
    # Given a model of single bytes, when ranges are put in and taken out
    ranges, model = Ranges(), set[int]()
    for first, end in put_in:
        ranges.add(first, end)
        model |= set(range(first, end))
    for first, end in taken_out:
        ranges.remove(first, end)
        model -= set(range(first, end))
    # Then it holds the same bytes, in as few ranges as there can be, in order
    assert members(ranges) == model
    assert ranges.bytes == len(model)
    assert all(before[1] < after[0] for before, after in zip(list(ranges), list(ranges)[1:], strict=False))
    # And its complement holds the others
    assert members(ranges.complement(60)) == set(range(60)) - model
    assert ranges.last == (list(ranges)[-1] if len(ranges) else (0, 0))


class Connection:
    """One that fetches a span; `at` is where its server's answer goes on, `block` what it has at hand to write."""

    def __init__(self, span: Span, end: int) -> None:
        self.span = span
        self.at = span.next
        self.end = end
        self.block: Range | None = None


class Download(RuleBasedStateMachine):
    """Connections join, bring blocks of any size, break, take over from each other; older bytes are copied."""

    @initialize(data=st.data(), length=st.integers(0, 300), piece=st.integers(1, 80), least=st.integers(1, 40))
    def begin(self, data: st.DataObject, length: int, piece: int, least: int) -> None:
        self.source = bytes(number % 251 for number in range(length))
        edges = st.integers(0, length)
        held = data.draw(st.lists(st.tuples(edges, edges).map(lambda pair: (min(pair), max(pair))), max_size=3))
        self.held = list(Ranges(held))
        self.spans = ByteRanges(length, self.held, piece=piece, least=least)
        self.file = bytearray(length)
        self.written = bytearray(length)
        self.open: list[Connection] = []

    def write(self, first: int, end: int) -> None:
        self.file[first:end] = self.source[first:end]
        for one in range(first, end):
            self.written[one] += 1
        self.spans.arrive(first, end - first)

    @rule(is_first=st.booleans(), goes_on=st.booleans())
    def join(self, is_first: bool, goes_on: bool) -> None:
        span = self.spans.take() if is_first else self.spans.take_last()
        if span is not None:
            end = len(self.source) if goes_on else self.spans.reach(span)
            self.open.append(Connection(span, end))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def bring(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.open))
        if one.block is None and one.at < one.end and one.span.left:
            count = data.draw(st.integers(1, one.end - one.at))
            taken = self.spans.claim(one.span, count)
            one.block = (one.at, one.at + taken)
            one.at += count

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def put_down(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.open))
        if one.block is not None:
            self.write(*one.block)
            one.block = None
        if not one.span.left and one.block is None:
            self.open.remove(one)
            following = self.spans.take(one.at)
            if following is not None:
                end = one.end if following.next == one.at else following.end
                self.open.append(Connection(following, max(end, following.end)))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def break_off(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.open))
        if one.block is None:
            self.spans.leave(one.span)
            self.open.remove(one)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        first, end = self.held.pop()
        middle = data.draw(st.integers(first, end))
        self.write(first, middle)
        if middle < end:
            self.held.append((middle, end))

    @invariant()
    def no_byte_is_written_twice(self) -> None:
        assert max(self.written, default=0) <= 1

    @invariant()
    def what_is_said_to_be_there_is_there(self) -> None:
        assert members(Ranges(self.spans.there)) == {one for one, count in enumerate(self.written) if count}
        assert self.spans.is_complete == (sum(self.written) == len(self.source))

    @invariant()
    def no_byte_is_forgotten(self) -> None:
        at_hand = sum(one.block[1] - one.block[0] for one in self.open if one.block is not None)
        held = sum(end - first for first, end in self.held)
        assert sum(self.written) + at_hand + held + self.spans.left == len(self.source)

    def teardown(self) -> None:
        """However it stands, connections that go on to the end make it whole."""
        for one in self.open:
            if one.block is not None:
                self.write(*one.block)
            self.spans.leave(one.span)
        for first, end in self.held:
            self.write(first, end)
        while span := self.spans.take():
            first = span.next
            self.write(first, first + self.spans.claim(span, span.left))
        assert self.spans.is_complete
        assert bytes(self.file) == self.source


TestDownload = Download.TestCase
TestDownload.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_without_a_length_one_span_takes_it_all_and_its_end_is_the_files() -> None:
    # Given a file of unknown length
    spans = ByteRanges(None)
    span = spans.take()
    assert span is not None
    assert (span.next, span.end, spans.take(), spans.offers()) == (0, UNBOUNDED, None, False)
    # When ten bytes have come, and then the end
    spans.arrive(0, spans.claim(span, 10))
    assert not spans.is_complete
    spans.seal(10)
    # Then it is whole
    assert spans.is_complete


def test_a_rest_is_divided_only_where_each_half_is_worth_a_request() -> None:
    spans = ByteRanges(100, piece=100, least=30)
    first = spans.take()
    assert first is not None
    second = spans.take()
    assert second is not None
    assert [(one.next, one.end) for one in (first, second)] == [(0, 50), (50, 100)]
    assert spans.take() is None
    assert not spans.offers()
