"""Decode the entropy coding of a JPEG, without its pixels, to find bytes that follow the last block of a scan.

libjpeg says "extraneous bytes before marker" in two cases. Bytes follow the last block: that harms nothing. Or bytes
were inserted before, so that the blocks behind them are noise and come to their end too early. Only decoding tells
these two apart: noise soon breaks a rule. Pure functions. A megabyte takes about a second: for rare files only.

Source: ITU-T T.81, annexes B, F and G.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

MOST_BYTES = 32 << 20
"""Bytes of the largest JPEG that is decoded here."""

MOST_BLOCKS = 2 << 20
"""Blocks of 8 x 8 samples of the largest one: 90 megapixels if colours have half the resolution."""

_SEQUENTIAL, _PROGRESSIVE = {0xC0, 0xC1}, 0xC2
_TABLES, _END, _SCAN, _INTERVAL = 0xC4, 0xD9, 0xDA, 0xDD
_ALONE = {0x01, *range(0xD0, 0xD8)}
_MARKER = re.compile(rb"\xff[\xd0-\xd7]|\xff+[^\x00\x01\xd0-\xd7\xff]")
_STUFFED = re.compile(rb"\xff\x00")
_PEEK = 16

Table = tuple[list[int], list[int]]
"""For each 16 bits, the length of the code that they begin with, and its symbol. Length 0 means that there is none."""


class Broken(ValueError):
    """Raised if the coding breaks a rule."""


class _Component(NamedTuple):
    """A component: blocks across and down, those of a scan of it alone, and blocks of an interleaved unit."""

    across: int
    down: int
    units: tuple[int, int]
    blocks: array[int]


class _Scan(NamedTuple):
    """The header of a scan, and the tables that were valid when it began."""

    components: list[tuple[int, int, int]]
    first: int
    last: int
    high: int
    tables: dict[tuple[int, int], Table]
    interval: int


def stray_bytes(data: bytes) -> list[int]:
    """Return how many bytes follow the last block of each scan, not counting the bits that fill its last byte.

    Raises
    ------
    Broken: if a scan has other blocks than it should, or the file has a coding that is not known here.
    """
    try:
        return list(_scans(data))
    except (IndexError, KeyError) as error:
        raise Broken("a segment is too short, or a table is missing") from error


def _scans(data: bytes) -> Iterator[int]:
    at, interval, is_progressive = 2, 0, False
    components: dict[int, _Component] = {}
    tables: dict[tuple[int, int], Table] = {}
    while True:
        if data[at] != 0xFF:
            raise Broken("a segment does not begin with a marker")
        while data[at] == 0xFF:
            at += 1
        marker, at = data[at], at + 1
        if marker == _END:
            return
        if marker in _ALONE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        body, at = data[at + 2 : at + length], at + length
        if marker in _SEQUENTIAL or marker == _PROGRESSIVE:
            components, is_progressive = _frame(body), marker == _PROGRESSIVE
        elif marker == _TABLES:
            tables.update(_huffman(body))
        elif marker == _INTERVAL:
            interval = int.from_bytes(body[:2], "big")
        elif 0xC0 <= marker <= 0xCF and marker not in {0xC8, 0xCC}:
            raise Broken("another process than sequential or progressive DCT")
        elif marker == _SCAN:
            count = body[0]
            chosen = [(body[1 + 2 * n], body[2 + 2 * n] >> 4, body[2 + 2 * n] & 15) for n in range(count)]
            first, last, approximation = body[1 + 2 * count : 4 + 2 * count]
            scan = _Scan(chosen, first, last, approximation >> 4, dict(tables), interval)
            pieces, at = _pieces(data, at)
            yield _decoded(scan, components, pieces, is_progressive=is_progressive)


def _frame(body: bytes) -> dict[int, _Component]:
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    found = [(body[6 + 3 * n], body[7 + 3 * n] >> 4, body[7 + 3 * n] & 15) for n in range(body[5])]
    most_across, most_down = max(across for _, across, _ in found), max(down for _, _, down in found)
    units = -(-width // (8 * most_across)), -(-height // (8 * most_down))
    components, total = {}, 0
    for name, across, down in found:
        own = -(-width * across // (8 * most_across)), -(-height * down // (8 * most_down))
        count = units[0] * across * units[1] * down
        total += count
        if total > MOST_BLOCKS:
            raise Broken("too many blocks")
        components[name] = _Component(*own, (across, down), array("Q", bytes(8 * count)))
    return components


def _huffman(body: bytes) -> Iterator[tuple[tuple[int, int], Table]]:
    at = 0
    while at < len(body):
        name, counts = body[at], body[at + 1 : at + 17]
        symbols = body[at + 17 : at + 17 + sum(counts)]
        at += 17 + len(symbols)
        lengths, found = [0] * (1 << _PEEK), [0] * (1 << _PEEK)
        code = number = 0
        for length, count in enumerate(counts, 1):
            for _ in range(count):
                span = 1 << (_PEEK - length)
                lengths[code : code + span], found[code : code + span] = [length] * span, [symbols[number]] * span
                code, number = code + span, number + 1
        if code > 1 << _PEEK or len(lengths) != 1 << _PEEK:
            raise Broken("a table has too many codes")
        yield (name >> 4, name & 15), (lengths, found)


def _pieces(data: bytes, at: int) -> tuple[list[bytes], int]:
    """Return the coded data between restart markers, and where the next segment begins."""
    pieces = []
    while found := _MARKER.search(data, at):
        pieces.append(_STUFFED.sub(b"\xff", data[at : found.start()]))
        if not 0xD0 <= data[found.end() - 1] <= 0xD7:
            return pieces, found.start()
        at = found.end()
    raise Broken("the file ends within a scan")


def _decoded(scan: _Scan, components: dict[int, _Component], pieces: list[bytes], *, is_progressive: bool) -> int:
    """Decode a scan, and return the bytes that follow its last block."""
    chosen = [components[name] for name, _, _ in scan.components]
    unit = sum(component.units[0] * component.units[1] for component in chosen) if len(chosen) > 1 else 1
    first = chosen[0]
    count = first.across * first.down if len(chosen) == 1 else sum(len(component.blocks) for component in chosen)
    step = scan.interval * unit or count
    if len(pieces) != -(-count // step):
        raise Broken("a scan has another number of restart markers than it should")
    places, left = _places(scan, components), 0
    for piece in pieces:
        if left:
            raise Broken("bytes follow the last block before a restart marker")
        bits = _Bits(piece)
        left = bits.decode(scan, islice(places, step), is_progressive=is_progressive)
    if left and not is_progressive and bits.continues(scan, [(dc, ac) for _, _, dc, ac in _unit(scan, components)]):
        raise Broken("further blocks follow the last one")
    return left


_Place = tuple["array[int]", int, int, int]
"""A block: the array of its component, its number there, and the numbers of its tables."""


def _places(scan: _Scan, components: dict[int, _Component]) -> Iterator[_Place]:
    """Yield the blocks of a scan in their order."""
    chosen = [(components[name], dc, ac) for name, dc, ac in scan.components]
    if len(chosen) == 1:
        component, dc, ac = chosen[0]
        stride = _stride(component)
        for row in range(component.down):
            for column in range(component.across):
                yield component.blocks, row * stride + column, dc, ac
        return
    widths = [(component, _stride(component), dc, ac) for component, dc, ac in chosen]
    component, stride, _, _ = widths[0]
    across = stride // component.units[0]
    down = len(component.blocks) // stride // component.units[1]
    for row in range(down):
        for column in range(across):
            for component, stride, dc, ac in widths:
                columns, rows = component.units
                for y in range(rows):
                    for x in range(columns):
                        yield component.blocks, (row * rows + y) * stride + column * columns + x, dc, ac


def _unit(scan: _Scan, components: dict[int, _Component]) -> Iterator[_Place]:
    """Yield the blocks of a scan's first unit."""
    count = sum(components[name].units[0] * components[name].units[1] for name, _, _ in scan.components)
    return islice(_places(scan, components), count if len(scan.components) > 1 else 1)


