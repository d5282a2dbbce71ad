"""The page, driven by a real browser against a real stack: what a person sees, by mouse, keyboard or screen reader."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pyvips
import requests
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it ships no types
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

from pipeline.source_formats import listed
from tests.acceptance.jobs import finish, ready, submit
from tests.acceptance.test_all_pages import several_pages
from tests.support.images import stacks
from tests.support.network.answers import gated, ranges, status
from tests.support.network.sources import SourceServer
from tests.support.rigs import waiting
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

ARGUMENTS = [
    "--no-sandbox",  # tests may run as root, in a container
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--disable-3d-apis",  # WebGL in software is ten times slower than the canvas that the viewer falls back to
]

PATIENCE = 60_000
"""Milliseconds that an expectation waits: fetching and tiling a small picture takes one or two seconds."""

RED, BLUE = (200, 40, 40), (40, 40, 200)

NewPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def leave_the_stack_as_it_was(stack: LaunchedStack) -> Iterator[None]:
    """Deletes what a test submitted, whether it passed or not; work on it stops."""
    with closing(Client(stack.url)) as client:
        known = {dataset["dataset_id"] for dataset in client.datasets()}
        yield
        for dataset in list(client.datasets()):
            if dataset["dataset_id"] not in known:
                client.delete(dataset["dataset_id"])


class Watch:
    """What went on behind a page: it may ask nobody but its own server, and nothing may break its policy."""

    def __init__(self, context: BrowserContext, server: str) -> None:
        self.server = server
        self.asked: list[str] = []
        self.complaints: list[str] = []
        context.on("request", self._request)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _request(self, request: Request) -> None:
        self.asked.append(f"{request.method} {urlsplit(request.url).path}")
        if not request.url.startswith((self.server, "data:", "blob:")):
            self.complaints.append(f"the page asked another host: {request.url}")

    def _console(self, message: ConsoleMessage) -> None:
        # A status of 400 and more is a test's own doing, and the page's answer to it is what the test looks at.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture
def watches() -> Iterator[list[Watch]]:
    watches: list[Watch] = []
    yield watches
    assert [complaint for watch in watches for complaint in watch.complaints] == []


@pytest.fixture
def new_page(browser: Browser, stack: LaunchedStack, watches: list[Watch]) -> Iterator[NewPage]:
    """Opens a page in a browser profile of its own; keywords are the profile's, such as color_scheme."""
    contexts: list[BrowserContext] = []

    def new(path: str = "/", **options: Any) -> Page:
        context = browser.new_context(base_url=stack.url, **({"viewport": {"width": 1280, "height": 800}} | options))
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        watches.append(Watch(context, stack.url))
        page = context.new_page()
        page.goto(path)
        return page

    yield new
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def halves() -> bytes:
    """A JPEG of 1,200 x 800 whose left half is red and whose right half is blue."""
    left, right = (pyvips.Image.black(600, 800, bands=3).linear([1, 1, 1], list(colour)) for colour in (RED, BLUE))
    picture = left.join(right, "horizontal").cast("uchar").copy(interpretation="srgb")
    return bytes(picture.jpegsave_buffer(Q=95))


@pytest.fixture(scope="module")
def picture(stack: LaunchedStack, sources: SourceServer, halves: bytes) -> Iterator[str]:
    """A dataset that is ready: the halves, described."""
    url = sources.on("/page-halves.jpg", status(200, data=halves))
    texts = {"description": "Left is red,\nright is blue.", "category": "tests", "subject": "colour"}
    with closing(Client(stack.url)) as client:
        dataset_id = client.submit(url, "Two halves", **texts)["dataset_id"]
        ready(client, dataset_id)
        yield dataset_id
        client.delete(dataset_id)


def fill_in(page: Page, url: str, name: str) -> None:
    page.get_by_label("Image address").fill(url)
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make tiles").click()


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


def zoomable(page: Page, name: str) -> Locator:
    """The opened picture, once it can be worked with."""
    return page.get_by_role("application", name=re.compile(re.escape(name)))


def colour_at(canvas: Locator, x: float, y: float) -> tuple[int, int, int]:
    """The colour on the screen at a place of an element, given in shares of its width and height."""
    shot = Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")
    red, green, blue = shot.resize((64, 64)).getpixel((int(x * 64), int(y * 64)))  # type: ignore[misc]  # Pillow's type covers grey too
    return red, green, blue


def shows(canvas: Locator, x: float, y: float, colour: tuple[int, int, int]) -> None:
    """Wait until a place shows a colour, up to what JPEG makes of it."""
    seen = colour_at(canvas, x, y)
    for _ in range(200):
        if all(abs(one - other) < 12 for one, other in zip(seen, colour, strict=True)):
            return
        canvas.page.wait_for_function("() => new Promise((frame) => requestAnimationFrame(() => frame(true)))")
        seen = colour_at(canvas, x, y)
    raise AssertionError(f"{seen} where {colour} should be")


def cursor(page: Page) -> dict[str, float]:
    """The position in the address: {x, y, w} in pixels of the picture."""
    return {key: float(value) for key, value in (part.split("=") for part in urlsplit(page.url).fragment.split("&"))}


