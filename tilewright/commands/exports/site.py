"""A folder with a page that shows the image: it opens from any host for static files, and from a disk."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from pipeline.pyramids import Format
from tilewright.commands.exports.tiles import Tiles
from tilewright.commands.exports.trees import NotExported, Tree, deep_zoom

PAGE = "index.html"

VIEWER = "node_modules/openseadragon"
"""Where the page's assets are installed, within the package `web`."""


def site(tiles: Tiles, name: str, dataset: dict[str, Any]) -> Tree:
    """Return index.html, its script, OpenSeadragon as it is installed, and the Deep Zoom tiles.

    Parameters
    ----------
    dataset: has the texts that the page shows: name, description, rights and attribution, all optional.

    Raises
    ------
    NotExported: if OpenSeadragon is not installed.
    """
    tree = deep_zoom(tiles, name)
    here = files("tilewright.commands.exports")
    template = Template(here.joinpath("site.html").read_text(encoding="utf-8"))
    geometry = tiles.geometry
    image = {
        "source": {
            "Image": {
                "xmlns": "http://schemas.microsoft.com/deepzoom/2008",
                "Url": f"{name}_files/",
                "Format": tiles.format.value,
                "Overlap": "0",
                "TileSize": str(geometry.tile_size),
                "Size": {"Width": str(geometry.width), "Height": str(geometry.height)},
            }
        },
        "isTransparent": tiles.format is not Format.JPEG,
    }
    page = template.substitute(
        title=escape(dataset.get("name") or name),
        words=_words(dataset),
        # No text within it can end the element that it stands in.
        image=json.dumps(image).replace("<", "\\u003c"),
    )
    tree.texts |= {
        "site.js": here.joinpath("site.js").read_bytes(),
        **_openseadragon(),
        PAGE: page.encode(),
    }
    tree.entrance = PAGE
    return tree


def _words(dataset: dict[str, Any]) -> str:
    lines = [escape(dataset["description"])] if dataset.get("description") else []
    lines += [_statement(dataset[key]) for key in ("attribution", "rights") if dataset.get(key)]
    return "\n".join(f"<p>{line}</p>" for line in lines)


def _statement(said: dict[str, Any]) -> str:
    """Return a statement of rights or attribution: its text, linked if it has a URL."""
    url = said.get("url") or ""
    text = escape(said.get("text") or url)
    # The server accepts http and https only, but the page does not rely on it.
    return f'<a href="{escape(url)}">{text}</a>' if url.startswith(("http://", "https://")) else text


def _openseadragon() -> dict[str, bytes]:
    installed = files("web").joinpath(VIEWER)
    build = installed.joinpath("build/openseadragon")
    try:
        found = {
            "openseadragon/openseadragon.min.js": build.joinpath("openseadragon.min.js").read_bytes(),
            "openseadragon/LICENSE.txt": installed.joinpath("LICENSE.txt").read_bytes(),
        }
        for image in build.joinpath("images").iterdir():
            if image.name.endswith(".png"):
                found[f"openseadragon/images/{image.name}"] = image.read_bytes()
    except FileNotFoundError as error:
        raise NotExported(
            "OpenSeadragon is not installed beside this command. In a checkout, run `make setup`."
        ) from error
    return found