def _stride(component: _Component) -> int:
    """Return the blocks of a row, including those that only fill a unit."""
    columns = component.units[0]
    return -(-component.across // columns) * columns


class _Bits:
    """The coded data between two markers, read bit by bit."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = 8 * len(data)
        # Ones fill the last byte, and no code consists of ones only.
        self._padded = data + b"\xff" * 8
        self._at = self._behind = 0

    def decode(self, scan: _Scan, places: Iterable[_Place], *, is_progressive: bool) -> int:
        """Decode blocks, and return the whole bytes that are left."""
        if not is_progressive:
            for _, _, dc, ac in places:
                self._bits(self._symbol(scan.tables[0, dc]))
                self._plain(scan.tables[1, ac], 1, 63)
        elif scan.first == 0:
            for _, _, dc, _ in places:
                self._at += 1 if scan.high else 0
                if not scan.high:
                    self._bits(self._symbol(scan.tables[0, dc]))
        else:
            self._spectrum(scan, places)
        if self._at > self._size:
            raise Broken("a scan has too few bytes")
        self._behind = self._at
        if not self._is_filled():
            raise Broken("the last byte of a scan is not filled with ones")
        return (self._size - self._at) // 8

    def continues(self, scan: _Scan, unit: list[tuple[int, int]]) -> bool:
        """Return whether what follows the blocks of a sequential scan is blocks, too, up to the end of the data."""
        self._at = self._behind
        try:
            while self._at <= self._size - 8:
                for dc, ac in unit:
                    self._bits(self._symbol(scan.tables[0, dc]))
                    self._plain(scan.tables[1, ac], 1, 63)
        except Broken:
            return False
        return self._at <= self._size and self._is_filled()

    def _is_filled(self) -> bool:
        rest = -self._at % 8
        return self._bits(rest) == (1 << rest) - 1

    def _spectrum(self, scan: _Scan, places: Iterable[_Place]) -> None:
        run, refine = 0, bool(scan.high)
        for blocks, number, _, ac in places:
            if self._at > self._size:
                raise Broken("a scan has too few bytes")
            table = scan.tables[1, ac]
            if refine:
                run, blocks[number] = self._refined(table, scan.first, scan.last, run, blocks[number])
            elif run:
                run -= 1
            else:
                run, found = self._first(table, scan.first, scan.last)
                blocks[number] |= found
        if run:
            raise Broken("the last run of blocks is too long")

    def _plain(self, table: Table, first: int, last: int) -> None:
        run, _ = self._first(table, first, last)
        if run:
            raise Broken("a run of blocks in a sequential scan")

    def _first(self, table: Table, k: int, last: int) -> tuple[int, int]:
        found = 0
        while k <= last:
            symbol = self._symbol(table)
            run, size = symbol >> 4, symbol & 15
            if size == 0:
                if run < 15:
                    return (1 << run) + self._bits(run) - 1, found
                k += 16
                continue
            k += run
            if k > last:
                raise Broken("a coefficient beyond the last one")
            self._bits(size)
            found |= 1 << k
            k += 1
        if k > last + 1:
            raise Broken("zeros beyond the last coefficient")
        return 0, found

    def _refined(self, table: Table, k: int, last: int, run: int, known: int) -> tuple[int, int]:
        while not run and k <= last:
            symbol = self._symbol(table)
            zeros, size = symbol >> 4, symbol & 15
            if size > 1:
                raise Broken("a refined coefficient of several bits")
            if size == 0 and zeros < 15:
                run = (1 << zeros) + self._bits(zeros)
                break
            self._at += size
            while k <= last:
                if known >> k & 1:
                    self._at += 1
                elif zeros == 0:
                    break
                else:
                    zeros -= 1
                k += 1
            if k > last:
                if size or zeros:
                    raise Broken("a coefficient beyond the last one")
                break
            known |= size << k
            k += 1
        if run:
            # Each coefficient that is not zero yet has a bit.
            self._at += ((known >> k) & ((1 << max(0, last + 1 - k)) - 1)).bit_count()
            run -= 1
        return run, known

    def _symbol(self, table: Table) -> int:
        at = self._at
        window = int.from_bytes(self._padded[at >> 3 : (at >> 3) + 3], "big") >> (8 - (at & 7)) & 0xFFFF
        length = table[0][window]
        if not length:
            raise Broken("bits that are no code")
        self._at = at + length
        return table[1][window]

    def _bits(self, count: int) -> int:
        at = self._at
        self._at = at + count
        if not count:
            return 0
        window = int.from_bytes(self._padded[at >> 3 : (at >> 3) + 4], "big")
        return window >> (32 - (at & 7) - count) & ((1 << count) - 1)
