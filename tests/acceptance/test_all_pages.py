"""All pages of a file as one dataset: from the POST to each page's tiles, its manifests and the viewer."""

from __future__ import annotations

import io
import json
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import requests
import tifffile

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish, ready
from tests.acceptance.test_collections import PREZI as PREZI_COLLECTION
from tests.support.images import stacks
from tests.support.images.pictures import decode
from tests.support.images.stretched import stretched
from tests.support.network.answers import status
from tests.support.network.sources import SourceServer
from tests.support.rigs import conformance
from tests.support.rigs.waiting import until
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

PREZI = PREZI_COLLECTION.replace("Collection", "Manifest")

COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
SIZES = [(300, 520), (300, 700), (900, 400)]
"""Height and width of each page."""


def pages(*shades: int) -> list[npt.NDArray[np.uint8]]:
    """Pages of three sizes and colours; a shade for each makes its bytes others."""
    made = [np.full((*size, 3), colour, np.uint8) for size, colour in zip(SIZES, COLOURS, strict=True)]
    for page, shade in zip(made, shades, strict=False):
        page[:8, :8] = shade
    return made


def tiff(*images: npt.NDArray[np.uint8], **options: Any) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for image in images:
            writer.write(image, photometric="rgb", **options)
    return file.getvalue()


