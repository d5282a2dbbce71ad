"""Hostile descriptions of stacks: measure what OME-XML and ImageJ's lines cost, and that the image is shown anyway.

`python -m bench.attack descriptions` takes about a minute. The stack has its default settings.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyvips

from tilewright.client import Client
from tilewright.embedded import launch

MOST_SECONDS = 20.0
"""Seconds that a dataset may take. An image of this size takes less than one; 32 MB of XML are read in the others."""

LONG = 30 << 20
"""Bytes of a long description: nearly as many as are read."""

LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
SIZES = 'SizeC="9999" SizeZ="999999999" SizeT="999999999"'


def _descriptions() -> dict[str, str]:
    image = f'<Image><Pixels {SIZES}><TiffData IFD="1" PlaneCount="999999999"/></Pixels></Image>'
    return {
        "entities in entities": f'<!DOCTYPE OME [<!ENTITY a0 "ha">{LAUGHS}]><OME Name="&a9;"/>',
        "an entity of a file": '<!DOCTYPE OME [<!ENTITY a SYSTEM "file:///etc/passwd">]><OME>&a;</OME>',
        "a million levels": "<OME>" * (LONG // 5),
        "many images": f"<OME>{image * (LONG // len(image))}</OME>",
        "many blocks": f"<OME><Image><Pixels {SIZES}>{'<TiffData/>' * (LONG // 11)}</Pixels></Image></OME>",
        "many blocks with a scale": (
            f'<OME><Image><Pixels PhysicalSizeX="1" {SIZES}>{"<TiffData/>" * (LONG // 11)}</Pixels></Image></OME>'
        ),
        "many images with a scale": (
            "<OME>" + '<Image><Pixels PhysicalSizeX="1e999"><TiffData IFD="9"/></Pixels></Image>' * 9999 + "</OME>"
        ),
        "other elements and a scale": f'<OME>{"<a/>" * (LONG // 4)}<b c="PhysicalSizeX"/></OME>',
        "many planes": f"<OME><Image><Pixels {SIZES}><TiffData/></Pixels></Image></OME>",
        "many other elements": f"<OME>{'<a/>' * (LONG // 4)}</OME>",
        "a long name": f'<OME><Image><Pixels><Channel Name="{"x " * (LONG // 2)}"/></Pixels></Image></OME>',
        "a long encoding": f'<?xml version="1.0" encoding="{"x" * 1000}"?><OME/>',
        "many images of ImageJ": "ImageJ=1\nchannels=9999\nslices=999999999\nframes=999999999\n",
        "many lines of ImageJ": "ImageJ=1\n" + "channels=2\n" * (LONG // 11),
    }


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def main() -> int:
    """Print the table. Return 1 if an image is not shown, or takes too long."""
    missed = False
    described = _descriptions()
    plain = pyvips.Image.identity(bands=1).resize(1, vscale=200)
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder) / "sources"
        sources.mkdir()
        for number, text in enumerate(described.values()):
            image = plain.copy()
            image.set_type(pyvips.GValue.gstr_type, "image-description", text)
            image.tiffsave(str(sources / f"{number}.tif"))
        with _served(sources) as server:
            stack = launch(Path(folder) / "data", allow_sources=["127.0.0.1"])
            try:
                client = Client(stack.url)
                print(f"{'description':24}{'bytes':>12}{'seconds':>9}")
                for number, (name, text) in enumerate(described.items()):
                    began = time.monotonic()
                    dataset_id = client.submit(f"{server}/{number}.tif", name)["dataset_id"]
                    last = list(client.watch(dataset_id, pause=0.05))[-1]
                    took = time.monotonic() - began
                    is_good = last["status"] == "ready" and "channels" not in last and took <= MOST_SECONDS
                    missed = missed or not is_good
                    end = last.get("error", {}).get("code", last["status"])
                    print(f"{name:24}{len(text):>12,}{took:>9.1f}  {end}{'' if is_good else '  MISSED'}", flush=True)
                client.close()
            finally:
                stack.stop()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
