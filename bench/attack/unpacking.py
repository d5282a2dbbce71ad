"""Compressed bodies that unpack to far more than they are: measure how much is stored, and what they cost the stack.

`python -m bench.attack unpacking` takes less than a minute. The stack has its default settings.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import brotli
import psutil
import pyvips

from ingest.http import MAX_RATIO, UNMEASURED
from tilewright.client import Client
from tilewright.embedded import LaunchedStack, launch

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
else:
    from backports.zstd import ZstdCompressor

HEAD = 64 * 1024
"""Bytes of a JPEG that each body begins with, so that its header is accepted."""

SIZE, PIECE = 2**29, 2**24
"""Bytes that each body unpacks to, and bytes that are packed at once."""

MOST_STORED = UNMEASURED + 2**20
"""Bytes that may be stored of a body that unpacks to more than MAX_RATIO times its size."""

MOST_MEMORY = 64 * 2**20
"""Bytes that the stack may grow by."""

GIVE_UP = 60.0
"""Seconds after which the attack stops waiting for an answer."""


def _packed(head: bytes, pack: Callable[[bytes], bytes], finish: Callable[[], bytes]) -> bytes:
    return b"".join([pack(head), *(pack(bytes(PIECE)) for _ in range(SIZE // PIECE)), finish()])


def _bodies() -> dict[str, tuple[str, bytes]]:
    """Bodies by name, each with its Content-Encoding."""
    head = bytes(pyvips.Image.gaussnoise(1200, 900, seed=1).cast("uchar").jpegsave_buffer(Q=90))[:HEAD]
    gzip, deflate = zlib.compressobj(6, wbits=31), zlib.compressobj(6)
    br, zstd = brotli.Compressor(quality=2), ZstdCompressor()
    bodies = {
        "gzip": _packed(head, gzip.compress, gzip.flush),
        "deflate": _packed(head, deflate.compress, deflate.flush),
        "br": _packed(head, br.process, br.finish),
        "zstd": _packed(head, zstd.compress, zstd.flush),
    }
    return {name: (name, body) for name, body in bodies.items()} | {
        "gzip in gzip": ("gzip, gzip", zlib.compress(bodies["gzip"], wbits=31))
    }


@contextmanager
def _served(bodies: dict[str, tuple[str, bytes]]) -> Iterator[str]:
    """Serve the bodies under their numbers; give the URL of the server."""
    listed = list(bodies.values())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            coding, body = listed[int(self.path.strip("/"))]
            self.send_response(200)
            self.send_header("Content-Encoding", coding)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _attack(stack: LaunchedStack, client: Client, url: str, data: Path) -> tuple[str, int, int, float]:
    """Submit a body. Return the code, the most bytes stored, the growth of the stack in bytes, and the seconds."""
    process = psutil.Process(stack.process.pid)
    before, began, stored, grown = process.memory_info().rss, time.monotonic(), 0, 0
    dataset_id = client.submit(url, "unpacking")["dataset_id"]
    while (status := client.status(dataset_id))["status"] not in ("ready", "failed"):
        if time.monotonic() - began > GIVE_UP:
            break
        for file in data.rglob("source"):
            with suppress(OSError):
                stored = max(stored, file.stat().st_size)
        grown = max(grown, process.memory_info().rss - before)
        time.sleep(0.01)
    return status.get("error", {}).get("code", status["status"]), stored, grown, time.monotonic() - began


def main() -> int:
    """Print the table. Return 1 if more is stored than the ratio allows, or the stack grows by too much."""
    missed = False
    bodies = _bodies()
    with tempfile.TemporaryDirectory() as folder, _served(bodies) as server:
        data = Path(folder) / "data"
        stack = launch(data, allow_sources=["127.0.0.1"])
        try:
            client = Client(stack.url)
            print(f"{'coding':14}{'sent':>12}{'unpacks to':>14}{'stored':>12}{'grew by':>10}{'seconds':>9}")
            for number, (name, (_, body)) in enumerate(bodies.items()):
                code, stored, grown, took = _attack(stack, client, f"{server}/{number}", data)
                most = max(MOST_STORED, MAX_RATIO * len(body))
                is_good = code == "source_too_large" and stored <= most and grown <= MOST_MEMORY
                missed = missed or not is_good
                print(
                    f"{name:14}{len(body):>12,}{SIZE:>14,}{stored:>12,}{grown / 2**20:>7.0f} MB{took:>9.1f}  {code}"
                    f"{'' if is_good else '  MISSED'}",
                    flush=True,
                )
            client.close()
        finally:
            stack.stop()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
