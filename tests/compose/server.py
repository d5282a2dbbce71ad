"""Serves a folder on port 8080; a path below /slow/ at 4 MB/s, so that a download has a middle."""

from __future__ import annotations

import shutil
import sys
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHUNK = 200_000
"""Bytes that a slow answer sends every twentieth of a second."""


class Handler(SimpleHTTPRequestHandler):
    """The folder, and below /slow/ the folder again."""

    def translate_path(self, path: str) -> str:
        """Where a path's file lies."""
        return super().translate_path(path.removeprefix("/slow"))

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send the body, by and by where the path asks for it."""
        if not self.path.startswith("/slow/"):
            shutil.copyfileobj(source, outputfile)
            return
        while chunk := source.read(CHUNK):
            outputfile.write(chunk)
            time.sleep(0.05)


def handler(*arguments: Any) -> Handler:
    """A handler for the folder that the command line names."""
    return Handler(*arguments, directory=Path(sys.argv[1]))


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), handler).serve_forever()
