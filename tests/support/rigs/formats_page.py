"""Fills the table of docs/formats.md, for `make docs`. A test holds the page to it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from tests.support.images.matrix import CASES
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter

PAGE = Path(__file__).parents[3] / "docs/formats.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
SIZE = (307, 270)


def filled(page: str) -> str:
    """The page with its table made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def table() -> str:
    """A row for each kind of source: its tiles, and what pyramid.json says of its pixels."""
    head = ["| source | tiles | what is done to its pixels |", "|---|---|---|"]
    return "\n".join(head + list(_rows()))


def _rows() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="tilewright-formats-") as folder:
        for kind, cases in groupby(CASES, key=lambda case: case.kind):
            for number, case in enumerate(cases):
                path = Path(folder) / f"{kind}-{number}.{case.ending}"
                case.make(path, *SIZE)
                picture = open_picture(reader_of(path), meter=Meter(lambda *_: None))
                done = "; ".join(picture.decisions) or "nothing"
                yield f"| {kind}: {case.what} | {picture.format.name} | {done} |"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(Path.cwd())}\n")
