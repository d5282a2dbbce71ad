"""packages/openseadragon-tilewright: its own tests, and a browser that shows a pyramid without a server of ours."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple

import numpy as np
import pytest
import pyvips
from PIL import Image
from playwright.sync_api import Browser, Page, Response, sync_playwright

from tests.support.rigs.static_hosts import Bucket, bucket, nginx
from tests.support.rigs.tile_rig import Kiln

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "packages/openseadragon-tilewright"
VERSIONS = {
    "2.4": ROOT / "tests/viewers/node_modules/openseadragon-2/build/openseadragon",
    "4": ROOT / "tests/viewers/node_modules/openseadragon-4/build/openseadragon",
    "6": ROOT / "web/node_modules/openseadragon/build/openseadragon",
}
DOCUMENT = (ROOT / "docs/viewers.md").read_text(encoding="utf-8")
CORS = re.search(r"```json\n(\{\s*\"CORSRules\".*?)```", DOCUMENT, re.DOTALL)
NGINX = re.search(r"```nginx\n(add_header.*?)```", DOCUMENT, re.DOTALL)

ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--no-first-run", "--disable-3d-apis"]

PATIENCE = 60_000
"""Milliseconds to wait for a page's tiles."""

LOOKS = 200

RED, BLUE = (200, 40, 40), (40, 40, 200)

PAGE = """<!doctype html>
<meta charset="utf-8">
<div id="picture" style="width: 800px; height: 600px"></div>
<script src="openseadragon-{version}/openseadragon.min.js"></script>
<script type="module">
  import {{ openPyramid }} from "./package/index.js";
  window.told = [];
  window.loaded = [];
  try {{
    const source = await openPyramid("{address}", {{ onError: (error) => told.push(error.code) }});
    window.viewer = OpenSeadragon({{
      id: "picture", tileSources: source, prefixUrl: "openseadragon-{version}/images/", showNavigationControl: false,
    }});
    viewer.addHandler("tile-loaded", ({{ tile }}) => loaded.push(tile.level));
  }} catch (error) {{
    told.push(error.code ?? String(error));
  }}
</script>
"""


class Hosts(NamedTuple):
    """Where the pages are, and the hosts of pyramids by name."""

    site: str
    folder: Path
    addresses: dict[str, str]
    bucket: Bucket


