"""docs/viewers.md: each of its pages, copied from there into a folder, shows the picture in a real browser."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import pyvips
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.acceptance.conftest import ENVIRONMENT
from tests.acceptance.jobs import ready, submit
from tests.acceptance.test_page import ARGUMENTS
from tests.support.network.answers import status
from tests.support.network.sources import SourceServer
from tests.support.rigs.static_hosts import nginx
from tilewright.client import Client
from tilewright.commands.export import export
from tilewright.commands.layout import Layout
from tilewright.embedded import LaunchedStack
from tilewright.gauge import gauge

ROOT = Path(__file__).parents[2]
OPENSEADRAGON = ROOT / "web/node_modules/openseadragon/build/openseadragon"
VIEWERS = ROOT / "tests/viewers/node_modules"
PAGE = re.compile(r"<!-- page: ([\w-]+) -->\n```html\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = dict(PAGE.findall((ROOT / "docs/viewers.md").read_text(encoding="utf-8")))

PATIENCE = 60_000
"""Milliseconds to wait for a page's tiles."""

LOOKS = 200
"""Looks at a page, some tenths of a second each, until it has to show the picture."""

GLASS = (200, 60, 0, 128)
"""A half-transparent colour."""

RED, BLUE = (200, 40, 40), (40, 40, 200)


class Picture(NamedTuple):
    """What was tiled: its left half is red, its right half blue."""

    dataset_id: str
    tile_id: str


@pytest.fixture(scope="module")
def picture(stack: LaunchedStack, sources: SourceServer) -> Iterator[Picture]:
    left, right = (pyvips.Image.black(700, 900, bands=3).linear([1, 1, 1], list(colour)) for colour in (RED, BLUE))
    image = left.join(right, "horizontal").cast("uchar").copy(interpretation="srgb")
    url = sources.on("/viewers-halves.jpg", status(200, data=bytes(image.jpegsave_buffer(Q=95))))
    with closing(Client(stack.url)) as client:
        dataset_id = submit(client, url)
        yield Picture(dataset_id, ready(client, dataset_id)["tile_id"])
        client.delete(dataset_id)


@pytest.fixture(scope="module")
def site(picture: Picture, stack: LaunchedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of plain files: the pages of the documentation, and beside them what they say is to be put there."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(VIEWERS / "leaflet/dist", folder / "leaflet")
    shutil.copytree(OPENSEADRAGON, folder / "openseadragon")
    shutil.copytree(ROOT / "packages/openseadragon-tilewright", folder / "openseadragon-tilewright")
    (build,) = (stack.data / "storage/pyramids" / picture.tile_id).iterdir()
    shutil.copytree(build, folder / "bucket")
    for path in ("leaflet-iiif/leaflet-iiif.js", "ol/dist/ol.js", "ol/ol.css"):
        shutil.copy(VIEWERS / path, folder)
    with closing(Client(stack.url)) as client, gauge(quiet=True) as quiet:
        for name, layout in (("earth", Layout.DZI), ("map", Layout.XYZ)):
            export(client, picture.dataset_id, folder / name, layout, quiet, force=False, url="")
    for name, text in PAGES.items():
        page = text.replace("http://127.0.0.1:8000", stack.url)
        page = page.replace("423cd200…", picture.tile_id).replace("custom_908561d2", picture.dataset_id)
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    info = f'"{stack.url}/iiif/{picture.tile_id}/info.json"'
    deep_zoom = (folder / "openseadragon.html").read_text(encoding="utf-8")
    (folder / "openseadragon-iiif.html").write_text(re.sub(r'"[^"]*\.dzi"', info, deep_zoom), encoding="utf-8")
    for name in ("openseadragon", "openseadragon-iiif"):
        text = (folder / f"{name}.html").read_text(encoding="utf-8").replace(picture.tile_id, picture.dataset_id)
        (folder / f"{name}-permanent.html").write_text(text, encoding="utf-8")
    with nginx(folder) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS, env=dict(ENVIRONMENT))
        yield browser
        browser.close()


def shows_halves(page: Page) -> bool:
    """Whether red and blue take up a good part of what is seen, red on the left."""
    seen = Image.open(io.BytesIO(page.locator("#picture").screenshot())).convert("RGB")
    pixels = np.asarray(seen).astype(int)
    columns = [np.nonzero(np.abs(pixels - colour).max(axis=2) < 24)[1] for colour in (RED, BLUE)]
    enough = all(len(found) > 0.04 * pixels.shape[0] * pixels.shape[1] for found in columns)
    return enough and bool(columns[0].max() < columns[1].max() and columns[0].min() < columns[1].min())


