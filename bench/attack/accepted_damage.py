"""Small damaged files whose damage is accepted: measure what all passes over one cost the tiler together.

`python -m bench.attack accepted_damage` takes about a minute. Each file is of tiles of one colour with alpha that
share their bytes. Only the last one is damaged, so each pass reads all of them.
"""

from __future__ import annotations

import sys

from bench.attack.budgets import MINUTE, cost
from tests.support.images import costly

FILES: tuple[tuple[int, str, set[str]], ...] = (
    (64, "webp", {"ready", "decoder_too_slow"}),
    (32, "jpg", {"ready"}),
)
"""Tiles of 512 x 512 along an edge, the format of the pyramid's tiles, and how it may end."""


def main() -> int:
    """Print the table. Return 1 if a pyramid takes too long, or is refused where it has to be made."""
    missed = False
    print(f"{'':25}{'bytes':>11} {'stored':>12} {'work s':>7} {'wall s':>7}")
    for across, tile_format, ends in FILES:
        found = cost(costly.shared_tiles(across), tile_format=tile_format, accept=True)
        is_good = found.work <= MINUTE and found.verdict in ends
        missed = missed or not is_good
        name = f"{across * 512:,} x {across * 512:,}, {tile_format}"
        print(f"{name:25}{found}  {found.verdict}{'' if is_good else '  MISSED'}", flush=True)
    print(f"Goals: at most {MINUTE} s of work, and the smaller one is shown.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
