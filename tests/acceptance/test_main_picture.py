"""Which page of a TIFF is shown: the main picture, or the one that was asked for, and never a label unasked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish, ready
from tests.support.images import paged_tiffs
from tests.support.images.pictures import Pixels
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack


def test_without_a_page_the_main_picture_is_shown_and_that_is_told(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], stack: LaunchedStack, tmp_path: Path
) -> None:
    # Given files of several pages, each submitted without a page, and once more by the number of its first page
    made = list(paged_tiffs.files(tmp_path))
    urls = [files.url(f"/{one.path.name}") for one in made]
    ids = [str(client.submit(url, "A picture", format="png")["dataset_id"]) for url in urls]
    asked = [str(client.submit(url, "A picture", format="png", page=0)["dataset_id"]) for url in urls]
    for one, dataset_id, first in zip(made, ids, asked, strict=True):
        # Then the main picture is shown
        last = finish(client, dataset_id)
        assert last["status"] == "ready", (one.path.name, last)
        tile_id = last["tile_info"]["tile_id"]
        assert np.array_equal(shown(tile_id, (max(one.pixels.shape) - 1).bit_length()), one.pixels), one.path.name
        # And the choice is told in the status, the dataset and pyramid.json
        (description,) = (stack.data / "storage" / "pyramids" / tile_id).glob("*/pyramid.json")
        described = json.loads(description.read_text())
        assert described["source"]["page"] == one.page, one.path.name
        for warnings in (last["warnings"], client.get(dataset_id)["warnings"], described["warnings"]):
            (warning,) = [warning for warning in warnings if warning["code"] == "page_chosen"]
            assert warning["message"].startswith(f"Page {one.page} of the TIFF"), one.path.name
        # And page 0 is what it is, where it is asked for
        assert ready(client, first)["tile_id"] != tile_id
        assert "page_chosen" not in str(finish(client, first)["warnings"])


def test_labels_alone_are_shown_by_their_number_only(
    client: Client, command: Command, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    paged_tiffs.labels_only(tmp_path)
    url = files.url("/labels.tif")
    refused = finish(client, str(client.submit(url, "A picture")["dataset_id"]))
    assert refused["error"]["code"] == "page_not_found"
    assert "ask for it by its number" in refused["error"]["message"]
    # And that is known before
    inspected = command("inspect", url)
    assert (inspected.code, "nothing but a label" in inspected.out) == (1, True)
    asked = ready(client, str(client.submit(url, "A picture", format="png", page=0)["dataset_id"]))
    assert shown(asked["tile_id"], 7).shape[1::-1] == paged_tiffs.LABEL


def test_an_inspection_names_the_main_picture(command: Command, files: SourceServer, tmp_path: Path) -> None:
    files_made = {one.path.name: one for one in paged_tiffs.files(tmp_path)}
    one = files_made["aperio-backwards.tif"]
    report = json.loads(command("inspect", files.url(f"/{one.path.name}"), "--json").out)["report"]
    assert (report["page"], report["source"]["pages"]) == (one.page, 4)
    assert (report["source"]["width"], report["source"]["height"]) == one.pixels.shape[1::-1]
    assert f"page {one.page}, counted from 0" in command("inspect", files.url(f"/{one.path.name}")).out
