"""The entropy coding of JPEGs: bytes behind the last block, and bytes among the blocks."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.images import pictures, salvage
from tiler.decode.readers.jpeg.entropy import Broken, stray_bytes

KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "optimized": {"optimize": True, "quality": 20},
    "baseline with restarts": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
    "progressive with restarts": {"progressive": True, "restart_marker_blocks": 5},
    "fine colours": {"progressive": True, "subsampling": 0},
    "colours halved across": {"progressive": True, "subsampling": 1},
    "high quality": {"progressive": True, "quality": 95},
}
SIZES = [(160, 120), (97, 61), (1, 1), (8, 200)]
STRAYS = [b"stray bytes", bytes(10), bytes(900)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_sound_jpeg_has_no_bytes_behind_its_blocks_and_those_put_there_are_counted(
    kind: str, size: tuple[int, int]
) -> None:
    data = salvage.by_pillow("JPEG", *size, **KINDS[kind]).data
    assert not any(stray_bytes(data)), kind
    for stray in STRAYS:
        assert stray_bytes(data[:-2] + stray + data[-2:])[-1] == len(stray)


def test_grey_is_coded_in_blocks_of_its_own() -> None:
    data = salvage.encoded(pictures.scene(97, 61, bands=1)[..., 0], "JPEG", progressive=True)
    assert not any(stray_bytes(data))


@pytest.mark.parametrize("kind", [kind for kind, options in KINDS.items() if "progressive" in options])
def test_bytes_among_the_blocks_of_the_last_scan_break_a_rule(kind: str) -> None:
    # Given bytes put among the blocks, which libjpeg reports only if something is left at the end
    data = salvage.by_pillow("JPEG", 160, 120, **KINDS[kind]).data
    first = data.rindex(b"\xff\xda") + 14
    chance, left, broken = random.Random(7), [], 0  # noqa: S311  a test's, not a secret's
    for number in range(60):
        at = chance.randrange(first, len(data) - 40)
        try:
            left.append(sum(stray_bytes(data[:at] + STRAYS[number % 2] + data[at:])))
        except Broken:
            broken += 1
    # Then hardly any is taken for harmless bytes behind the last block
    assert sum(map(bool, left)) <= 1
    assert broken > len(left)


@pytest.mark.parametrize("kind", [kind for kind, options in KINDS.items() if "progressive" not in options])
def test_blocks_behind_the_last_block_of_a_sequential_scan_are_no_stray_bytes(kind: str) -> None:
    # Given zeros among the blocks: they are valid blocks, behind which the coding falls into step again
    data = salvage.by_pillow("JPEG", 160, 120, **KINDS[kind]).data
    first = data.rindex(b"\xff\xda") + 14
    for at in range(first, len(data) - 200, 97):
        with pytest.raises(Broken):
            stray_bytes(data[:at] + bytes(300) + data[at:])


@pytest.mark.parametrize("cut", range(2, 2000, 97))
def test_a_cut_jpeg_is_broken_and_nothing_worse(cut: int) -> None:
    data = salvage.by_pillow("JPEG", 64, 48, progressive=True).data
    with pytest.raises(Broken):
        stray_bytes(data[: min(cut, len(data) - 2)])