def test_a_preview_is_shown_in_the_place_of_the_picture_to_come(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes
) -> None:
    # Given a dataset at work, whose status has a preview
    gate = threading.Event()
    dataset_id = submit(client, sources.on("/page-preview.jpg", gated(halves, 1000, gate)), "With a preview")
    said = {
        "dataset_id": dataset_id,
        "status": "processing",
        "progress": "generating_tiles",
        "state": "TILING",
        "message": "Generating tiles… 20 %",
        "percent": 60,
        "stage_percent": 20,
        "source": {"format": "jpeg", "width": 43200, "height": 21600, "pages": 1},
        "preview": f"/api/datasets/{dataset_id}/preview",
    }
    page = new_page("/docs/errors")
    page.route("**/status", lambda route: route.fulfill(json=said))
    page.route("**/preview", lambda route: route.fulfill(body=halves, content_type="image/jpeg"))
    # When its page is opened
    page.goto(f"/view/{dataset_id}")
    # Then the preview covers the stage, with its colours, and the size of what is to come is told
    expect(page.get_by_text(re.compile("43,200 . 21,600"))).to_be_visible()
    stage = page.locator("#stage")
    shows(stage, 0.06, 0.9, RED)
    shows(stage, 0.94, 0.9, BLUE)
    # And when its run has gone, and the preview with it, then it is shown no more
    said["preview"] = None
    expect(page.locator(".laying-preview")).to_have_count(0)
    gate.set()


