"""docs/viewers.md and exports.md: each of their pages, copied into a folder, shows the picture in a real browser.

The picture's halves are red and blue, in squares of two pixels that are lighter and darker. Only the finest tiles show
the squares; on all other levels, they blend into one colour.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import pyvips
import requests
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

from tests.acceptance.conftest import ENVIRONMENT
from tests.acceptance.jobs import ready, submit
from tests.acceptance.test_page import ARGUMENTS
from tests.support.images import pictures
from tests.support.network.answers import status
from tests.support.network.sources import SourceServer
from tests.support.rigs.static_hosts import nginx
from tilewright.client import Client
from tilewright.commands.export import Served, export
from tilewright.commands.layout import Layout
from tilewright.embedded import LaunchedStack
from tilewright.gauge import gauge

ROOT = Path(__file__).parents[2]
OPENSEADRAGON = ROOT / "web/node_modules/openseadragon/build/openseadragon"
VIEWERS = ROOT / "tests/viewers/node_modules"
PAGE = re.compile(r"<!-- page: ([\w-]+) -->\n```html\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = (ROOT / "docs/viewers.md").read_text(encoding="utf-8")
PAGES = dict(PAGE.findall(TEXT + (ROOT / "docs/exports.md").read_text(encoding="utf-8")))

EXPORTS = {
    "earth": Layout.DZI,
    "map": Layout.XYZ,
    "tms": Layout.TMS,
    "iiif": Layout.IIIF,
    "zoomify": Layout.ZOOMIFY,
    "bucket": Layout.BUCKET,
    "site": Layout.SITE,
}
"""Folders of the server of plain files, and what is exported into them."""

PATIENCE = 60_000
"""Milliseconds to wait for a page's tiles."""

LOOKS = 200
"""Looks at a page, some tenths of a second each, until it has to show the picture."""

GLASS = (200, 60, 0, 128)
"""A half-transparent colour."""

RED, BLUE = (200, 40, 40), (40, 40, 200)


CONTRAST = 40
"""Levels by which a square differs from the mean."""

COPIES = {
    "leaflet": VIEWERS / "leaflet/dist",
    "leaflet-iiif.js": VIEWERS / "leaflet-iiif/leaflet-iiif.js",
    "ol.js": VIEWERS / "ol/dist/ol.js",
    "ol.css": VIEWERS / "ol/ol.css",
    "openseadragon": OPENSEADRAGON,
    "openseadragon-2": VIEWERS / "openseadragon-2/build/openseadragon",
    "uv": VIEWERS / "universalviewer/dist",
    "mirador-3": VIEWERS / "mirador-3/dist",
    "mirador-4": VIEWERS / "mirador-4/dist",
    "tify": VIEWERS / "tify/dist",
    "clover": VIEWERS / "@samvera/clover-iiif/dist/web-components",
}
"""What the documentation says is to be put beside its pages."""

VARIANTS = {
    "mirador-3": ("mirador", "mirador/", "mirador-3/"),
    "mirador-4": ("mirador", "mirador/", "mirador-4/"),
    "openseadragon-iiif": ("openseadragon", "/tiles/423cd200….dzi", "/iiif/423cd200…/info.json"),
    "openseadragon-permanent": ("openseadragon", "423cd200…", "custom_908561d2"),
}
"""More pages: the page of the documentation that each is made from, and what is replaced there."""

NAMES = [name for name in PAGES if name != "mirador"] + list(VARIANTS) + ["site/index"]

IIIF = [
    "universal-viewer",
    "mirador-3",
    "mirador-4",
    "tify",
    "clover",
    "leaflet-iiif",
    "openlayers-iiif",
    "openseadragon-2",
    "openseadragon-iiif",
]
"""Pages that show an image through IIIF."""

COLLECTION_VIEWERS = ["universal-viewer", "mirador-4"]
"""Pages of viewers that the documentation says open a collection."""

WITH_THUMBNAIL = {"mirador-3", "mirador-4", "tify", "clover"}
"""Pages that show the dataset's thumbnail. Universal Viewer shows those of several canvases only."""


class Picture(NamedTuple):
    """What was tiled."""

    dataset_id: str
    tile_id: str