@pytest.fixture(scope="module")
def hosts(kiln: Kiln, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """nginx with the pages and a pyramid, an nginx of another origin, and a bucket. The pyramid's left half is red."""
    folder = tmp_path_factory.mktemp("no-server")
    left, right = (pyvips.Image.black(1400, 2000, bands=3).linear([1, 1, 1], list(colour)) for colour in (RED, BLUE))
    image = left.join(right, "horizontal").cast("uchar").copy(interpretation="srgb")
    image.jpegsave(str(folder / "source.jpg"), Q=95)
    built, _ = kiln.build(folder / "source.jpg", 256)
    shutil.copytree(built, folder / "site" / "tiles")
    shutil.copytree(PACKAGE, folder / "site" / "package", ignore=shutil.ignore_patterns("node_modules"))
    for version, library in VERSIONS.items():
        shutil.copytree(library, folder / "site" / f"openseadragon-{version}")
    closed = f"location /closed {{ alias {folder}/site/tiles; }}"
    more = "max_ranges 0; add_header Access-Control-Allow-Origin *;"
    whole = f"location /whole {{ alias {folder}/site/tiles; {more} }}"
    assert CORS is not None
    assert NGINX is not None
    opened = f"location /opened {{ alias {folder}/site/tiles; {NGINX[1]} }}"
    with nginx(folder / "site") as site, nginx(folder, closed + whole + opened) as other, bucket() as made:
        made.allow(CORS[1])
        for name in ("pyramid.json", "tiles.idx", "pyramid.szi"):
            made.put(f"earth/{name}", (built / name).read_bytes())
        addresses = {"nginx": "tiles/", "s3": f"{made.url}/earth"}
        addresses |= {name: f"{other}/{name}/" for name in ("closed", "opened", "whole")}
        yield Hosts(site, folder / "site", addresses, made)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


class Seen:
    """A page, and what it requested of the pyramid."""

    def __init__(self, hosts: Hosts, browser: Browser, version: str, address: str) -> None:
        self.context = browser.new_context(viewport={"width": 900, "height": 700})
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.requests: list[Response] = []
        self.wrong: list[str] = []
        self.page.on("response", self._note)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        name = f"{version}-{abs(hash(address))}.html"
        (hosts.folder / name).write_text(PAGE.format(version=version, address=address), encoding="utf-8")
        self.page.goto(f"{hosts.site}/{name}", wait_until="networkidle")

    def _note(self, response: Response) -> None:
        if response.url.endswith((".json", ".idx", ".szi")):
            self.requests.append(response)
        elif response.status >= 400 and not response.url.endswith("favicon.ico"):
            self.wrong.append(f"{response.url}: {response.status}")

    def names(self) -> list[str]:
        return [response.url.rsplit("/", 1)[1] for response in self.requests]


def shows_halves(page: Page) -> bool:
    seen = Image.open(io.BytesIO(page.locator("#picture").screenshot())).convert("RGB")
    pixels = np.asarray(seen).astype(int)
    columns = [np.nonzero(np.abs(pixels - colour).max(axis=2) < 24)[1] for colour in (RED, BLUE)]
    enough = all(len(found) > 0.2 * pixels.shape[0] * pixels.shape[1] for found in columns)
    return enough and bool(columns[0].max() < columns[1].min() + 3)


def test_the_packages_own_tests_pass() -> None:
    done = subprocess.run(
        [ROOT / "scripts/npm", "--prefix", PACKAGE, "test"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(?m)^# tests [1-9]", done.stdout)


def test_the_package_needs_nothing_but_openseadragon() -> None:
    described = json.loads((PACKAGE / "package.json").read_text())
    assert described["peerDependencies"].keys() == {"openseadragon"}
    assert "dependencies" not in described
    # What is imported is in the package, and what is in it is published
    sources = [PACKAGE / "index.js", *(PACKAGE / "lib").iterdir()]
    imported = {name for path in sources for name in re.findall(r'from "(.*)"', path.read_text())}
    assert all(name.startswith(("./lib/", "./")) for name in imported)
    assert described["files"] == ["index.js", "index.d.ts", "lib"]


@pytest.mark.parametrize("host", ["nginx", "opened", "s3"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_pyramid_is_shown_from_a_host_for_static_files(
    version: str, host: str, hosts: Hosts, browser: Browser
) -> None:
    # When a page of another origin than the bucket's, or of nginx itself, opens the folder
    seen = Seen(hosts, browser, version, hosts.addresses[host])
    # Then it shows the picture
    assert any(shows_halves(seen.page) for _ in range(LOOKS)), (seen.wrong, seen.names(), seen.page.evaluate("told"))
    # And two small requests came before the first tile
    assert sorted(seen.names()[:2]) == ["pyramid.json", "tiles.idx"]
    assert set(seen.names()[2:]) == {"pyramid.szi"}
    assert {response.status for response in seen.requests} == {200, 206}
    sizes = [len(response.body()) for response in seen.requests[:2]]
    assert sum(sizes) < 65_536
    # When it is looked at closely, then tiles of the last level come, and nothing is wrong
    before = len(seen.names())
    seen.page.evaluate("viewer.viewport.zoomTo(viewer.viewport.getMaxZoom(), null, true)")
    seen.page.wait_for_function("loaded.includes(viewer.world.getItemAt(0).source.maxLevel)")
    assert len(seen.names()) > before
    assert any(shows_halves(seen.page) for _ in range(LOOKS))
    assert seen.page.evaluate("told") == []
    assert seen.wrong == []
    seen.context.close()


class _Together(SimpleHTTPRequestHandler):
    """Answers the first request for a tile when there is a second."""

    protocol_version = "HTTP/1.1"
    first: Lock
    second: Event
    alone = False

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "bytes=0-0")).groups()  # type: ignore[union-attr]
        if path.suffix not in (".idx", ".szi"):
            super().do_GET()
            return
        if path.suffix == ".szi":
            if not self.first.acquire(blocking=False):
                self.second.set()
            elif not self.second.wait(15):  # Chromium's cache lets the second go after 20 seconds
                type(self).alone = True
        whole = path.read_bytes()
        part = whole[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(whole)}")
        self.end_headers()
        self.wfile.write(part)


def test_tiles_do_not_wait_for_each_other(hosts: Hosts, browser: Browser) -> None:
    # Given a host that does not answer the first tile before the second is wanted
    _Together.first, _Together.second, _Together.alone = Lock(), Event(), False
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Together, directory=str(hosts.folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        # When the picture is shown from there
        seen = Seen(hosts._replace(site=f"http://127.0.0.1:{server.server_port}"), browser, "6", "tiles/")
        # Then two were wanted at once: the browser's cache would ask for one after the other
        assert any(shows_halves(seen.page) for _ in range(LOOKS))
        assert not _Together.alone
        seen.context.close()
        server.shutdown()


@pytest.mark.parametrize(("host", "code"), [("closed", "unreachable"), ("whole", "no_ranges")])
def test_a_host_that_is_not_set_up_for_it_is_named(host: str, code: str, hosts: Hosts, browser: Browser) -> None:
    seen = Seen(hosts, browser, "6", hosts.addresses[host])
    seen.page.wait_for_function("told.length > 0")
    assert set(seen.page.evaluate("told")) == {code}
    seen.context.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pyramid_replaced_while_it_is_shown_is_not_mixed(version: str, hosts: Hosts, browser: Browser) -> None:
    # Given a pyramid that is shown
    for name in ("pyramid.json", "tiles.idx", "pyramid.szi"):
        hosts.bucket.put(f"changing/{name}", (hosts.folder / "tiles" / name).read_bytes())
    seen = Seen(hosts, browser, version, f"{hosts.bucket.url}/changing")
    assert any(shows_halves(seen.page) for _ in range(LOOKS))
    # When its tiles are replaced, and more of them are wanted
    hosts.bucket.put("changing/pyramid.szi", (hosts.folder / "tiles/pyramid.szi").read_bytes() + b"x")
    seen.page.evaluate("viewer.viewport.zoomTo(viewer.viewport.getMaxZoom(), null, true)")
    # Then none is shown, and the page is told
    seen.page.wait_for_function("told.length > 0")
    assert set(seen.page.evaluate("told")) == {"changed"}
    seen.context.close()
