"""Pages of animations: from the POST to the tile, each is what browsers show at that moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.acceptance.jobs import as_png, ready
from tests.support.images import animations
from tests.support.images.animations import CLEAR, KEEP, RESTORE, RESTORE_TOO, Drawn
from tests.support.images.pictures import Pixels
from tests.support.network.sources import SourceServer
from tilewright.client import Client

SEED, GIFS = 7, 6
WIDTH, HEIGHT = 64, 48


def taken_away() -> list[list[Drawn]]:
    """A frame that is taken away, of all the canvas or of a part, before a small one with transparency or without."""
    found = []
    for disposal in (CLEAR, RESTORE, RESTORE_TOO):
        for across, down in ((WIDTH, HEIGHT), (20, 20)):
            first = Drawn(0, 0, np.full((down, across), 1, np.uint8), disposal)
            for transparent in (None, 0):
                last = Drawn(40, 30, np.full((10, 16), 2, np.uint8), KEEP, transparent)
                found.append([first, last])
    return found


def test_every_page_of_a_gif_is_what_browsers_show(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    # Given GIFs whose frames are cleared, or give way to what was there before them, and some that do anything
    chance = random.Random(SEED)  # noqa: S311
    gifs = [(WIDTH, HEIGHT, frames) for frames in taken_away()]
    gifs += [animations.at_random(chance) for _ in range(GIFS)]
    expected = {}
    for number, (width, height, frames) in enumerate(gifs):
        (tmp_path / f"{number}.gif").write_bytes(animations.drawn(width, height, frames))
        for page, pixels in enumerate(animations.as_browsers_show(width, height, frames)):
            if page or number >= len(taken_away()):
                expected[as_png(client, files.url(f"/{number}.gif"), page)] = number, page, pixels
    # When their pages are tiled, then each has those pixels, and is transparent elsewhere
    for dataset_id, (number, page, pixels) in expected.items():
        found = shown(ready(client, dataset_id)["tile_id"], 6)
        if found.shape[2] == 3:
            assert (pixels[..., 3] == 255).all(), (number, page)
            assert np.array_equal(found, pixels[..., :3]), (number, page)
        else:
            there = pixels[..., 3:] > 0
            assert np.array_equal(found[..., 3], pixels[..., 3]), (number, page)
            assert np.array_equal(found * there, pixels * there), (number, page)
