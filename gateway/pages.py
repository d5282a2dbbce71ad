"""The page's routes: HTML, styles, modules, and the two packages that the page takes from npm.

    /                    the form and the catalogue
    /view/{dataset_id}   the viewer; the page itself asks the API whether the id exists
    /embed/{dataset_id}  the same without a button that changes anything: the only page that others may frame
    /docs                the API reference, drawn from /openapi.json
    /docs/errors         the table of error codes, which every problem's `type` opens
    /assets/...          our styles and modules, OpenSeadragon and Swagger UI

Every URL that can be answered is listed when the routes are made, so that no path of a request ever reaches the file
system. What is not listed raises Starlette's HTTPException(404), for the gateway's own handler to word.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.http.error_page import error_page

logger = logging.getLogger(__name__)

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}

OUR_FILES = ("css/*.css", "js/*.js", "images/*.svg")

VENDOR_FILES = {
    "openseadragon": ("openseadragon/build/openseadragon", ("openseadragon.min.js", "images/*.png")),
    "swagger-ui": ("swagger-ui-dist", ("swagger-ui.css", "swagger-ui-bundle.js")),
}
"""URL folder below /assets/ → folder below node_modules, and which of its files are served."""

OUR_CACHING = "no-cache"  # Modules import each other by fixed names: after an upgrade no old one may meet a new one.
VENDOR_CACHING = "public, max-age=3600"  # Large, and only releases change them.

OPENSEADRAGON_STYLE = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"
"""OpenSeadragon 6.1 inserts this one style element, a focus rule for touch screens."""

FRAMED_NOWHERE = "frame-ancestors 'none'"
FRAMED_ANYWHERE = "frame-ancestors *"  # The embed snippet is an iframe on any site.

FRAMED = "iframe"
"""Sec-Fetch-Dest of a page that is asked for by a frame: https://www.w3.org/TR/fetch-metadata/."""

SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


@dataclass
class StaticFile:
    """One file and the headers it is served with, kept in memory until the file changes."""

    path: Path
    caching: str
    policy: str | None = None
    render: Callable[[str], str] | None = None
    _stamp: int = field(default=-1, init=False)
    _body: bytes = field(default=b"", init=False)
    _packed: bytes | None = field(default=None, init=False)
    _etag: str = field(default="", init=False)

    def respond(self, request: Request) -> Response:
        """Answer with the file, gzipped where the client takes it, or with 304."""
        self._load()
        headers = {"Cache-Control": self.caching, "ETag": self._etag, "Vary": "Accept-Encoding", **SECURITY_HEADERS}
        if self.policy is not None:
            headers["Content-Security-Policy"] = self.policy
            if FRAMED_NOWHERE in self.policy:
                headers["X-Frame-Options"] = "DENY"
        if self._etag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        body = self._body
        if self._packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = self._packed
        return Response(body, media_type=CONTENT_TYPES[self.path.suffix], headers=headers)

    def _load(self) -> None:
        stamp = self.path.stat().st_mtime_ns
        if stamp == self._stamp:
            return
        self._body = self.path.read_bytes()
        if self.render is not None:
            self._body = self.render(self._body.decode()).encode()
        self._packed = None if self.path.suffix == ".png" else gzip.compress(self._body, mtime=0)
        # Weak, because the gzipped and the plain body share it (RFC 9110, 8.8.1).
        self._etag = f'W/"{hashlib.sha256(self._body).hexdigest()[:20]}"'
        self._stamp = stamp


def page_routes(public_url: str = "", root: Path | None = None) -> list[BaseRoute]:
    """Return the routes of the page, to be appended to the gateway's own.

    Parameters
    ----------
    public_url: the base URL that the API's links carry; the page may load tiles from there, wherever it was opened.
    root: the folder of the page's files; by default the installed package `web`.

    The handlers are plain functions, so that Starlette runs them in its thread pool: the first answer of a file reads
    and packs it (Swagger UI: 1.7 MB).
    """
    root = Path(str(files("web"))) if root is None else root
    assets = _assets(root)
    policy = content_security_policy(public_url)

    def asset(request: Request) -> Response:
        found = assets.get(request.path_params["path"])
        if found is None:
            raise HTTPException(404)
        return found.respond(request)

    own_view = StaticFile(root / "view.html", OUR_CACHING, f"{policy}; {FRAMED_NOWHERE}")

    def view(request: Request) -> Response:
        if request.headers.get("sec-fetch-dest") == FRAMED:
            # Snippets that were copied before there was /embed.
            target = f"../embed/{request.scope['raw_path'].decode('ascii').rpartition('/')[2]}"
            return Response(status_code=307, headers={"Location": target, "Vary": "Sec-Fetch-Dest"})
        answer = own_view.respond(request)
        answer.headers["Vary"] = f"{answer.headers['Vary']}, Sec-Fetch-Dest"
        return answer

    return [
        _page("/", StaticFile(root / "index.html", OUR_CACHING, f"{policy}; {FRAMED_NOWHERE}")),
        Route("/view/{dataset_id}", view, name="view"),
        _page("/embed/{dataset_id}", StaticFile(root / "view.html", OUR_CACHING, f"{policy}; {FRAMED_ANYWHERE}")),
        _page("/docs", StaticFile(root / "docs.html", OUR_CACHING, f"{policy}; {FRAMED_NOWHERE}")),
        _page("/docs/errors", StaticFile(root / "errors.html", OUR_CACHING, f"{policy}; {FRAMED_NOWHERE}", error_page)),
        Route("/assets/{path:path}", asset, name="assets"),
    ]


def content_security_policy(public_url: str) -> str:
    """Return what the page may load: itself, and tiles from the public URL's origin."""
    parts = urlsplit(public_url)
    tiles = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return "; ".join(
        (
            "default-src 'self'",
            f"connect-src 'self'{tiles}",  # The viewer fetches the descriptor.
            f"img-src 'self'{tiles} data: blob:",  # data: for Swagger UI's icons, blob: for OpenSeadragon's tiles
            f"style-src 'self' {OPENSEADRAGON_STYLE}",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        )
    )


def _page(url: str, page: StaticFile) -> Route:
    def serve(request: Request) -> Response:
        return page.respond(request)

    return Route(url, serve, name=url.split("/")[1] or "home")


def _assets(root: Path) -> dict[str, StaticFile]:
    """Return what is served below /assets/, by its path there."""
    assets = {
        path.relative_to(root).as_posix(): StaticFile(path, OUR_CACHING)
        for pattern in OUR_FILES
        for path in root.glob(pattern)
    }
    for folder, (package, patterns) in VENDOR_FILES.items():
        base = root / "node_modules" / package
        found = {
            f"{folder}/{path.relative_to(base).as_posix()}": StaticFile(path, VENDOR_CACHING)
            for pattern in patterns
            for path in base.glob(pattern)
        }
        if not found:
            logger.warning("%s is not installed: run `npm ci` in %s", folder, root)
        assets.update(found)
    return assets