@pytest.fixture(scope="module")
def picture(stack: LaunchedStack, sources: SourceServer) -> Iterator[Picture]:
    rows, columns = np.mgrid[:2400, :3200]
    # Each pixel of the next level is the mean of four squares.
    squares = ((rows + 1) // 2 + (columns + 1) // 2) % 2 * (2 * CONTRAST) - CONTRAST
    halves = np.where((columns < 1600)[..., None], RED, BLUE) + squares[..., None]
    image = pyvips.Image.new_from_array(halves.astype(np.uint8)).copy(interpretation="srgb")
    url = sources.on("/viewers-halves.jpg", status(200, data=bytes(image.jpegsave_buffer(Q=95))))
    with closing(Client(stack.url)) as client:
        dataset_id = submit(client, url)
        yield Picture(dataset_id, ready(client, dataset_id)["tile_id"])
        client.delete(dataset_id)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def site(picture: Picture, stack: LaunchedStack, folder: Path) -> Iterator[str]:
    """A server of plain files: the pages of the documentation, and beside them what they say is to be put there."""
    for name, original in COPIES.items():
        (folder / name).symlink_to(original)
    (folder / "favicon.ico").touch()
    shutil.copytree(ROOT / "packages/openseadragon-tilewright", folder / "openseadragon-tilewright")
    write_pages(folder, stack.url, picture)
    with nginx(folder) as url:
        with closing(Client(stack.url)) as client, gauge(quiet=True) as quiet:
            for name, layout in EXPORTS.items():
                address = f"{url}/{name}" if layout is Layout.IIIF else ""
                source = Served(client, client.get(picture.dataset_id))
                export(source, folder / name, layout, quiet, force=False, url=address)
        yield url


def write_pages(folder: Path, server: str, picture: Picture, mark: str = "") -> None:
    """Write the pages of the documentation, with the addresses of a picture, as `{name}{mark}.html`."""
    pages = PAGES | {name: PAGES[page].replace(old, new) for name, (page, old, new) in VARIANTS.items()}
    for name, text in pages.items():
        page = text.replace("http://127.0.0.1:8000", server)
        page = page.replace("423cd200…", picture.tile_id).replace("custom_908561d2", picture.dataset_id)
        (folder / f"{name}{mark}.html").write_text(page, encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS, env=dict(ENVIRONMENT))
        yield browser
        browser.close()


def seen(page: Page) -> pictures.Pixels:
    """Return what the window shows now."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def places(pixels: pictures.Pixels, colour: tuple[int, ...]) -> tuple[pictures.Pixels, pictures.Pixels]:
    """Return the rows and columns where a colour is seen."""
    rows, columns = np.nonzero(np.abs(pixels - colour).max(axis=2) < 24)
    return rows, columns


def shows_halves(page: Page) -> bool:
    """Whether red and blue take up a good part of what is seen, red on the left."""
    pixels = seen(page)
    red, blue = (places(pixels, colour)[1] for colour in (RED, BLUE))
    enough = min(len(red), len(blue)) > 0.04 * pixels.shape[0] * pixels.shape[1]
    return enough and bool(red.max() < blue.max() and red.min() < blue.min())


def shows_squares(page: Page, x: int, y: int) -> bool:
    """Whether the squares are seen at a place, in one of the halves."""
    around = seen(page)[y - 24 : y + 24, x - 24 : x + 24]
    is_sharp = around.mean(axis=2).std() > CONTRAST / 2
    return bool(is_sharp and any(np.abs(around.mean(axis=(0, 1)) - colour).max() < 24 for colour in (RED, BLUE)))


class Watched:
    """A page, and what went wrong in it."""

    def __init__(self, page: Page, *hosts: str) -> None:
        self.wrong: list[str] = []
        self.tiles: list[str] = []
        self.awaited: set[Request] = set()
        self._hosts = ("data:", "blob:", *hosts)
        page.on("request", self._asked)
        page.on("requestfinished", self._finished)
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._said)

    def _asked(self, request: Request) -> None:
        self.awaited.add(request)

    def _finished(self, request: Request) -> None:
        self.awaited.discard(request)

    def _answered(self, response: Response) -> None:
        if not response.url.startswith(self._hosts):
            self.wrong.append(f"{response.url} is another host's")
        if response.status >= 400:
            self.wrong.append(f"{response.url}: {response.status}")
        if response.url.endswith((".jpg", ".szi")):
            self.tiles.append(response.url)

    def _failed(self, request: Request) -> None:
        self.awaited.discard(request)
        # A viewer gives up a tile that went out of sight.
        if request.failure != "net::ERR_ABORTED":
            self.wrong.append(f"{request.url}: {request.failure}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.wrong.append(f"console: {message.text}")


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_the_documentation_shows_the_picture(
    name: str, site: str, stack: LaunchedStack, browser: Browser
) -> None:
    # Given the page, on a server that only hands out files
    context = browser.new_context(viewport={"width": 900, "height": 700})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    watched = Watched(page, site, stack.url)

    # When it is opened
    page.goto(f"{site}/{name}.html", wait_until="networkidle")

    # Then it shows the picture, and its thumbnail
    assert any(shows_halves(page) for _ in range(LOOKS)), (name, watched.wrong, watched.tiles)
    if name in WITH_THUMBNAIL:
        page.wait_for_function(
            "[...document.images].some(image => image.src.endsWith('/thumbnail.jpg') && image.naturalWidth > 0)"
        )

    # When it is zoomed in, then the finest tiles appear
    rows, columns = places(seen(page), RED)
    x, y = int(np.median(columns)), int(np.median(rows))

    def zoom() -> bool:
        if name == "clover":
            page.get_by_title("Zoom in").click()
        else:
            page.mouse.move(x, y)
            page.mouse.wheel(0, -200)
        return False

    assert any(shows_squares(page, x, y) or zoom() for _ in range(LOOKS)), (name, watched.wrong, watched.tiles)

    # And all comes from where the page says, is there, and leaves the console without an error
    assert any(not watched.awaited or not seen(page).size for _ in range(LOOKS)), watched.awaited
    assert watched.wrong == []
    assert watched.tiles
    home = site if name.startswith(("static-", "export-", "bucket", "site")) else stack.url
    assert all(url.startswith(home) for url in watched.tiles)
    context.close()


@pytest.fixture(scope="module")
def striped(stack: LaunchedStack, sources: SourceServer, folder: Path) -> Iterator[None]:
    """The halves, with a transparent stripe across them, as PNG and as WebP tiles. Their pages end in the format."""
    pixels = np.full((1200, 1600, 4), (*RED, 255), dtype=np.uint8)
    pixels[:, 800:, :3] = BLUE
    pixels[400:800, :, 3] = 0
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")
    url = sources.on("/viewers-stripe.png", status(200, data=bytes(image.pngsave_buffer())))
    with closing(Client(stack.url)) as client:
        ids = {kind: client.submit(url, "Stripe", format=kind, quality=95)["dataset_id"] for kind in ("png", "webp")}
        for kind, dataset_id in ids.items():
            write_pages(folder, stack.url, Picture(dataset_id, ready(client, dataset_id)["tile_id"]), f"-{kind}")
        yield
        for dataset_id in ids.values():
            client.delete(dataset_id)


def shows_stripe(page: Page) -> bool:
    """Whether the halves are seen above and below the stripe, as wide and as high as they are to each other."""
    pixels = seen(page)
    red, blue = (np.abs(pixels - colour).max(axis=2) < 24 for colour in (RED, BLUE))
    # Thumbnails show the halves too, but their border is shorter.
    meet = red[:, :-4] & blue[:, 4:]
    x = int(meet.sum(axis=0).argmax())
    rows = np.flatnonzero(meet[:, x])
    if len(rows) < 50:
        return False
    gaps = np.diff(rows)
    end = int(gaps.argmax())
    height, stripe = int(rows[end] - rows[0]), int(gaps[end])
    left = red[rows[end] - 4, x::-1]
    width = len(left) if left.all() else int(left.argmin())
    # Each part is 800 pixels wide and 400 high.
    return abs(width / height - 2) < 0.15 and abs(stripe / height - 1) < 0.1


@pytest.mark.usefixtures("striped")
@pytest.mark.parametrize(
    ("name", "tile_format"),
    [*((name, "webp") for name in IIIF), *((name, "png") for name in ("universal-viewer", "leaflet-iiif", "tify"))],
)
def test_transparency_is_shown_through_iiif(
    name: str, tile_format: str, site: str, stack: LaunchedStack, browser: Browser
) -> None:
    # When the page is opened for a dataset with transparency, whose tiles no viewer expects to be JPEG
    context = browser.new_context(viewport={"width": 900, "height": 700})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    watched = Watched(page, site, stack.url)
    page.goto(f"{site}/{name}-{tile_format}.html", wait_until="networkidle")
    # Then it shows the image, and all that it asks for is there
    assert any(shows_stripe(page) for _ in range(LOOKS)), (name, watched.wrong)
    assert any(not watched.awaited or not seen(page).size for _ in range(LOOKS)), watched.awaited
    assert watched.wrong == []
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
        "openseadragon-2",
        "leaflet",
        "openlayers",
        "openlayers-iiif",
        "leaflet-iiif",
        "universal-viewer",
        "mirador",
        "tify",
        "clover",
        "static-openseadragon",
        "static-leaflet",
        "bucket",
        "export-zoomify",
        "export-iiif",
        "export-tms",
    }


def test_the_versions_named_are_those_that_are_opened_here() -> None:
    # Given the packages of the lock: none that a viewer was built from is among them
    lock = json.loads((VIEWERS.parent / "package-lock.json").read_text(encoding="utf-8"))
    packages = {key.removeprefix("node_modules/"): value for key, value in lock["packages"].items() if key}
    assert set(packages) == set(lock["packages"][""]["dependencies"])
    opened = {f"{package.get('name', name)}@{package['version']}" for name, package in packages.items()}
    # Then those that the documentation says to copy are among them
    named = set(re.findall(r"`((?:@[a-z-]+/)?[a-z-]+@[0-9.]+)`", TEXT))
    assert len(named) > 6
    assert named <= opened


def test_the_tiles_that_qgis_is_told_of_are_there(picture: Picture, stack: LaunchedStack) -> None:
    # Given the URL of the documentation, and the greatest zoom of the status
    (template,) = re.findall(r"^\| URL \| `([^`]+)`", TEXT, re.MULTILINE)
    template = template.replace("http://127.0.0.1:8000", stack.url).replace("custom_908561d2", picture.dataset_id)
    with closing(Client(stack.url)) as client:
        assert template == stack.url + client.get(picture.dataset_id)["urls"]["xyz"]
        info = client.status(picture.dataset_id)["tile_info"]
    # When QGIS asks for the corners of each zoom, then they are tiles of the size that it expects
    for zoom in range(info["max_zoom"] + 1):
        scale = info["tile_size"] << (info["max_zoom"] - zoom)
        for x in {0, (info["width"] - 1) // scale}:
            for y in {0, (info["height"] - 1) // scale}:
                tile = requests.get(template.format(z=zoom, x=x, y=y), timeout=60)
                assert tile.status_code == 200
                assert pictures.decode(tile.content).shape[:2] == (info["tile_size"], info["tile_size"])


def test_an_exported_site_opens_from_a_disk(
    picture: Picture, stack: LaunchedStack, browser: Browser, tmp_path: Path
) -> None:
    # Given a dataset as a site in a folder, without any server
    with closing(Client(stack.url)) as client, gauge(quiet=True) as quiet:
        source = Served(client, client.get(picture.dataset_id))
        entrance = export(source, tmp_path / "site", Layout.SITE, quiet, force=False, url="")
    # When its page is opened as a file
    context = browser.new_context(viewport={"width": 900, "height": 700}, offline=True)
    page = context.new_page()
    watched = Watched(page, "file:")
    page.goto(entrance.as_uri(), wait_until="load")
    # Then it shows the picture, and the console is empty
    assert any(shows_halves(page) for _ in range(LOOKS)), watched.wrong
    assert watched.wrong == []
    context.close()


@pytest.fixture(scope="module")
def halves(picture: Picture, stack: LaunchedStack, sources: SourceServer, folder: Path) -> Iterator[str]:
    """Pages that open a collection of two datasets, a grey one and then the halves, whose id this is."""
    grey = pyvips.Image.black(1600, 1200, bands=3).copy(interpretation="srgb") + 128
    url = sources.on("/viewers-grey.jpg", status(200, data=bytes(grey.cast("uchar").jpegsave_buffer())))
    with closing(Client(stack.url)) as client:
        ids = []
        for address, name in ((client.get(picture.dataset_id)["url"], "Red and blue"), (url, "All grey")):
            ids.append(client.submit(address, name, tags=["viewers"])["dataset_id"])
            ready(client, ids[-1])
        for name in COLLECTION_VIEWERS:
            page = (folder / f"{name}.html").read_text(encoding="utf-8")
            manifest = f"/iiif/{picture.dataset_id}/manifest.json"
            assert manifest in page
            page = page.replace(manifest, "/iiif/collections/tag/viewers")
            (folder / f"{name}-collection.html").write_text(page, encoding="utf-8")
        yield ids[0]
        for dataset_id in ids:
            client.delete(dataset_id)


@pytest.mark.parametrize("name", COLLECTION_VIEWERS)
def test_a_collection_is_opened_and_an_image_chosen(
    name: str, site: str, halves: str, stack: LaunchedStack, browser: Browser
) -> None:
    # Given a page that opens a collection
    context = browser.new_context(viewport={"width": 900, "height": 700})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    watched = Watched(page, site, stack.url)
    page.goto(f"{site}/{name}-collection.html", wait_until="networkidle")
    assert not shows_halves(page)

    # When one of its images is chosen
    if name.startswith("mirador"):
        page.get_by_role("button", name="Show collection").click()
    page.get_by_text("Red and blue", exact=True).first.click()

    # Then it is shown, and all is there and leaves the console without an error
    assert any(shows_halves(page) for _ in range(LOOKS)), (name, watched.wrong, watched.tiles)
    assert any(not watched.awaited or not seen(page).size for _ in range(LOOKS)), watched.awaited
    assert watched.wrong == []
    assert any(halves in url for url in watched.tiles)
    context.close()
