"""Routes of the web page: HTML, styles, modules, and two npm packages.

    /                    the form and the catalogue
    /view/{dataset_id}   the viewer; its script asks the API whether the id exists
    /embed/{dataset_id}  the viewer without buttons that change anything: the only page that other sites may frame
    /docs                the API reference, rendered from /openapi.json
    /docs/errors         the table of error codes, to which every problem's `type` links
    /assets/...          our styles and modules, OpenSeadragon and Swagger UI

The files are listed once, when the routes are made, so no request's path ever reaches the file system. An unknown path
raises Starlette's HTTPException(404), which the gateway's handler turns into a problem.
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

from gateway.http import error_codes_page, is_not_modified
from pipeline.source_formats import listed

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
"""Folder below /assets/ → folder below node_modules, and which of its files are served."""

OUR_CACHING = "no-cache"  # Modules import each other by fixed names, so old and new ones must not mix after an upgrade.
VENDOR_CACHING = "public, max-age=3600"  # These files are large and change only with a release.

OPENSEADRAGON_STYLE = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"
"""Hash of the style element that OpenSeadragon 6.1 inserts, a focus rule for touch screens."""

FRAMED_NOWHERE = "frame-ancestors 'none'"
FRAMED_ANYWHERE = "frame-ancestors *"  # The embed snippet is an iframe on any site.

FRAMED = "iframe"
"""Sec-Fetch-Dest of a page that is loaded into a frame: https://www.w3.org/TR/fetch-metadata/."""

SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


@dataclass
class StaticFile:
    """A file and its headers, kept in memory until the file changes."""

    path: Path
    caching: str
    policy: str | None = None
    render: Callable[[str], str] | None = None
    _stamp: int = field(default=-1, init=False)
    _body: bytes = field(default=b"", init=False)
    _packed: bytes | None = field(default=None, init=False)
    _etag: str = field(default="", init=False)

    def respond(self, request: Request) -> Response:
        """Return the file, gzipped if the client accepts that, or a 304."""
        self._load()
        headers = {"Cache-Control": self.caching, "ETag": self._etag, "Vary": "Accept-Encoding", **SECURITY_HEADERS}
        if self.policy is not None:
            headers["Content-Security-Policy"] = self.policy
            if FRAMED_NOWHERE in self.policy:
                headers["X-Frame-Options"] = "DENY"
        if is_not_modified(request.headers.raw, self._etag.encode()):
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
        # Weak, because the gzipped and the plain body have the same ETag (RFC 9110, 8.8.1).
        self._etag = f'W/"{hashlib.sha256(self._body).hexdigest()[:20]}"'
        self._stamp = stamp


def page_routes(public_url: str = "", root: Path | None = None) -> list[BaseRoute]:
    """Return the routes of the web page.

    The handlers are not async, so Starlette runs them in its thread pool: the first request for a file reads and
    compresses it (Swagger UI: 1.7 MB).

    Parameters
    ----------
    public_url: base URL of the links in the API's responses. The page may load tiles from there.
    root: folder of the page's files; default: the installed package `web`.
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
            # Embed snippets from before /embed existed use this URL.
            target = f"../embed/{request.scope['raw_path'].decode('ascii').rpartition('/')[2]}"
            return Response(status_code=307, headers={"Location": target, "Vary": "Sec-Fetch-Dest"})
        response = own_view.respond(request)
        response.headers["Vary"] = f"{response.headers['Vary']}, Sec-Fetch-Dest"
        return response

    return [
        _page("/", StaticFile(root / "index.html", OUR_CACHING, f"{policy}; {FRAMED_NOWHERE}", _with_formats)),
        Route("/view/{dataset_id}", view, name="view"),
        _page("/embed/{dataset_id}", StaticFile(root / "view.html", OUR_CACHING, f"{policy}; {FRAMED_ANYWHERE}")),
        _page("/docs", StaticFile(root / "docs.html", OUR_CACHING, f"{policy}; {FRAMED_NOWHERE}")),
        _page(
            "/docs/errors",
            StaticFile(root / "errors.html", OUR_CACHING, f"{policy}; {FRAMED_NOWHERE}", error_codes_page),
        ),
        Route("/assets/{path:path}", asset, name="assets"),
    ]


def content_security_policy(public_url: str) -> str:
    """Return the Content-Security-Policy: the page may load its own files, and tiles from the public URL's origin."""
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


def _with_formats(template: str) -> str:
    """Return `web/index.html` with the list of the formats that are read."""
    return template.replace("<!-- formats -->", listed())


def _page(url: str, page: StaticFile) -> Route:
    def serve(request: Request) -> Response:
        return page.respond(request)

    return Route(url, serve, name=url.split("/")[1] or "home")


def _assets(root: Path) -> dict[str, StaticFile]:
    """Return the files below /assets/ by their path there."""
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
