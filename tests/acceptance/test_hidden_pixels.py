"""TIFFs that leave out tiles, hide pixels by a mask, or mark them as no data: from the POST to the tile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import as_png, finish, ready, submit
from tests.support.images import masked_tiffs, sparse_tiffs
from tests.support.images.pictures import Pixels
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

SPARSE = {
    *(
        "none-tiles",
        "lzw-strips",
        "deflate-tiles",
        "zstd-strips",
        "packbits-last",
        "jpeg-tiles",
        "jpeg-rest",
        "webp-all",
    ),
    *("ycbcr-jpeg", "planes-lzw", "alpha", "palette", "bilevel", "nodata"),
}
MASKED = {
    *("mask-deflate", "mask-bytes", "cog", "mask-first", "sparse"),
    *("rgb-0", "rgb-255", "int16", "int16-least", "float-nan", "float-about-least", "uint16", "no-number", "beyond"),
}


def test_only_what_is_hidden_or_left_out_is_not_shown(
    client: Client, files: SourceServer, shown: Callable[[str], Pixels], stack: LaunchedStack, tmp_path: Path
) -> None:
    # Given a file of each kind, all submitted at once
    for name in ("sparse", "masked"):
        (tmp_path / name).mkdir()
    made: list[sparse_tiffs.Sparse | masked_tiffs.Masked] = []
    made += [one for one in sparse_tiffs.files(tmp_path / "sparse") if one.path.stem in SPARSE]
    made += [one for one in masked_tiffs.files(tmp_path / "masked") if one.path.stem in MASKED]
    assert len(made) == len(SPARSE) + len(MASKED)
    ids = [as_png(client, files.url(f"/{one.path.relative_to(tmp_path)}")) for one in made]
    for one, dataset_id in zip(made, ids, strict=True):
        tile_id = ready(client, dataset_id)["tile_id"]
        found = shown(tile_id)
        # Then what a second decoder sees is there, and the rest is transparent
        assert found.shape == one.pixels.shape, one.path.name
        apart = np.abs(found.astype(int) - one.pixels.astype(int))
        if found.shape[2] == 4:
            apart[..., :3] *= one.pixels[..., 3:] > 0
        assert apart.max() <= one.tolerance, one.path.name
        # And pyramid.json says what was left out
        (description,) = (stack.data / "storage" / "pyramids" / tile_id).glob("*/pyramid.json")
        said = " ".join(json.loads(description.read_text())["pixels"])
        assert ("are not in the file" in said) == (isinstance(one, sparse_tiffs.Sparse) or one.path.stem == "sparse")


def test_a_mask_is_no_page_before_and_after_the_download(
    client: Client, command: Command, files: SourceServer, stack: LaunchedStack, tmp_path: Path
) -> None:
    cog = next(one for one in masked_tiffs.files(tmp_path) if one.path.stem == "cog")
    # When a COG of a picture and one overview, each with a mask, is inspected and submitted
    inspected = command("inspect", files.url("/cog.tif"), "--json")
    assert json.loads(inspected.out)["report"]["source"]["pages"] == cog.pages == 2
    # Then the tiler counts two pages as well, and there is no third
    tile_id = ready(client, submit(client, files.url("/cog.tif")))["tile_id"]
    (description,) = (stack.data / "storage" / "pyramids" / tile_id).glob("*/pyramid.json")
    source = json.loads(description.read_text())["source"]
    assert (source["pages"], source["page"]) == (2, 0)
    beyond = finish(client, as_png(client, files.url("/cog.tif"), page=2))
    assert beyond["error"]["code"] == "page_not_found"
