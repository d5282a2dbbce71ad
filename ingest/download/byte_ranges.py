"""Track which bytes of a file are written, which are being fetched, and which are missing. Does no I/O.

At any moment each byte of the file is in exactly one of four states: *missing*, in the remaining span of one
connection, received but not yet written, or *there*. Whatever connections do (join, break, leave, take half of
another's span), no two of them fetch the same byte at once, and no byte is forgotten.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from itertools import pairwise

Range = tuple[int, int]
"""First byte, and the byte after the last one."""

UNBOUNDED = 1 << 62
"""End of a file whose length is unknown."""


class Span:
    """The bytes that one connection fetches: from `next` up to but not including `end`. Both can move."""

    __slots__ = ("end", "next")

    def __init__(self, first: int, end: int) -> None:
        self.next = first
        self.end = end

    @property
    def left(self) -> int:
        """Number of bytes that are not yet fetched."""
        return self.end - self.next


class Ranges:
    """A set of bytes, stored as the fewest possible ranges, in order."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._ranges: list[Range] = []
        for first, end in ranges:
            self.add(first, end)

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    @property
    def last(self) -> Range:
        """The last range; an empty one if there is none."""
        return self._ranges[-1] if self._ranges else (0, 0)

    @property
    def bytes(self) -> int:
        """Number of bytes in the set."""
        return sum(end - first for first, end in self._ranges)

    def add(self, first: int, end: int) -> None:
        """Add a range, which may overlap others."""
        if first >= end:
            return
        low = bisect.bisect_left(self._ranges, first, key=lambda one: one[1])
        high = bisect.bisect_right(self._ranges, end, key=lambda one: one[0])
        touched = self._ranges[low:high]
        if touched:
            first, end = min(first, touched[0][0]), max(end, touched[-1][1])
        self._ranges[low:high] = [(first, end)]

    def remove(self, first: int, end: int) -> None:
        """Remove a range. Parts of it may be absent."""
        if first >= end:
            return
        kept: list[Range] = []
        for one_first, one_end in self._ranges:
            kept += [
                (low, high)
                for low, high in ((one_first, min(one_end, first)), (max(one_first, end), one_end))
                if low < high
            ]
        self._ranges = kept

    def complement(self, end: int) -> Ranges:
        """Return the bytes before `end` that are not in the set."""
        edges = [0, *(edge for one in self._ranges for edge in one), end]
        return Ranges((low, high) for low, high in list(pairwise(edges))[::2])


class ByteRanges:
    """The state of one file's bytes. Not thread-safe.

    Parameters
    ----------
    length: length of the file in bytes; None if it is unknown.
    held: ranges that no connection has to fetch, because an earlier download has them. `arrive` reports them later.
    piece: maximum bytes that one connection takes at once.
    least: smallest number of bytes worth a request. A span of less than twice this number is not divided.
    """

    def __init__(
        self, length: int | None, held: Iterable[Range] = (), *, piece: int = UNBOUNDED, least: int = UNBOUNDED
    ) -> None:
        self.length = length
        self._piece = piece
        self._least = least
        self._there = Ranges()
        self._missing = Ranges(held).complement(UNBOUNDED if length is None else length)
        self._active: list[Span] = []

    @property
    def there(self) -> tuple[Range, ...]:
        """The written bytes, as the fewest possible ranges."""
        return tuple(self._there)

    @property
    def prefix(self) -> int:
        """Number of bytes written from the file's beginning without a gap."""
        first, end = next(iter(self._there), (0, 0))
        return end if first == 0 else 0

    @property
    def is_complete(self) -> bool:
        """Whether every byte is written. False as long as the length is unknown."""
        return self.length is not None and self.prefix == self.length

    @property
    def left(self) -> int:
        """Number of bytes that connections still have to fetch, if the length is known."""
        return self._missing.bytes + sum(span.left for span in self._active)

    def offers(self) -> bool:
        """Return whether `take` would return a span."""
        return bool(self._missing) or any(span.left >= 2 * self._least for span in self._active)

    def take(self, at: int | None = None) -> Span | None:
        """Return the next span to fetch; None if there is none.

        The span begins at `at` if a gap begins there, else at the first gap. If there is no gap, it is the second half
        of the longest span of another connection.

        Parameters
        ----------
        at: next byte of the connection's current answer, if there is one.
        """
        if self._missing:
            gap = next((gap for gap in self._missing if gap[0] == at), next(iter(self._missing)))
            return self._begin(*gap)
        longest = max(self._active, key=lambda span: span.left, default=None)
        if longest is None or self.length is None or longest.left < 2 * self._least:
            return None
        middle = longest.next + longest.left // 2
        span = Span(middle, longest.end)
        longest.end = middle
        self._active.append(span)
        return span

    def take_last(self) -> Span | None:
        """Return the last missing piece as a span, far away from other connections; None if nothing is missing."""
        first, end = self._missing.last
        return self._begin(max(first, end - self._piece), end) if first < end else None

    def claim(self, span: Span, count: int) -> int:
        """Advance a span by up to `count` received bytes. Return how many of them the caller has to write.

        If a connection receives more than its span, the span grows into the missing piece after it.
        """
        if count > span.left:
            end = min(self.reach(span), span.end + self._piece)
            self._missing.remove(span.end, end)
            span.end = end
        taken = min(count, span.left)
        span.next += taken
        if taken and not span.left:
            self._active.remove(span)
        return taken

    def reach(self, span: Span) -> int:
        """Return where a span would end if it took the whole gap right after it."""
        return next((end for first, end in self._missing if first == span.end), span.end)

    def arrive(self, first: int, count: int) -> None:
        """Note that claimed or held bytes were written."""
        self._there.add(first, first + count)

    def leave(self, span: Span) -> None:
        """Give up a span: its remaining bytes are missing again."""
        if span.left:
            self._active.remove(span)
            self._missing.add(span.next, span.end)
            span.end = span.next

    def seal(self, length: int) -> None:
        """Set the length, which was unknown, at the end of the only span."""
        self.length = length
        self._missing = Ranges()
        self._active = []

    def _begin(self, first: int, end: int) -> Span:
        span = Span(first, min(end, first + self._piece))
        self._missing.remove(span.next, span.end)
        self._active.append(span)
        return span