def one_strip_for_all(pages: int, edge: int) -> bytes:
    """A TIFF of black squares of one bit a pixel, all stored in the same strip."""
    strip = zlib.compress(bytes((edge + 7) // 8 * edge), 9)
    parts, length = [b"II*\0" + struct.pack("<I", 8 + len(strip)), strip], 8 + len(strip)
    for page in range(pages):
        tags = [(256, edge), (257, edge), (258, 1), (259, 8), (262, 1), (273, 8), (278, edge), (279, len(strip))]
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        length += 2 + len(entries) + 4
        parts.append(struct.pack("<H", len(tags)) + entries + struct.pack("<I", length if page < pages - 1 else 0))
    return b"".join(parts)


def several_pages(shade: int) -> bytes:
    """A TIFF of three pages."""
    return tiff(*pages(shade))


def get(stack: LaunchedStack, path: str) -> requests.Response:
    return requests.get(path if path.startswith("http") else f"{stack.url}{path}", timeout=60)


def test_each_page_is_a_pyramid_and_a_canvas(
    stack: LaunchedStack, client: Client, sources: SourceServer, command: Command, tmp_path: Path
) -> None:
    # Given a TIFF of three pages, of which all are submitted
    data = several_pages(1)
    url = sources.on("/three-pages.tif", status(200, data=data))
    dataset_id = str(client.submit(url, "A book", pages="all", format="png")["dataset_id"])
    # When it is ready, then it has three pages, and the first is what its addresses have always shown
    ended = finish(client, dataset_id)
    assert ended["status"] == "ready", ended
    dataset = client.get(dataset_id)
    assert ended["pages"] == dataset["pages"]
    assert [(page["page"], page["height"], page["width"]) for page in dataset["pages"]] == [
        (number, *size) for number, size in enumerate(SIZES)
    ]
    assert dataset["pages"][0]["tile_id"] == dataset["tile_info"]["tile_id"]
    assert dataset["tile_info"]["tile_id"] in dataset["tile_urls"]["dzi"]
    assert len({page["tile_id"] for page in dataset["pages"]}) == 3
    assert {page["pyramid_version"] for page in dataset["pages"]} == {dataset["tile_info"]["pyramid_version"]}
    # And each page has its tiles, at its own address and at the dataset's
    for page, size, colour in zip(dataset["pages"], SIZES, COLOURS, strict=True):
        name = f"{dataset_id}-p{page['page']}" if page["page"] else dataset_id
        for owner in (page["tile_id"], name):
            level = (max(size) - 1).bit_length()
            found = decode(get(stack, f"/tiles/{owner}_files/{level}/0_0.png").content)
            assert (found[100, 100] == colour).all()
            assert get(stack, f"/tiles/{owner}.dzi").text.count(f'Width="{size[1]}"') == 1
            assert get(stack, f"/tiles/{owner}/tilejson.json").json()["maxzoom"] == page["max_zoom"]
        info = get(stack, page["iiif"]).json()
        assert (info["width"], info["height"]) == (size[1], size[0])
        assert info["id"] == f"{stack.url}/iiif/{name}"
        assert get(stack, page["thumbnail"]).status_code == get(stack, page["dzi"]).status_code == 200
        # By the fast path too, which serves what is in memory
        tile = get(stack, f"/tiles/{name}/0/0/0")
        assert tile.headers["Content-Location"].startswith(f"/tiles/{page['tile_id']}/0/0/0")
    for address in dataset["urls"].values():
        path = address.replace("{z}", "0").replace("{x}", "0").replace("{y}", "0")
        assert get(stack, path).status_code == 200, address
    # A page that there is not, or that is spelled otherwise, is not found
    for name in ("p0", "p3", "p01", "p", "p9999", "p-1"):
        assert get(stack, f"/iiif/{dataset_id}-{name}/info.json").status_code == 404
    assert get(stack, f"/iiif/{dataset_id}-p1/manifest.json").status_code == 404
    # The manifests have a canvas for each, as the schema wants it
    manifest = get(stack, dataset["urls"]["manifest"]).json()
    done = conformance.run("-c", PREZI, stdin=json.dumps(manifest))
    assert done.returncode == 0, done.stderr
    assert [(canvas["height"], canvas["width"]) for canvas in manifest["items"]] == SIZES
    assert [canvas["label"]["en"] for canvas in manifest["items"]] == [["Page 1"], ["Page 2"], ["Page 3"]]
    assert {"label": {"en": ["Pages"]}, "value": {"none": ["3"]}} in manifest["metadata"]
    for canvas in manifest["items"]:
        (image,) = (annotation["body"] for annotation in canvas["items"][0]["items"])
        assert get(stack, image["id"]).status_code == get(stack, canvas["thumbnail"][0]["id"]).status_code == 200
        info = get(stack, f"{image['service'][0]['id']}/info.json").json()
        assert (info["height"], info["width"]) == (canvas["height"], canvas["width"])
        assert requests.head(canvas["rendering"][0]["id"], timeout=60).status_code == 200
    (sequence,) = get(stack, f"/iiif/2/{dataset_id}/manifest.json").json()["sequences"]
    assert [(canvas["height"], canvas["width"]) for canvas in sequence["canvases"]] == SIZES
    for canvas in sequence["canvases"]:
        resource = canvas["images"][0]["resource"]
        assert get(stack, resource["@id"]).status_code == 200
        assert get(stack, f"{resource['service']['@id']}/info.json").json()["width"] == canvas["width"]
    # The same file again is found built; a single page of it is another pyramid
    again = client.submit(url, "The same", pages="all", format="png")["dataset_id"]
    one = client.submit(url, "One", page=1, format="png")["dataset_id"]
    ready(client, str(again))
    assert client.get(again)["pages"] == [
        {**page, "iiif": page["iiif"].replace(dataset_id, again)} for page in dataset["pages"]
    ]
    assert ready(client, str(one))["width"] == 700
    assert "pages" not in client.get(one)
    # A refresh makes all pages again at the same addresses
    client.refresh(dataset_id, force=True)
    until(lambda: "finished_at" in client.status(dataset_id)["refresh"], "the end of the refresh")
    assert client.status(dataset_id)["refresh"]["state"] == "changed"
    assert client.get(dataset_id)["pages"] == dataset["pages"]
    for name in (dataset_id, f"{dataset_id}-p2"):
        assert get(stack, f"/tiles/{name}/0/0/0").status_code == 200
        assert get(stack, f"/iiif/{name}/full/100,/0/default.jpg").status_code == 200
    # The command line says how many pages there are
    shown = command("status", dataset_id, "--server", stack.url)
    assert ["pages", "3"] in [line.split() for line in shown.out.splitlines()]
    # And exports each of them, as it is served
    exported = command("export", dataset_id, str(tmp_path / "book"), "--as", "szi", "--server", stack.url)
    assert exported.code == 0, exported.err
    names = {f"{dataset_id}{mark}.szi" for mark in ("", "-p1", "-p2")}
    assert {path.name for path in (tmp_path / "book").iterdir()} == names
    for name in names:
        assert (tmp_path / "book" / name).read_bytes() == get(stack, f"/tiles/{name}").content
    for each in (dataset_id, str(one)):
        client.delete(each)
    # What another dataset shows stays; nothing is left of the rest
    assert get(stack, f"/tiles/{dataset['pages'][2]['tile_id']}.dzi").status_code == 200
    client.delete(again)
    for page in dataset["pages"]:
        folder = stack.data / "storage/pyramids" / page["tile_id"]
        until(partial(lambda folder: not folder.exists(), folder), "a page to be swept")
    until(lambda: get(stack, f"/iiif/{dataset_id}-p1/info.json").status_code == 410, "410 at a page's address")


def test_a_page_that_fails_fails_the_dataset_and_is_named(
    stack: LaunchedStack, client: Client, sources: SourceServer, command: Command, tmp_path: Path
) -> None:
    # Given a file whose second page is damaged
    first, second, third = pages(2)
    second[:] = np.random.default_rng(3).integers(0, 255, second.shape)
    data = bytearray(tiff(first, second, third, compression="deflate", tile=(64, 64)))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        place = file.pages[1].dataoffsets[0]
    data[place : place + 40] = b"\0" * 40
    url = sources.on("/damaged-page.tif", status(200, data=bytes(data)))
    failed = str(client.submit(url, "Damaged", pages="all")["dataset_id"])
    # Then the dataset fails, and says which page it is
    ended = finish(client, failed)
    assert ended["error"]["code"] == "image_corrupt"
    assert ended["error"]["message"].startswith("Page 1 (2 of 3): ")
    # And its rule holds for each page
    accepted = command(
        "submit", url, "--name", "x", "--pages", "all", "--damage", "accept", "--quiet", "--server", stack.url
    )
    dataset_id = accepted.out.strip()
    assert finish(client, dataset_id)["status"] == "ready"
    (warning,) = client.get(dataset_id)["warnings"]
    assert (warning["code"], warning["message"][:17]) == ("image_incomplete", "Page 1 (2 of 3): ")
    # What does not go together is refused
    for more in ({"page": 0}, {"channels": [0]}, {"pages": "some"}):
        answer = requests.post(
            f"{stack.url}/api/datasets", json={"name": "x", "url": url, "pages": "all", **more}, timeout=60
        )
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/pages")
    # And a file of more pages than the limit
    tiny = np.zeros((2, 2, 3), np.uint8)
    url = sources.on("/501-pages.tif", status(200, data=tiff(*[tiny] * 501)))
    many = str(client.submit(url, "Many", pages="all")["dataset_id"])
    assert finish(client, many)["error"]["code"] == "too_many_pages"
    samples = np.arange(501 * 8, dtype=np.uint16).reshape(501, 1, 2, 4)
    path = stacks.write_imagej(tmp_path / "many.tif", samples, is_joined=True)
    url = sources.on("/501-images.tif", status(200, data=path.read_bytes()))
    images = str(client.submit(url, "Many images", pages="all")["dataset_id"])
    error = finish(client, images)["error"]
    assert (error["code"], "501 pages" in error["message"]) == ("too_many_pages", True)
    for each in (failed, dataset_id, many, images):
        client.delete(each)


def test_labels_and_smaller_versions_are_no_pages_to_show(
    stack: LaunchedStack, client: Client, sources: SourceServer
) -> None:
    # Given a slide that begins with its label, and has a smaller version between its pages
    file = io.BytesIO()
    first, second, third = pages(5)
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.zeros((40, 40, 3), np.uint8), photometric="rgb", description="Slide\nlabel 40x40")
        writer.write(first, photometric="rgb")
        writer.write(second[::2, ::2], photometric="rgb", subfiletype=1)
        writer.write(third, photometric="rgb")
    url = sources.on("/labelled.tif", status(200, data=file.getvalue()))
    dataset_id = str(client.submit(url, "A slide", pages="all")["dataset_id"])
    ready(client, dataset_id)
    # Then the others are shown, by their numbers in the file; the first also as the dataset itself
    found = client.get(dataset_id)["pages"]
    assert [(page["page"], page["height"], page["width"]) for page in found] == [(1, *SIZES[0]), (3, *SIZES[2])]
    assert [page["iiif"].split("/")[-2] for page in found] == [dataset_id, f"{dataset_id}-p3"]
    assert get(stack, f"/iiif/{dataset_id}/info.json").json()["width"] == SIZES[0][1]
    assert get(stack, f"/iiif/{dataset_id}-p3/info.json").json()["width"] == SIZES[2][1]
    assert get(stack, f"/iiif/{dataset_id}-p1/info.json").status_code == 404
    client.delete(dataset_id)


def test_each_image_for_which_one_directory_stands_is_a_page(
    stack: LaunchedStack, client: Client, sources: SourceServer, command: Command, tmp_path: Path
) -> None:
    # Given an ImageJ stack of two channels and two depths, as ImageJ writes it above 4 GB
    cells = stacks.planes(2, z=2)
    path = stacks.write_imagej(tmp_path / "joined.tif", cells, is_joined=True, Labels=["joined", "pages"] * 2)
    url = sources.on("/joined-pages.tif", status(200, data=path.read_bytes()))
    dataset_id = str(client.submit(url, "A stack", pages="all", format="png")["dataset_id"])
    ready(client, dataset_id)
    # Then all four are shown, each as it is alone
    found = client.get(dataset_id)["pages"]
    assert [page["page"] for page in found] == [0, 1, 2, 3]
    for page in found:
        tile = decode(get(stack, f"/tiles/{page['tile_id']}_files/8/0_0.png").content)
        image = cells[divmod(page["page"], 2)]
        assert np.abs(tile[..., :3].astype(int) - stretched(image[..., None])).max() <= 1, page
    manifest = get(stack, f"/iiif/{dataset_id}/manifest.json").json()
    assert len(manifest["items"]) == 4
    # And a comparison with the original finds the image of each
    for page in found:
        ended = command("verify", page["tile_id"], "--source", "--data", str(stack.data))
        assert (ended.code, "1 match the original" in ended.out) == (0, True), ended
    client.delete(dataset_id)


def test_the_pages_of_a_small_file_cost_no_more_than_one_image_of_it(client: Client, sources: SourceServer) -> None:
    # Given a small file of many tiny pages, and one whose pages all list the same bytes
    tiny = tiff(*[np.full((1, 1, 3), shade, np.uint8) for shade in range(120)])
    shared = one_strip_for_all(pages=12, edge=12_000)
    ids = [
        client.submit(sources.on(f"/costly-pages-{number}.tif", status(200, data=data)), "Costly", pages="all")
        for number, data in enumerate((tiny, shared))
    ]
    # Then both are refused, with what to do
    errors = [finish(client, str(one["dataset_id"]))["error"] for one in ids]
    assert [error["code"] for error in errors] == ["too_many_pages", "decoder_too_slow"]
    assert errors[0]["message"].startswith("The file has ")
    assert errors[1]["message"].startswith("Page 8 (9 of 12): ")
    assert all("one by one" in error["message"] for error in errors)
