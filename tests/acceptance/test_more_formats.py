"""Files that every other program reads, each by the whole system: posted, tiled, and compared with another decoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.acceptance import jobs
from tests.support.images.matrix import CASES
from tests.support.images.pictures import Pixels
from tests.support.network.sources import SourceServer
from tilewright.client import Client

KINDS = {"BMP", "PNM", "TGA"}

WIDTH, HEIGHT = 150, 101


def test_files_of_plain_rows_are_shown_as_other_decoders_read_them(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    # Given a file of every kind, of which some are larger than what is downloaded without a look at the header
    mine = [case for case in CASES if case.kind in KINDS]
    expected, ids = {}, {}
    for number, case in enumerate(mine):
        path = tmp_path / f"{number}.{case.ending}"
        expected[case.name] = case.make(path, WIDTH, HEIGHT)
        ids[case.name] = jobs.as_png(client, files.url(f"/{path.name}"))
    # When they are posted, then each becomes the pixels that another decoder or numpy makes of it
    for case in mine:
        last = jobs.finish(client, ids[case.name])
        assert last["status"] == "ready", (case.name, last)
        found = shown(last["tile_info"]["tile_id"]).astype(int)
        assert found.shape == expected[case.name].shape, case.name
        assert np.abs(found - expected[case.name]).max() <= case.tolerance + 0.5, case.name
