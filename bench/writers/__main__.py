"""`python -m bench.writers`: write images by every option of several writers, tile them, and compare the pixels."""

from __future__ import annotations

import argparse
import logging
import random
import re
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bench.writers import drawings, photographs, tiffs
from bench.writers.file import File
from bench.writers.posting import Outcome, outcomes, written
from tilewright.client import Client
from tilewright.commands.pictures import served
from tilewright.embedded import launched
from tilewright.gauge import gauge

SAMPLE = 400
"""Files by default: they take two or three minutes on two cores."""

MOST_MESSAGES = 3
"""Messages of refusals printed for each kind."""


def main() -> int:
    """Run the matrix and print a table. Return 1 if a file became other pixels, or was refused for no true reason."""
    parser = argparse.ArgumentParser(prog="python -m bench.writers", description=__doc__.partition(": ")[2])
    parser.add_argument(
        "--sample", type=int, default=SAMPLE, help=f"files, chosen at random; 0: all (default: {SAMPLE})"
    )
    parser.add_argument("--seed", type=int, default=1, help="which files are chosen (default: 1)")
    parser.add_argument("--only", default="", metavar="REGEX", help="only files whose kind and options match")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy wrong files there")
    options = parser.parse_args()
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    chosen = shuffled(options.seed, options.only)
    with tempfile.TemporaryDirectory(prefix="tilewright-bench-") as name, gauge() as bar:
        folder = Path(name) / "files"
        folder.mkdir()
        bar.step("Writing files")
        files = list(written(chosen, folder, options.sample))
        with served(folder) as url, launched(Path(name) / "data", allow_sources=[urlsplit(url).netloc]) as stack:
            bar.step(f"Tiling {len(files):,} files", unit="files")
            ended = list(outcomes(Client(stack.url), url, files, lambda count: bar.move(count, len(files))))
        if options.keep:
            _keep(options.keep, ended, dict(files))
    report(ended)
    return int(any(outcome.wrong for outcome in ended))


def shuffled(seed: int, only: str = "") -> list[File]:
    """Return all files in random order, and all kinds in turn: one of few files comes as often as one of thousands.

    Parameters
    ----------
    seed: of the order.
    only: a regular expression; only files with a match in kind and options are returned.
    """
    by_kind: dict[str, list[File]] = defaultdict(list)
    for module in (tiffs, drawings, photographs):
        for file in module.files():
            if re.search(only, file.name):
                by_kind[file.kind].append(file)
    chance = random.Random(seed)  # noqa: S311  it keeps no secret
    queues = [chance.sample(files, len(files)) for files in by_kind.values()]
    found: list[File] = []
    while any(queues):
        found += [queue.pop() for queue in queues if queue]
    return found


def report(ended: Sequence[Outcome]) -> None:
    """Print the table, each refusal's message once a kind, and what is wrong."""
    kinds: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in ended:
        kinds[outcome.file.kind].append(outcome)
    print(f"{'kind':<28}{'written':>8}{'equal':>8}{'refused':>9}{'wrong':>7}")
    for kind, rows in kinds.items():
        wrong = sum(bool(row.wrong) for row in rows)
        refused = sum(bool(row.code) and not row.wrong for row in rows)
        print(f"{kind:<28}{len(rows):8,}{len(rows) - wrong - refused:8,}{refused:9,}{wrong:7,}")
    for kind, rows in kinds.items():
        messages = Counter(f"{row.code}: {row.message}" for row in rows if row.code and not row.wrong)
        for message, count in messages.most_common(MOST_MESSAGES):
            print(f"\n{kind}, refused {count:,} times: {message}")
    for outcome in ended:
        if outcome.wrong:
            print(f"\nWRONG {outcome.file.name}\n  {outcome.wrong}")


def _keep(folder: Path, ended: Sequence[Outcome], paths: dict[File, Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in ended:
        if outcome.wrong:
            shutil.copy(paths[outcome.file], folder)
            print(f"{paths[outcome.file].name}: {outcome.file.name}")


if __name__ == "__main__":
    sys.exit(main())
