"""`make attack`: run every attack in turn, or only some: `python -m bench.attack [NAME ...]`.

Each attack starts its own stack on loopback, takes a limited time, prints a table, and returns 1 if it missed a goal.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

ATTACKS: tuple[str, ...] = (
    "accepted_damage",
    "archives",
    "budgets",
    "crowd",
    "descriptions",
    "floods",
    "heads",
    "regions",
    "search",
    "slow_sources",
    "unpacking",
)
"""Modules of this package, in the order in which they run. Each has a function `main() -> int`."""


def main() -> int:
    """Run the attacks. Return 1 if one of them missed a goal."""
    parser = argparse.ArgumentParser(prog="python -m bench.attack", description="Attack a stack of this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ATTACKS)}; default: all")
    names = parser.parse_args().names or ATTACKS
    if unknown := set(names) - set(ATTACKS):
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
    missed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        if import_module(f"bench.attack.{name}").main():
            missed.append(name)
    if missed:
        print(f"\nmissed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
