"""Which bytes of a file are there, which are on their way, and which are still to be fetched: pure.

At any moment each byte of the file is in exactly one of four: *missing*, in the rest of one connection's span, at hand
but not yet written, or *there*. Whatever connections do (join, break, leave, take half of another's rest), no byte is
asked for by two of them at once, and none is forgotten.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from itertools import pairwise

Range = tuple[int, int]
"""First byte, and the one after the last."""

UNBOUNDED = 1 << 62
"""Stands for the end of a file whose length nobody has told."""


class Span:
    """What one connection fetches: the bytes from `next` to before `end`. Both move."""

    __slots__ = ("end", "next")

    def __init__(self, first: int, end: int) -> None:
        self.next = first
        self.end = end

    @property
    def left(self) -> int:
        """Bytes still to come."""
        return self.end - self.next


class Ranges:
    """A set of bytes, kept as the fewest ranges, in order."""

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
        """The last range; an empty one where there is none."""
        return self._ranges[-1] if self._ranges else (0, 0)

    @property
    def bytes(self) -> int:
        """How many bytes are in it."""
        return sum(end - first for first, end in self._ranges)

    def add(self, first: int, end: int) -> None:
        """Puts a range in; what of it is there already stays."""
        if first >= end:
            return
        low = bisect.bisect_left(self._ranges, first, key=lambda one: one[1])
        high = bisect.bisect_right(self._ranges, end, key=lambda one: one[0])
        touched = self._ranges[low:high]
        if touched:
            first, end = min(first, touched[0][0]), max(end, touched[-1][1])
        self._ranges[low:high] = [(first, end)]

    def remove(self, first: int, end: int) -> None:
        """Takes a range out, whatever of it is there."""
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
        """What lies before `end` and is not in it."""
        edges = [0, *(edge for one in self._ranges for edge in one), end]
        return Ranges((low, high) for low, high in list(pairwise(edges))[::2])


class ByteRanges:
    """The state of one file. Not safe for threads.

    Parameters
    ----------
    length: bytes of the file; None where nobody has told.
    held: what comes by another way than a connection (`arrive` tells of it), and is not missing.
    piece: bytes of what is missing that one connection takes at once.
    least: bytes worth a request of their own: a rest of less than two of them is not divided.
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
        """What has been written, as the fewest ranges."""
        return tuple(self._there)

    @property
    def prefix(self) -> int:
        """Bytes that are there from the file's beginning without a gap."""
        first, end = next(iter(self._there), (0, 0))
        return end if first == 0 else 0

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there. Never, while the length is unknown."""
        return self.length is not None and self.prefix == self.length

    @property
    def left(self) -> int:
        """Bytes that connections have still to bring, where the length is known."""
        return self._missing.bytes + sum(span.left for span in self._active)

    def offers(self) -> bool:
        """Whether `take` would give a span."""
        return bool(self._missing) or any(span.left >= 2 * self._least for span in self._active)

    def take(self, at: int | None = None) -> Span | None:
        """A span to fetch: what is missing at `at`, else what is missing first, else half of another connection's rest.

        Parameters
        ----------
        at: where a connection's present answer goes on.
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
        """The last piece of what is missing: far from where others are."""
        first, end = self._missing.last
        return self._begin(max(first, end - self._piece), end) if first < end else None

    def claim(self, span: Span, count: int) -> int:
        """Says how many of the next `count` bytes are the span's, and that they are about to be written.

        A connection that brings more than its span goes on with the piece behind it, if that is missing.
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
        """Where a span would end that took all that is missing right behind it."""
        return next((end for first, end in self._missing if first == span.end), span.end)

    def arrive(self, first: int, count: int) -> None:
        """Bytes that were claimed or held have been written."""
        self._there.add(first, first + count)

    def leave(self, span: Span) -> None:
        """Makes the rest of a span missing again."""
        if span.left:
            self._active.remove(span)
            self._missing.add(span.next, span.end)
            span.end = span.next

    def seal(self, length: int) -> None:
        """The file has turned out to have this length: the only span, of unknown end, ends here."""
        self.length = length
        self._missing = Ranges()
        self._active = []

    def _begin(self, first: int, end: int) -> Span:
        span = Span(first, min(end, first + self._piece))
        self._missing.remove(span.next, span.end)
        self._active.append(span)
        return span
