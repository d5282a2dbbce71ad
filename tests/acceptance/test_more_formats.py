"""Files that every other program reads, each by the whole system: posted, tiled, and compared with another decoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.acceptance import jobs
from tests.support.images import pnms
from tests.support.images.matrix import CASES
from tests.support.images.pictures import Pixels
from tests.support.network.sources import SourceServer
from tilewright.client import Client

KINDS = {"BMP", "PNM", "TGA"}

TIFFS = ("64", "complex", "bits", "CIELAB", "LZMA")
"""Words in the names of TIFFs whose samples or compression libvips does not read."""

WIDTH, HEIGHT = 150, 101


def test_of_several_images_in_a_pnm_the_first_is_shown_with_a_warning(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    first = pnms.plain(tmp_path / "plain", WIDTH, HEIGHT)
    black = pnms.bits(tmp_path / "bits", WIDTH, HEIGHT, text=True)
    pnms.plain(tmp_path / "text", WIDTH, HEIGHT, text=True)
    plain, bits, text = ((tmp_path / name).read_bytes() for name in ("plain", "bits", "text"))
    grey = b"P5\n1 1\n255\n\0"
    several = {"plain.ppm": plain + grey, "text.ppm": text + b"\n" + text, "bits.pbm": bits + b"\n" + grey}
    # What is behind the samples in text belongs to no image (pbm(5)), whatever it is
    alone = {
        "one.ppm": plain,
        "more.ppm": plain + bytes(8),
        "text-more.ppm": text + b"\nand so on",
        "b.pbm": bits + b" 7",
    }
    # When files with one and with several images are posted, then each becomes the first image
    for name, data in (several | alone).items():
        (tmp_path / name).write_bytes(data)
    ids = {name: client.submit(files.url(f"/{name}"), name, format="png")["dataset_id"] for name in several | alone}
    for name, dataset_id in ids.items():
        last = jobs.finish(client, str(dataset_id))
        assert last["status"] == "ready", (name, last)
        assert np.array_equal(shown(last["tile_info"]["tile_id"]), black if name.endswith("pbm") else first), name
        # And a warning says that there are others
        codes = [warning["code"] for warning in last["warnings"]]
        assert codes == (["page_chosen"] if name in several else []), name
    # When another one is asked for, then the message says that it is not read
    error = jobs.finish(client, jobs.as_png(client, files.url("/plain.ppm"), page=1))["error"]
    assert (error["code"], "only the first image is read" in error["message"]) == ("page_not_found", True), error
    # And a number that may have lost digits with the file's end is not shown, but one that has all its digits is
    (tmp_path / "cut.pgm").write_bytes(b"P2 2 1 255\n200 25")
    (tmp_path / "whole.pgm").write_bytes(b"P2 2 1 255\n200 26")
    cut, whole = (jobs.as_png(client, files.url(f"/{name}.pgm")) for name in ("cut", "whole"))
    assert jobs.finish(client, cut)["error"]["code"] == "image_truncated"
    assert shown(jobs.ready(client, whole)["tile_id"], 1)[0, :, 0].tolist() == [200, 26]


def test_files_that_libvips_does_not_read_are_shown_as_other_decoders_read_them(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    # Given a file of every kind, of which some are larger than what is downloaded without a look at the header
    mine = [case for case in CASES if case.kind in KINDS]
    mine += [case for case in CASES if case.kind == "TIFF" and any(word in case.what for word in TIFFS)]
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
