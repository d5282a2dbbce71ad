"""Small answers that name a file: IIIF, Flickr's oEmbed, the Internet Archive's metadata, Google Drive's warning.

All input is untrusted. It is limited in length by its caller, and the work is linear in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from html import unescape
from math import sqrt
from typing import Any
from urllib.parse import quote

from ingest.links.table import Answer, Link
from ingest.links.tilings import tiling
from pipeline.errors import DATASET_CODES, StageError
from pipeline.sources import check_url
from pipeline.urls import parse

MOST_JSON = 2 << 20
"""Bytes of an answer in JSON: a IIIF manifest of a thousand pages. Parsed, it takes up to fifty times the memory."""

MOST_HTML = 256 << 10
"""Bytes of a page that are searched: its head comes first."""

MOST_NAMED = 10
"""Files that a message lists."""

_MOST_TAG = 4096
_LOW_LEVEL = re.compile(r"\blevel[01]\b")
_DRIVE_HOSTS = frozenset({"drive.google.com", "docs.google.com", "drive.usercontent.google.com"})
_IMAGE_NAME = re.compile(r".+\.(?:tiff?|jpe?g|png|webp|gif|bmp|jp2|jpx|heic|heif|avif)", re.IGNORECASE | re.DOTALL)
_ATTRIBUTE = re.compile(r"""(?<![\w:-])([\w:-]+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)""")


class Document(Enum):
    """What an answer is, by its first bytes."""

    JSON = "JSON"
    PAGE = "a page"


def looks_like(head: bytes) -> Document | None:
    """Return what may begin with these bytes; None for everything else."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return {b"{": Document.JSON, b"<": Document.PAGE}.get(text[:1])


def is_iiif(head: bytes) -> bool:
    """Return whether an answer in JSON may be IIIF's, by its first bytes."""
    return b"iiif.io\\/api" in head or b"iiif.io/api" in head or b"library.stanford.edu/iiif" in head


def from_json(answer: Answer, url: str, body: bytes, most_tiles: int = 0) -> Link | None:
    """Return the link that an answer in JSON leads to; None if it is of no known kind.

    Raises StageError("not_an_image") if it is of a known kind, and names no image or several.

    Parameters
    ----------
    answer: what the table expects at this URL.
    url: where the answer was found.
    body: the whole answer.
    most_tiles: how many tiles may be fetched to be joined.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    try:
        return _read(answer, url, found, most_tiles)
    except ValueError as error:
        host = parse(url).host
        raise _none(f"{host} names an image by a malformed address. Use the URL of the image itself.") from error


def _read(answer: Answer, url: str, found: Mapping[str, Any], most_tiles: int) -> Link | None:
    if answer is Answer.FLICKR:
        return _flickr(url, found)
    if answer is Answer.ARCHIVE:
        return _archive(url, found)
    context = " ".join(_texts(found.get("@context")))
    if "iiif.io/api/presentation" in context or "shared-canvas.org" in context:
        return _manifest(url, found)
    if any(name in f"{context} {_text(found, 'protocol')}" for name in ("iiif.io/api/image", "stanford.edu/iiif")):
        return _iiif_image(url, found, most_tiles)
    return None


def from_page(url: str, body: bytes) -> Link | None:
    """Return where Google Drive's page about a file that is too large to scan leads; None for any other page."""
    if parse(url).host not in _DRIVE_HOSTS:
        return None
    action, fields, is_inside = "", dict[str, str](), False
    for name, attributes in _tags(body):
        if name == "form":
            is_inside = attributes.get("id") in ("download-form", "downloadForm")
            action = attributes.get("action", "") if is_inside else action
        elif name == "input" and is_inside and attributes.get("type") == "hidden" and "name" in attributes:
            fields[attributes["name"]] = attributes.get("value", "")
    if not action:
        return None
    try:
        to = parse(action, url)
    except ValueError:
        return None
    if to.host not in _DRIVE_HOSTS:
        return None
    added = [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in fields.items()]
    query = "&".join([*filter(None, [to.query]), *added])
    return Link("Google Drive", f"{to.origin}{to.path}?{query}")


def page_advice(url: str, body: bytes, rule: str = "") -> str:
    """Return what to tell the person whose link leads to a page: what to do, and which image the page names.

    Parameters
    ----------
    rule: what rewrote the link; "" if nothing did.
    """
    if rule:
        return f"Check that the {rule} link is right, and that anybody may open the file."
    advice = DATASET_CODES["not_an_image"].advice
    image = _og_image(url, body)
    return f"{advice} The page names this image; submit its URL if you mean it: {image}" if image else advice


def _og_image(url: str, body: bytes) -> str:
    for name, attributes in _tags(body):
        if name == "meta" and attributes.get("property", attributes.get("name", "")).lower() in (
            "og:image",
            "og:image:url",
            "og:image:secure_url",
        ):
            content = attributes.get("content", "").strip()
            try:
                image = parse(content, url).href if content else ""
                check_url(image)
            except (ValueError, StageError):
                continue
            return image if len(image) <= 1000 else ""
    return ""


def _tags(body: bytes) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the name and the attributes of each form, input and meta tag."""
    for piece in body[:MOST_HTML].decode("utf-8", "replace").split("<"):
        name = piece[:5].rstrip().partition(" ")[0].lower()
        if name in ("form", "input", "meta"):
            text = piece[len(name) : _MOST_TAG].partition(">")[0]
            yield name, {key.lower(): unescape(value.strip("\"'")) for key, value in _ATTRIBUTE.findall(text)}


def _flickr(url: str, found: Mapping[str, Any]) -> Link:
    if _text(found, "type") != "photo" or not _text(found, "url"):
        raise _none("Flickr shows no photo there, or not to everybody. Use the URL of the image itself.")
    return Link(
        "Flickr",
        parse(_text(found, "url"), url).href,
        "Flickr tells only of a reduced image, of up to 1,024 pixels. For more, submit the URL of a larger size, from "
        "the page's list of sizes.",
    )


def _archive(url: str, found: Mapping[str, Any]) -> Link:
    item = parse(url).path.rpartition("/")[2]
    files = found.get("files")
    names = [
        name
        for file in (files if isinstance(files, list) else [])
        if isinstance(file, dict) and _text(file, "source") == "original"
        if _IMAGE_NAME.fullmatch(name := _text(file, "name")) and not name.startswith("__ia_thumb")
    ]
    at = [f"https://archive.org/download/{item}/{quote(name)}" for name in names]
    if not at:
        raise _none(f"The item {item} of the Internet Archive has no image among its original files.")
    if len(at) > 1:
        more = f", and {len(at) - MOST_NAMED} more" if len(at) > MOST_NAMED else ""
        raise _none(
            f"The item {item} of the Internet Archive has {len(at)} images. Submit the URL of one: "
            f"{', '.join(at[:MOST_NAMED])}{more}"
        )
    return Link("Internet Archive", at[0])


def _iiif_image(url: str, found: Mapping[str, Any], most_tiles: int) -> Link:
    base = _text(found, "id", "@id") or url.partition("?")[0].removesuffix("/info.json")
    context = " ".join(_texts(found.get("@context")))
    version = 3 if "/image/3" in context else 1 if "/image/1" in context or "image-api/1" in context else 2
    profiles = found.get("profile")
    more = profiles if isinstance(profiles, list) else [profiles]
    most = _most([found, *(profile for profile in more if isinstance(profile, dict))])
    width, height = _number(found, "width"), _number(found, "height")
    cap = _cap(width, height, most)
    is_reduced = cap is not None and (cap[0] < width or cap[1] < height)
    note = _reduced(cap, width, height) if cap is not None and is_reduced else ""
    listed = tiling(parse(base, url).href, version, found, most)
    # A level 2 service makes the whole image, if it is not capped. Static files (level 0) often are tiles only.
    if listed is not None and listed.tiles.total > 1 and (is_reduced or _LOW_LEVEL.search(" ".join(_texts(more)))):
        if listed.tiles.total <= most_tiles:
            joined = f"It is joined from {listed.tiles.total:,} tiles, to {width:,} x {height:,} pixels."
            return Link("IIIF", listed.url(0), joined, tiling=listed)
        note += f" It lists {listed.tiles.total:,} tiles, more than are joined." if note and most_tiles else ""
    # "max" came with version 2.1, and so did the limits.
    size = "max" if version == 3 or cap is not None else "full"
    quality = "native" if version == 1 else "default"
    return Link("IIIF", parse(f"{base.rstrip('/')}/full/{size}/0/{quality}.jpg", url).href, note)


def _reduced(cap: tuple[int, int], width: int, height: int) -> str:
    most, whole = f"{cap[0]:,} x {cap[1]:,}", f"{width:,} x {height:,}"
    return f"The server sends at most {most} of this image's {whole} pixels in one request."


def _most(limits: list[Mapping[str, Any]]) -> tuple[int, int, int]:
    """Return the width, height and area of the largest image that a server sends at once; 0 for no limit."""
    width, height, area = (
        min((value for limit in limits if (value := _number(limit, name))), default=0)
        for name in ("maxWidth", "maxHeight", "maxArea")
    )
    # Image API 3.0, §5.3: where only maxWidth is given, it limits the height as well.
    return width, height or width, area


def _cap(width: int, height: int, most: tuple[int, int, int]) -> tuple[int, int] | None:
    """Return the size of the largest image that a server sends at once; None if it names no limit."""
    if not any(most) or not (width and height):
        return None
    most_width, most_height, area = most
    scale = min(1.0, (most_width or width) / width, (most_height or height) / height)
    if area:
        scale = min(scale, sqrt(area / (width * height)))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _manifest(url: str, found: Mapping[str, Any]) -> Link:
    sequence = _item(found.get("sequences"))
    canvases = sequence.get("canvases") if sequence else found.get("items")
    count = len(canvases) if isinstance(canvases, list) else 0
    canvas = _item(canvases)
    if _text(found, "type", "@type").endswith("Collection") or not canvas:
        raise _none("That IIIF document is not the manifest of one object. Submit the URL of a manifest, or an image.")
    annotation = _item(canvas.get("images")) or _item(_item(canvas.get("items")).get("items"))
    image = _item(annotation.get("resource") or annotation.get("body"))
    image = _item(image.get("default")) or (_item(image.get("items")) if _text(image, "type") == "Choice" else image)
    service = _item(image.get("service"))
    address = _text(service, "id", "@id")
    address = f"{address.rstrip('/')}/info.json" if address else _text(image, "id", "@id")
    if not address:
        raise _none("That IIIF manifest names no image. Submit the URL of the image itself.")
    note = f"This is image 1 of {count:,} of the manifest. For another one, submit its info.json." if count > 1 else ""
    return Link("IIIF", parse(address, url).href, note)


def _none(message: str) -> StageError:
    return StageError("not_an_image", message)


def _item(value: Any) -> Mapping[str, Any]:
    """Return an object, or the first of a list of objects; an empty one for anything else."""
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, dict) else {}


def _text(found: Mapping[str, Any], *names: str) -> str:
    return next((value for name in names if isinstance(value := found.get(name), str) and value), "")


def _texts(value: Any) -> list[str]:
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _number(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31 else 0