def test_an_address_becomes_a_picture_on_the_spot(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes
) -> None:
    # Given a source that stops half-way until a gate opens
    gate = threading.Event()
    url = sources.on("/page-gated.jpg", gated(halves, len(halves) // 2, gate))
    page = new_page()

    # When its address is submitted
    fill_in(page, url, "Half-way")

    # Then its id shows at once, and the phase with the true percent and counts
    submission = page.get_by_role("region", name="Half-way")
    dataset_id = submission.get_by_text(re.compile(r"^custom_[0-9a-f]{8,}$")).inner_text()
    assert client.get(dataset_id)["name"] == "Half-way"
    expect(submission.get_by_text("Downloading…", exact=True)).to_be_visible()
    expect(submission.get_by_text(re.compile(r"[\d.]+ k?B of [\d.]+ kB"))).to_be_visible()
    bar = submission.get_by_role("progressbar", name="Progress of Half-way")
    page.wait_for_function("(bar) => bar.value > 0", arg=bar.element_handle())
    assert abs(bar.evaluate("(bar) => bar.value") - client.status(dataset_id)["percent"]) < 1

    # And the catalogue shows the same
    expect(card(page, "Half-way").get_by_text("Downloading…", exact=True)).to_be_visible()

    # When the rest arrives, then the picture opens in place, and the catalogue's thumbnail turns real
    gate.set()
    canvas = zoomable(page, "Half-way")
    shows(canvas, 0.4, 0.5, RED)
    shows(canvas, 0.6, 0.5, BLUE)
    thumbnail = card(page, "Half-way").get_by_role("presentation")
    page.wait_for_function("(image) => image.naturalWidth > 0", arg=thumbnail.element_handle())

    # And its page is a link away
    submission.get_by_role("link", name="Open its page").click()
    expect(page).to_have_title("Half-way · Tilewright")


def test_a_failure_shows_its_reason_and_a_retry_brings_the_picture(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes
) -> None:
    # Given an address that leads nowhere
    url = sources.on("/page-late.jpg", status(404))
    page = new_page()

    # When it is submitted, then the reason is the contract's own sentence
    fill_in(page, url, "Late")
    submission = page.get_by_role("region", name="Late")
    retry = submission.get_by_role("button", name="Retry Late")
    expect(retry).to_be_visible()
    dataset_id = submission.get_by_text(re.compile("^custom_")).inner_text()
    expect(submission).to_contain_text(client.status(dataset_id)["error"]["message"])

    # When the file is there, and Retry is pressed, then the picture opens
    sources.on("/page-late.jpg", status(200, data=halves))
    retry.click()
    shows(zoomable(page, "Late"), 0.4, 0.5, RED)


def test_a_failed_source_can_be_given_a_new_url(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes
) -> None:
    # Given a dataset whose link does not work any more
    dataset_id = submit(client, sources.on("/page-old.jpg", status(403)), "Signed")
    page = new_page()
    signed = card(page, "Signed")
    field = signed.get_by_label("New URL of Signed")
    # When a URL is entered that cannot be fetched, then the page says why
    field.fill("ftp://example.org/a.jpg")
    signed.get_by_role("button", name="Retry Signed").click()
    expect(signed).to_contain_text("has to begin with http:// or https://")
    # When a working one is entered, then the picture is made of it
    new = sources.on("/page-new.jpg", status(200, data=halves))
    field.fill(new)
    field.press("Enter")
    waiting.until(lambda: client.get(dataset_id)["url"] == new, "the retry with the new URL")
    assert ready(client, dataset_id)
    expect(signed.get_by_label("Progress of Signed").or_(signed.get_by_role("img"))).not_to_have_count(0)


def test_cancel_stops_the_work_and_says_so(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes
) -> None:
    # Given a download that does not end
    gate = threading.Event()
    dataset_id = submit(client, sources.on("/page-endless.jpg", gated(halves, 1000, gate)), "Endless")
    page = new_page()
    endless = card(page, "Endless")
    expect(endless.get_by_text("Downloading…", exact=True)).to_be_visible()

    # When it is cancelled by the keyboard
    endless.get_by_role("button", name="Cancel Endless").focus()
    page.keyboard.press("Enter")

    # Then it has ended as cancelled, says so, and the focus is on what can be done next
    expect(endless.get_by_role("button", name="Retry Endless")).to_be_focused()
    assert client.status(dataset_id)["error"]["code"] == "cancelled"
    expect(endless).to_contain_text(re.compile("cancelled"))


def test_a_refresh_says_what_came_of_it_and_shows_what_has_changed(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes
) -> None:
    # Given a dataset that is ready, and its page
    dataset_id = submit(client, sources.on("/page-refreshed.jpg", ranges(halves, '"first"')), "Two halves, refreshed")
    ready(client, dataset_id)
    page = new_page(f"/view/{dataset_id}")
    opened = zoomable(page, "Two halves, refreshed")
    shows(opened, 0.25, 0.5, RED)
    button = page.get_by_role("button", name="Refresh Two halves, refreshed")
    # When nothing has changed, then that is said
    button.click()
    details = page.get_by_role("complementary", name="About this image")
    expect(details.get_by_text("The source has not changed, so nothing was done.")).to_be_visible()
    expect(button).to_be_enabled()
    # When the halves have changed places, then they do so in the viewer, and both versions are there
    turned = pyvips.Image.new_from_buffer(halves, "").fliphor().jpegsave_buffer(Q=95)
    sources.on("/page-refreshed.jpg", ranges(bytes(turned), '"second"'))
    button.click()
    expect(details.get_by_text("New tiles are shown.")).to_be_visible()
    shows(opened, 0.25, 0.5, BLUE)
    page.get_by_text("2 versions").click()
    expect(page.get_by_role("link", name=re.compile("1,200 . 800, until"))).to_be_visible()
    # When the source is gone, then the picture stays, and the reason is said
    sources.on("/page-refreshed.jpg", status(404))
    button.click()
    expect(details.get_by_text("404 Not Found").first).to_be_visible()
    shows(opened, 0.25, 0.5, BLUE)
    # And an embedded page has no button
    framed = new_page(f"/embed/{dataset_id}")
    shows(zoomable(framed, "Two halves, refreshed"), 0.25, 0.5, BLUE)
    expect(framed.get_by_role("button", name="Refresh Two halves, refreshed")).to_have_count(0)


def test_delete_asks_first(new_page: NewPage, client: Client, sources: SourceServer) -> None:
    # Given a dataset that failed
    dataset_id = submit(client, sources.on("/page-gone.jpg", status(404)), "Unwanted")
    page = new_page()

    # When deletion is begun and the question answered with no, by Escape
    card(page, "Unwanted").get_by_role("button", name="Delete Unwanted").click()
    expect(page.get_by_role("dialog", name="Delete “Unwanted”?")).to_be_visible()
    page.keyboard.press("Escape")

    # Then it is still there
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert client.get(dataset_id)["name"] == "Unwanted"

    # When the answer is yes, then it is gone, here and in the catalogue
    card(page, "Unwanted").get_by_role("button", name="Delete Unwanted").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card(page, "Unwanted")).to_have_count(0)
    assert dataset_id not in [dataset["dataset_id"] for dataset in client.datasets()]


def test_an_empty_form_is_answered_beside_its_fields_and_sends_nothing(new_page: NewPage, watches: list[Watch]) -> None:
    # Given the form as it stands
    page = new_page()

    # When it is submitted
    page.get_by_role("button", name="Make tiles").click()

    # Then both fields say what they lack, the first has the focus, and nobody was asked
    address, name = page.get_by_label("Image address"), page.get_by_label("Name")
    expect(address).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(address).to_be_focused()
    expect(page.locator("#url-error")).not_to_be_empty()
    assert "POST /api/datasets" not in watches[0].asked


def test_a_refused_address_is_answered_beside_its_field(new_page: NewPage, client: Client) -> None:
    # Given an address that may not be fetched
    page = new_page()

    # When it is submitted
    fill_in(page, "http://10.0.0.1/private.jpg", "Private")

    # Then the server's sentence stands beside the field, which has the focus, and describes it to a screen reader
    address = page.get_by_label("Image address")
    expect(page.locator("#url-error")).to_contain_text(re.compile("private|reserved"))
    expect(address).to_have_attribute("aria-invalid", "true")
    expect(address).to_be_focused()
    assert "url-error" in (address.get_attribute("aria-describedby") or "")

    # And what was typed is still there, and no dataset was made
    expect(page.get_by_label("Name")).to_have_value("Private")
    assert [dataset for dataset in client.datasets() if dataset["name"] == "Private"] == []


def test_what_is_asked_of_the_tiles_is_sent_as_it_is_meant(new_page: NewPage) -> None:
    # Given a server that takes whatever comes
    page = new_page()
    sent: list[Any] = []

    def take(route: Route) -> None:
        if route.request.method != "POST":
            route.fallback()
            return
        sent.append(route.request.post_data_json)
        route.fulfill(status=422, json={"detail": "Not today.", "code": "invalid_request", "errors": []})

    page.route("**/api/datasets", take)
    # When all that is optional is filled in, with a digest that is none at first
    page.get_by_text("More options").click()
    page.get_by_label("Tile format").select_option("WebP")
    page.get_by_label("Quality, 1 to 100").fill("70")
    page.get_by_label("Page, from 0").fill("2")
    page.get_by_label("Channels").fill("DAPI, 2")
    page.get_by_label("Size of a pixel").fill("0.25 µm")
    page.get_by_label("Place on Earth").fill("EPSG:4326 1 0 0 0 -1 0")
    page.get_by_label("If the file is damaged").select_option("Show what can be decoded")
    page.get_by_label("SHA-256 of the file").fill("abc")
    fill_in(page, "https://example.org/a.tif", "Asked")
    # Then the field says so, and nothing is sent
    expect(page.locator("#sha256-error")).not_to_be_empty()
    assert sent == []
    # And with a right one numbers go as numbers
    page.get_by_label("SHA-256 of the file").fill("ab" * 32)
    page.get_by_role("button", name="Make tiles").click()
    expect(page.get_by_text("Not today.")).to_be_visible()
    asked = {"format": "webp", "quality": 70, "page": 2, "channels": "DAPI, 2", "damage": "accept", "sha256": "ab" * 32}
    asked |= {"pixel_size": "0.25 µm", "georeference": "EPSG:4326 1 0 0 0 -1 0"}
    assert sent[0].items() >= asked.items()


def test_the_channels_of_a_stack_stand_beside_it(
    new_page: NewPage, client: Client, files: SourceServer, tmp_path: Path
) -> None:
    # Given a stack of two channels, of which one is chosen in the form and refused by a name that it does not have
    stacks.write_ome(tmp_path / "a.ome.tif", stacks.planes(2), ["DAPI", "GFP"], [stacks.BLUE, stacks.GREEN])
    url = files.url("/a.ome.tif")
    page = new_page()
    page.get_by_text("More options").click()
    page.get_by_label("Channels").fill("Actin")
    fill_in(page, url, "Without it")
    page.get_by_role("button", name="Make tiles").click()
    refused = page.locator(".live-reason", has_text="Actin")
    expect(refused).to_contain_text("It has 2 channels: 0 DAPI, 1 GFP.")
    # When it is shown, then the page lists the colour and the figures of each
    dataset_id = submit(client, url)
    ready(client, dataset_id)
    page.goto(f"/view/{dataset_id}")
    for at, name, colour in ((0, "DAPI", "#0000ff"), (1, "GFP", "#00ff00")):
        expect(page.locator("#facts")).to_contain_text(
            re.compile(f"Channel {at}{name} in {colour}: .* to .*percentile:2,98")
        )


def test_the_address_suggests_a_name(new_page: NewPage) -> None:
    # Given the empty form
    page = new_page()

    # When an address is given
    page.get_by_label("Image address").fill("https://example.org/maps/blue_marble%202024.tif?raw=1")
    page.get_by_label("Image address").blur()

    # Then the name is its file's, and one that a person wrote is left alone
    name = page.get_by_label("Name")
    expect(name).to_have_value("blue marble 2024")
    name.fill("My own")
    page.get_by_label("Image address").fill("https://example.org/other.tif")
    page.get_by_label("Image address").blur()
    expect(name).to_have_value("My own")


def test_a_form_whose_answer_was_lost_makes_one_dataset(
    new_page: NewPage, client: Client, sources: SourceServer
) -> None:
    # Given a way on which the first answer to the form is lost
    page = new_page()
    keys: list[str | None] = []

    def carry(route: Route) -> None:
        if route.request.method == "POST":
            keys.append(route.request.header_value("Idempotency-Key"))
            if len(keys) == 1:
                route.fetch()
                route.abort()
                return
        route.continue_()

    page.route("**/api/datasets", carry)
    # When it is sent, and sent again since nothing came
    fill_in(page, sources.on("/page-lost.jpg", status(404)), "Lost once")
    expect(page.get_by_text("Tilewright cannot be reached at the moment.")).to_be_visible()
    page.get_by_role("button", name="Make tiles").click()
    expect(page.locator("#submission-title")).to_have_text("Lost once")
    # Then both had one key, and there is one dataset
    assert len(keys) == 2
    assert keys[0]
    assert keys[0] == keys[1]
    assert [dataset["name"] for dataset in client.datasets()].count("Lost once") == 1


def test_what_people_wrote_is_never_html(new_page: NewPage, client: Client, sources: SourceServer) -> None:
    # Given a name and a description full of markup
    markup = '<img src=x onerror="document.title=1"><b>bold</b>'
    answer = client.submit(sources.on("/page-markup.jpg", status(404)), markup, description=markup)
    page = new_page()

    # When the catalogue and the dataset's own page show them
    expect(page.get_by_role("heading", name=markup, exact=True)).to_be_visible()
    page.goto(f"/view/{answer['dataset_id']}")
    expect(page.get_by_role("heading", level=1)).to_have_text(markup)

    # Then they are text, and nothing of them became an element
    expect(page.locator("#description")).to_have_text(markup)
    expect(page).to_have_title(f"{markup} · Tilewright")
    expect(page.locator("b, img[src=x]")).to_have_count(0)


def test_the_catalogue_is_found_by_word_and_state_and_goes_on_page_by_page(
    new_page: NewPage, client: Client, sources: SourceServer, picture: str
) -> None:
    # Given thirty datasets that failed, one that is ready, and a newest one of another name
    url = sources.on("/page-many.jpg", status(404))
    many = [submit(client, url, f"Leaflet {number:02}") for number in range(30)]
    many.append(submit(client, url, "Another"))
    for dataset_id in many:
        list(client.watch(dataset_id))

    # When their word is searched for
    page = new_page()
    page.get_by_role("searchbox", name="Search").fill("leaflet")

    # Then the newest come first, a page of them, and the next page goes on, with the focus on its first
    leaflets = page.get_by_role("heading", level=3)
    expect(leaflets.first).to_have_text("Leaflet 29")
    expect(leaflets).to_have_count(24)
    expect(card(page, "Two halves")).to_have_count(0)
    page.get_by_role("button", name="Show more").click()
    expect(leaflets).to_have_count(30)
    expect(leaflets.last).to_have_text("Leaflet 00")
    expect(page.get_by_role("link", name="Leaflet 05")).to_be_focused()
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()

    # And what is ready of them is a IIIF collection, which a state that has no manifests is not
    collection = page.get_by_role("link", name="IIIF collection")
    expect(collection).to_have_attribute("href", re.compile(r"/iiif/collections/all\?q=leaflet$"))
    page.get_by_label("State").select_option("Failed")
    expect(collection).to_be_hidden()

    # When only ready ones are asked for, then there is none, and the page says so
    page.get_by_label("State").select_option("Ready")
    expect(leaflets).to_have_count(0)
    expect(page.get_by_text("No images match.")).to_be_visible()

    # And the filters are in the address, so that a reload keeps them
    page.reload()
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("leaflet")
    page.get_by_role("searchbox", name="Search").fill("halves")
    expect(card(page, "Two halves")).to_be_visible()
    expect(collection).to_have_attribute("href", re.compile(r"\?q=halves$"))
    found = requests.get(str(collection.get_attribute("href")), timeout=60).json()
    assert {"none": ["Two halves"]} in [item["label"] for item in found["items"]]


def test_what_is_missing_in_an_image_is_told_beside_it(
    new_page: NewPage, client: Client, sources: SourceServer
) -> None:
    dataset_id = str(client.submit(sources.url("/truncated.jpg"), "Cut", damage="accept")["dataset_id"])
    assert finish(client, dataset_id)["status"] == "ready"
    page = new_page(f"/view/{dataset_id}")
    expect(page.get_by_role("complementary")).to_contain_text("could not be decoded. What is missing is grey.")


def test_a_page_opened_early_shows_the_phase_and_then_the_picture(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes
) -> None:
    # Given a dataset in the middle of its download
    gate = threading.Event()
    dataset_id = submit(client, sources.on("/page-early.jpg", gated(halves, len(halves) // 2, gate)), "Early")
    page = new_page(f"/view/{dataset_id}")

    # When its page is looked at, then it shows the phase
    expect(page.get_by_text("Downloading…", exact=True)).to_be_visible()
    expect(page).to_have_title("Early · Tilewright")

    # When the rest arrives, then the picture opens in place, and its facts are there
    gate.set()
    shows(zoomable(page, "Early"), 0.4, 0.5, RED)
    expect(page.get_by_role("complementary")).to_contain_text(re.compile("1,200 . 800"))
    expect(page.get_by_role("status").filter(has_text="Early is ready.")).to_have_count(1)


def test_a_lost_connection_is_said_and_waiting_goes_on(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes
) -> None:
    # Given a page that follows a download
    gate = threading.Event()
    dataset_id = submit(client, sources.on("/page-lost.jpg", gated(halves, 1000, gate)), "Lost")
    page = new_page(f"/view/{dataset_id}")
    expect(page.get_by_text("Downloading…", exact=True)).to_be_visible()

    # When the connection is lost, then the page says so
    page.context.set_offline(True)
    expect(page.get_by_text("Tilewright cannot be reached at the moment.")).to_be_visible()

    # When it is back, then the page goes on by itself to the end
    gate.set()
    page.context.set_offline(False)
    shows(zoomable(page, "Lost"), 0.4, 0.5, RED)


def test_the_viewer_is_driven_by_keys_and_remembers_the_place_in_the_address(new_page: NewPage, picture: str) -> None:
    # Given a link to a place in the right half of the picture
    page = new_page(f"/view/{picture}#x=900&y=400&w=300")

    # When it is opened, then it shows that place
    canvas = zoomable(page, "Two halves")
    shows(canvas, 0.1, 0.5, BLUE)

    # When the canvas has the focus and keys zoom and move
    canvas.focus()
    assert canvas.evaluate("(canvas) => getComputedStyle(canvas).outlineStyle") == "solid"
    page.keyboard.press("+")
    page.wait_for_function("() => Number(new URLSearchParams(location.hash.slice(1)).get('w')) < 300")
    zoomed = cursor(page)
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => Number(new URLSearchParams(location.hash.slice(1)).get('x')) > {zoomed['x']}")

    # Then a reload opens where one was
    before = cursor(page)
    page.reload()
    shows(canvas, 0.1, 0.5, BLUE)
    expect(page.get_by_label("Scale")).not_to_be_empty()
    width = page.evaluate("() => document.querySelector('.stage').clientWidth")
    assert page.get_by_label("Scale").inner_text() == f"{round(width / before['w'] * 100)}%"

    # And 0 shows the whole image
    canvas.focus()
    page.keyboard.press("0")
    shows(canvas, 0.3, 0.5, RED)


def test_the_controls_zoom_turn_and_fill_the_screen(new_page: NewPage, picture: str) -> None:
    # Given an opened picture
    page = new_page(f"/view/{picture}", reduced_motion="reduce")
    canvas = zoomable(page, "Two halves")
    shows(canvas, 0.3, 0.5, RED)

    # When it is turned right, then the red half lies on top
    page.get_by_role("button", name="Turn right").click()
    shows(canvas, 0.5, 0.3, RED)
    shows(canvas, 0.5, 0.7, BLUE)
    page.wait_for_function("() => location.hash.endsWith('&r=90')")

    # When it fills the screen, then the button leads back
    page.get_by_role("button", name="Full screen").click()
    leave = page.get_by_role("button", name="Exit full screen")
    expect(leave).to_be_visible()
    leave.click()
    expect(page.get_by_role("button", name="Full screen", exact=True)).to_be_visible()

    # And the buttons zoom in, and back to the whole
    page.get_by_role("button", name="Whole image").click()
    shows(canvas, 0.5, 0.1, RED)
    scale = page.get_by_label("Scale").inner_text()
    page.get_by_role("button", name="Zoom in").click()
    expect(page.get_by_label("Scale")).not_to_have_text(scale)
    page.get_by_role("button", name="Whole image").click()
    expect(page.get_by_label("Scale")).to_have_text(scale)


METRES = {"nm": 1e-9, "µm": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3}

VIEWER = "OpenSeadragon.getViewer(document.querySelector('.stage-canvas'))"


def metres(text: str) -> float:
    number, unit = text.split(" ")
    return float(number.replace(",", "")) * METRES[unit]


def per_pixel(page: Page) -> float:
    """How many metres of the image a pixel of the screen shows along its width, as the scale bar says."""
    line = page.locator(".scale-line").bounding_box()
    assert line is not None
    return metres(page.locator(".scale-bar").inner_text().strip()) / line["width"]


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()


def measured_by_shift_drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> Locator:
    """Drags between two places of the stage, given in shares of its size, and returns the label."""
    box = page.locator(".stage").bounding_box()
    assert box is not None
    ends = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.keyboard.down("Shift")
    drag(page, *ends)
    page.keyboard.up("Shift")
    label = page.locator(".measure-label")
    expect(label).to_be_visible()
    line = page.locator(".measure-line").bounding_box()
    assert line is not None
    # The line lies where the pointer went, give or take its ticks.
    xs, ys = sorted(x for x, _ in ends), sorted(y for _, y in ends)
    assert (line["x"], line["x"] + line["width"]) == pytest.approx(xs, abs=12)
    assert (line["y"], line["y"] + line["height"]) == pytest.approx(ys, abs=12)
    return label


@pytest.fixture
def oblong(client: Client, sources: SourceServer, halves: bytes) -> str:
    """The halves, ready, whose pixels are 2 mm wide and 1 mm high."""
    url = sources.on("/page-oblong.jpg", status(200, data=halves))
    place = "EPSG:4326 0.01 0 7 0 -0.01 48"
    dataset_id = client.submit(url, "Two halves", pixel_size="2 x 1 mm", georeference=place)["dataset_id"]
    ready(client, dataset_id)
    return str(dataset_id)


def test_the_scale_bar_and_measured_distances_are_true_however_the_image_lies(new_page: NewPage, oblong: str) -> None:
    # Given an image whose pixels are not square, at a place of 600 of its pixels
    page = new_page(f"/view/{oblong}#x=600&y=400&w=600", reduced_motion="reduce")
    shows(zoomable(page, "Two halves"), 0.1, 0.5, RED)
    box = page.locator(".stage").bounding_box()
    assert box is not None
    one = 600 / box["width"]  # pixels of the image for a pixel of the screen

    # Then the bar has a round length, and is as long as it says
    assert per_pixel(page) == pytest.approx(one * 2e-3, rel=0.02)
    assert page.locator(".scale-bar").inner_text().strip() in {"10 cm", "20 cm"}
    expect(page.get_by_role("img", name="The bar is")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("2.4 m \u00d7 80 cm")
    expect(page.locator("#facts")).to_contain_text("40.0000, 7.0000 to 48.0000, 19.0000")

    # When half of the width is measured, then the image has not moved, and the distance is right
    label = measured_by_shift_drag(page, (0.25, 0.5), (0.75, 0.5))
    assert metres(label.inner_text()) == pytest.approx(300 * 2e-3, rel=0.01)
    assert cursor(page)["x"] == 600
    expect(page.locator("#announcer")).to_have_text(re.compile("The distance is (60|59.9|60.[01]).* cm."))
    down = measured_by_shift_drag(page, (0.5, 0.3), (0.5, 0.7))
    assert metres(down.inner_text()) == pytest.approx(0.4 * box["height"] * one * 1e-3, rel=0.01)

    # When it is zoomed, the measure stays on the image
    before = label.inner_text()
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_function("() => Number(new URLSearchParams(location.hash.slice(1)).get('w')) < 400")
    assert label.inner_text() == before
    assert per_pixel(page) == pytest.approx(one * 2e-3 / 1.6, rel=0.02)

    # When it is turned, then the screen's width is the image's height
    page.get_by_role("button", name="Turn right").click()
    page.wait_for_function("() => location.hash.endsWith('&r=90')")
    assert per_pixel(page) == pytest.approx(one * 1e-3 / 1.6, rel=0.02)
    label = measured_by_shift_drag(page, (0.3, 0.5), (0.7, 0.5))
    assert metres(label.inner_text()) == pytest.approx(0.4 * box["width"] * one * 1e-3 / 1.6, rel=0.01)

    # When it is mirrored, too, then the line still lies where the pointer went
    page.evaluate(f"{VIEWER}.viewport.setFlip(true)")
    label = measured_by_shift_drag(page, (0.2, 0.4), (0.6, 0.7))
    across, down_by = 0.4 * box["width"] * one / 1.6, 0.3 * box["height"] * one / 1.6
    assert metres(label.inner_text()) == pytest.approx((across**2 + (2 * down_by) ** 2) ** 0.5 * 1e-3, rel=0.01)

    # When it is turned by any angle, then all of it still holds
    page.evaluate(f"{VIEWER}.viewport.setFlip(false); {VIEWER}.viewport.setRotation(30, true)")
    expect(page.locator(".measure-line")).to_be_visible()
    turned = ((0.75**0.5 * 2e-3) ** 2 + (0.5 * 1e-3) ** 2) ** 0.5 * one / 1.6
    assert per_pixel(page) == pytest.approx(turned, rel=0.02)
    label = measured_by_shift_drag(page, (0.3, 0.5), (0.7, 0.5))
    assert metres(label.inner_text()) == pytest.approx(0.4 * box["width"] * turned, rel=0.01)

    # And Escape removes it
    page.keyboard.press("Escape")
    expect(label).to_be_hidden()


def test_distances_are_measured_by_keyboard_and_button_and_without_a_scale(
    new_page: NewPage, oblong: str, picture: str
) -> None:
    # Given an image whose scale nobody knows
    page = new_page(f"/view/{picture}#x=600&y=400&w=600", reduced_motion="reduce")
    canvas = zoomable(page, "Two halves")
    shows(canvas, 0.1, 0.5, RED)
    expect(page.locator(".scale-bar")).to_have_count(0)

    # When it is measured by the keyboard, then in its pixels
    canvas.focus()
    page.keyboard.press("m")
    expect(page.locator(".measure-label")).to_have_text("0 px")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".measure-label")).not_to_have_text("0 px")
    page.keyboard.press("m")
    label = page.locator(".measure-label").inner_text()
    assert re.fullmatch(r"\d+ px", label)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#announcer")).to_have_text(f"The distance is {label}.")
    expect(page.locator(".measure-label")).to_have_text(label)
    box = page.locator(".stage").bounding_box()
    assert box is not None
    page.keyboard.press("Escape")
    expect(page.locator(".measure-label")).to_be_hidden()

    # When the button is pressed, then any drag measures, until it is pressed again
    button = page.get_by_role("button", name="Measure")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    drag(page, (box["x"] + 200, box["y"] + 200), (box["x"] + 300, box["y"] + 200))
    expect(page.locator(".measure-label")).to_have_text(re.compile(r"^\d+ px$"))
    assert int(page.locator(".measure-label").inner_text()[:-3]) == pytest.approx(100 * 600 / box["width"], abs=1)
    button.click()
    place = cursor(page)
    drag(page, (box["x"] + 200, box["y"] + 300), (box["x"] + 300, box["y"] + 300))
    page.wait_for_function(f"() => Number(new URLSearchParams(location.hash.slice(1)).get('x')) < {place['x']}")

    # And on a phone, a tablet and a desk, all of it finds its room
    for width, scheme in ((360, "dark"), (768, "light"), (1440, "dark")):
        other = new_page(f"/view/{oblong}", viewport={"width": width, "height": 640}, color_scheme=scheme)
        shows(zoomable(other, "Two halves"), 0.3, 0.5, RED)
        bar, controls = (other.locator(name).bounding_box() for name in (".scale-bar", ".stage-controls"))
        assert bar is not None
        assert controls is not None
        is_above = bar["y"] + bar["height"] <= controls["y"]
        assert is_above or bar["x"] >= controls["x"] + controls["width"]
        assert controls["x"] + controls["width"] <= width
        assert other.evaluate("() => document.documentElement.scrollWidth") == width


def test_the_copy_buttons_give_what_works_elsewhere(
    new_page: NewPage, stack: LaunchedStack, client: Client, picture: str
) -> None:
    # Given the page of a picture
    page = new_page(f"/view/{picture}", permissions=["clipboard-read", "clipboard-write"])

    def copied(label: str) -> str:
        page.get_by_role("button", name=f"Copy {label}").click()
        expect(page.get_by_text(f"{label} copied.")).to_have_count(1)
        return str(page.evaluate("() => navigator.clipboard.readText()"))

    # When each is copied, then the link, the descriptor and the curl command answer
    assert copied("Link") == f"{stack.url}/view/{picture}"
    assert 'TileSize="256"' in requests.get(copied("DZI address"), timeout=60).text
    assert requests.get(copied("curl command").removeprefix("curl "), timeout=60).json()["status"] == "ready"

    # And the snippet shows the picture in a frame, alone
    snippet = copied("Embed snippet")
    page.route("**/elsewhere", lambda route: route.fulfill(content_type="text/html", body=f"<title>x</title>{snippet}"))
    page.goto("/elsewhere")
    frame = page.frame_locator("iframe[title='Two halves']")
    expect(frame.get_by_role("application")).to_be_visible()
    expect(frame.get_by_role("complementary", include_hidden=True)).to_be_hidden()


def test_an_unknown_id_says_so_and_leads_back(new_page: NewPage) -> None:
    # Given an id that nobody has
    page = new_page("/view/custom_00000000")

    # When it is opened, then the page says so
    expect(page.get_by_role("alert")).to_contain_text("There is no image here")

    # And leads back
    page.get_by_role("alert").get_by_role("link", name="All images").click()
    expect(page.get_by_label("Image address")).to_be_visible()


@pytest.mark.parametrize("address", ["/view/%E0%A4%A", "/embed/%E0%A4%A", "/view/%", "/view/custom_00000000#%E0%A4%A"])
def test_an_address_that_is_no_valid_encoding_is_an_image_that_is_not_there(new_page: NewPage, address: str) -> None:
    page = new_page(address)
    expect(page.get_by_role("alert")).to_contain_text("There is no image here")


def test_an_embedded_image_at_work_shows_no_button(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes
) -> None:
    # Given an image that is being downloaded
    gate = threading.Event()
    dataset_id = submit(client, sources.on("/page-embedded.jpg", gated(halves, 1000, gate)), "Embedded one")

    # When it is embedded, Then its progress is there, and nothing that stops it or leads away
    page = new_page(f"/embed/{dataset_id}")
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)
    expect(page.get_by_role("link")).to_have_count(0)

    # And then the picture
    gate.set()
    expect(page.get_by_role("application")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_rule_of_accessibility_is_broken(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes, picture: str, scheme: str, width: int
) -> None:
    # Given one dataset in each state: ready, failed, working
    gate = threading.Event()
    failed = submit(client, sources.on("/page-axe-failed.jpg", status(404)), "Failed one")
    list(client.watch(failed))
    working = submit(client, sources.on("/page-axe-working.jpg", gated(halves, 1000, gate)), "Working one")
    page = new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.get_by_text("More options").click()
    expect(page.get_by_role("button", name="Cancel Working one")).to_be_visible()

    # When axe-core looks at every page, then WCAG 2.2 AA has nothing to complain of
    for path in ("/", f"/view/{picture}", f"/view/{failed}", f"/view/{working}", "/docs/errors", "/no/such/page"):
        if path != "/":
            page.goto(path)
            page.wait_for_load_state("networkidle" if path == f"/view/{picture}" else "load")
            expect(page.get_by_role("heading", level=1)).not_to_have_text("Opening…")
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        found = Axe().run(page, options={"runOnly": tags})
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"

        # And nothing has to be scrolled sideways (1.4.10)
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), path


def test_nothing_scrolls_sideways_on_the_narrowest_screen(new_page: NewPage, picture: str) -> None:
    # Given a screen of 320 px, to which WCAG 1.4.10 reflows
    page = new_page(viewport={"width": 320, "height": 640}, has_touch=True)

    # When each page is shown, then it is no wider than the screen
    for path in ("/", f"/view/{picture}", "/docs/errors", "/no/such/page"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).not_to_have_text("Opening…")
        assert page.evaluate("() => document.documentElement.scrollWidth") == 320, path


def test_labels_take_one_line_and_the_hint_lists_all_formats(new_page: NewPage) -> None:
    # Given the form with all of its fields
    page = new_page()
    page.get_by_text("More options").click()
    # Then on any screen each label takes one line, so that fields in a row stay level
    for width in (360, 414, 600, 736, 820, 1024, 1280, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        lines = page.locator("#submit label").evaluate_all(
            """labels => labels.map(label => {
                const range = document.createRange();
                range.selectNodeContents(label);
                return [label.textContent, range.getClientRects().length];
            })"""
        )
        assert {text: count for text, count in lines if count != 1} == {}, width
    # And below the address stands what `tilewright doctor` lists
    expect(page.locator("#url-hint")).to_contain_text(listed())


def test_nothing_moves_for_those_who_asked_for_calm(
    new_page: NewPage, client: Client, sources: SourceServer, halves: bytes
) -> None:
    # Given a download whose bar would move, and a person who asked for less motion
    gate = threading.Event()
    dataset_id = submit(client, sources.on("/page-calm.jpg", gated(halves, 1000, gate)), "Calm")
    page = new_page(f"/view/{dataset_id}", reduced_motion="reduce")
    expect(page.get_by_text("Downloading…", exact=True)).to_be_visible()

    # When the bar knows no percent, then nothing is animated
    page.get_by_role("progressbar").evaluate("(bar) => bar.removeAttribute('value')")
    assert page.evaluate("() => document.getAnimations().length") == 0


def test_the_api_reference_is_drawn_without_another_host(new_page: NewPage) -> None:
    # Given the reference
    page = new_page("/docs")

    # When it is drawn, then the contract's first operation is there, and can be opened (the fixture watches the hosts)
    page.get_by_role("button").filter(has_text="POST").first.click()
    expect(page.get_by_text("the same request with the same key returns")).to_be_visible()


def test_every_problem_opens_the_line_of_its_code(new_page: NewPage, stack: LaunchedStack) -> None:
    # Given a problem
    problem = requests.get(f"{stack.url}/api/datasets/custom_00000000", timeout=60).json()

    # When its type is opened, then the code is there to read
    page = new_page(problem["type"])
    expect(page.locator(f"#{problem['code']}")).to_be_in_viewport()


def test_a_dead_link_says_so_and_leads_back(new_page: NewPage) -> None:
    # When an address is opened that is none
    page = new_page("/no/such/page")

    # Then that can be read, and there is a way back
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing at this address.")
    page.get_by_role("link", name="All images").click()
    expect(page.get_by_label("Image address")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/view/custom_00000000", "/embed/custom_00000000", "/docs", "/docs/errors"])
def test_the_policy_allows_the_page_itself_only(stack: LaunchedStack, path: str) -> None:
    # When a page is asked for
    headers = requests.get(stack.url + path, timeout=60).headers

    # Then it may load from its own server only, run no inline script, and cannot be taken for another type
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert policy["frame-ancestors"] == ("*" if path.startswith("/embed/") else "'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_assets_are_revalidated_and_nothing_else_is_given_out(stack: LaunchedStack) -> None:
    # Given a module
    module = requests.get(f"{stack.url}/assets/js/wait.js", timeout=60)
    assert module.headers["Content-Type"] == "text/javascript; charset=utf-8"

    # When it is asked for again, then its tag is enough
    again = requests.get(module.url, headers={"If-None-Match": module.headers["ETag"]}, timeout=60)
    assert (again.status_code, again.content) == (304, b"")

    # And what is no asset is a problem, wherever its path would lead
    for path in ("js/none.js", "../package.json", "%2e%2e/pyproject.toml", "js/../../__init__.py", "package-lock.json"):
        address = requests.Request("GET", stack.url).prepare()
        address.url = f"{stack.url}/assets/{path}"
        with requests.Session() as session:
            answer = session.send(address, timeout=60)
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"


def test_no_registry_stands_in_the_lock() -> None:
    # Given the lock of what the page takes from npm
    lock = (Path(__file__).parents[2] / "web" / "package-lock.json").read_text()

    # Then it names versions and hashes, and no host that serves them
    assert lock.count('"integrity": "sha512-') == 3
    assert '"resolved"' not in lock


def test_the_page_shows_one_page_after_another(
    stack: LaunchedStack, client: Client, sources: SourceServer, new_page: NewPage
) -> None:
    url = sources.on("/paged.tif", status(200, data=several_pages(4)))
    dataset_id = str(client.submit(url, "A book", pages="all")["dataset_id"])
    ready(client, dataset_id)
    page = new_page()
    page.goto(f"{stack.url}/view/{dataset_id}")
    expect(page.get_by_role("heading", name="A book, page 1 of 3")).to_be_visible()
    expect(page.get_by_text("Page 1 of 3", exact=True)).to_be_visible()
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_role("heading", name="A book, page 2 of 3")).to_be_visible()
    assert page.evaluate("document.querySelector('#facts dd').textContent").startswith("700")
    expect(page.get_by_role("link", name="Next page")).to_be_visible()
    page.keyboard.press("PageDown")
    expect(page.get_by_role("heading", name="A book, page 3 of 3")).to_be_visible()
    # The link and the snippet show the same page again
    link, snippet = (page.get_by_label(label, exact=True) for label in ("Link", "Embed snippet"))
    expect(link).to_have_value(f"{stack.url}/view/{dataset_id}?page=2")
    framed = f"<title>x</title>{snippet.input_value()}"
    page.route("**/pages", lambda route: route.fulfill(content_type="text/html", body=framed))
    page.goto("/pages")
    frame = page.frame_locator("iframe[title='A book, page 3 of 3']")
    expect(frame.get_by_text("Page 3 of 3", exact=True)).to_be_visible()
    page.goto(f"{stack.url}/view/{dataset_id}?page=2")
    page.get_by_role("link", name="Previous page").click()
    expect(page).to_have_url(f"{stack.url}/view/{dataset_id}?page=1")
    page.get_by_role("link", name="Previous page").click()
    expect(link).to_have_value(f"{stack.url}/view/{dataset_id}")
    client.delete(dataset_id)