@pytest.mark.parametrize(
    "name", [*PAGES, "openseadragon-iiif", "openseadragon-permanent", "openseadragon-iiif-permanent"]
)
def test_the_page_of_the_documentation_shows_the_picture(
    name: str, site: str, stack: LaunchedStack, browser: Browser
) -> None:
    # Given the page, on a server that only hands out files
    context = browser.new_context(viewport={"width": 900, "height": 700})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    wrong: list[str] = []
    tiles: list[str] = []

    def note(url: str, code: int) -> None:
        if not url.startswith((site, stack.url, "data:", "blob:")):
            wrong.append(f"{url} is another host's")
        if code >= 400 and not url.endswith("/favicon.ico"):
            wrong.append(f"{url}: {code}")
        if url.endswith((".jpg", ".szi")):
            tiles.append(url)

    page.on("response", lambda response: note(response.url, response.status))
    page.on("requestfailed", lambda request: wrong.append(f"{request.url}: {request.failure}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))

    # When it is opened
    page.goto(f"{site}/{name}.html", wait_until="networkidle")

    # Then it shows the picture, from where it says, and asks for nothing that is not there
    assert any(shows_halves(page) for _ in range(LOOKS)), (name, wrong, tiles)
    assert wrong == []
    assert tiles
    home = site if name.startswith(("static-", "bucket")) else stack.url
    assert all(url.startswith(home) for url in tiles)
    context.close()


@pytest.fixture(scope="module")
def glass(stack: LaunchedStack, sources: SourceServer) -> Iterator[dict[str, Picture]]:
    """An image of GLASS all over, as PNG and as WebP tiles."""
    image = pyvips.Image.black(1300, 900, bands=4).linear([1] * 4, list(GLASS)).cast("uchar")
    url = sources.on("/glass-all-over.png", status(200, data=bytes(image.copy(interpretation="srgb").pngsave_buffer())))
    with closing(Client(stack.url)) as client:
        found = {}
        for tile_format in ("png", "webp"):
            dataset_id = client.submit(url, "Glass", format=tile_format, quality=100)["dataset_id"]
            found[tile_format] = Picture(dataset_id, ready(client, dataset_id)["tile_id"])
        yield found
        for picture in found.values():
            client.delete(picture.dataset_id)


@pytest.mark.parametrize("ratio", [1, 1.5])
@pytest.mark.parametrize("tile_format", ["png", "webp"])
@pytest.mark.parametrize("where", ["snippet", "own"])
def test_transparency_is_drawn_as_bright_as_it_is_and_without_seams(
    where: str,
    tile_format: str,
    ratio: float,
    glass: dict[str, Picture],
    stack: LaunchedStack,
    browser: Browser,
    tmp_path: Path,
) -> None:
    context = browser.new_context(viewport={"width": 900, "height": 700}, device_scale_factor=ratio)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    if where == "own":
        page.goto(f"{stack.url}/embed/{glass[tile_format].dataset_id}", wait_until="networkidle")
        drawn = page.locator(".openseadragon-canvas").first
        behind = page.evaluate("getComputedStyle(document.querySelector('.stage')).backgroundColor")
        background = np.array([int(part) for part in re.findall(r"[0-9]+", behind)[:3]])
    else:
        text = PAGES["openseadragon"].replace("http://127.0.0.1:8000", stack.url)
        (tmp_path / "page.html").write_text(text.replace("423cd200…", glass[tile_format].tile_id), encoding="utf-8")
        page.goto((tmp_path / "page.html").as_uri(), wait_until="networkidle")
        drawn = page.locator("#picture")
        background = np.array([255, 255, 255])
    share = GLASS[3] / 255
    expected = np.array(GLASS[:3]) * share + background * (1 - share)

    def is_right() -> bool:
        seen = np.asarray(Image.open(io.BytesIO(drawn.screenshot())).convert("RGB")).astype(float)
        height, width, _ = seen.shape
        middle = seen[height // 3 : height // 2, width // 5 : width // 2]
        return bool(np.abs(middle - expected).max() <= 6)

    assert any(is_right() for _ in range(LOOKS)), expected
    # At another zoom, where tiles do not begin on whole pixels
    page.mouse.move(450, 350)
    page.mouse.wheel(0, -150)
    assert any(is_right() for _ in range(LOOKS)), expected
    context.close()


def test_there_is_a_page_for_every_viewer_named() -> None:
    assert set(PAGES) == {
        "openseadragon",
        "leaflet",
        "openlayers",
        "leaflet-iiif",
        "static-openseadragon",
        "static-leaflet",
        "bucket",
    }
