"""Compare regions that the gateway makes with those of iipsrv, from a pyramidal TIFF of the same image, in one run.

One client asks both in turn: random squares of the image as thumbnails, and random crops in the image's own size. No
region is asked for twice, so neither answers from its cache of results. Both encode in the same quality.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pyvips
import requests
from PIL import Image

from bench.posts import percentile
from pipeline.pyramids import DEFAULT_QUALITY, DEFAULT_TILE_SIZE

SIDE = 32_000
"""A gigapixel."""

REQUESTS = 200
"""Of each kind to each server: with fewer, the 99th percentile would be one request."""

WARM_UP = 10
"""Requests before, in which processes start."""

THUMBNAIL, CROP = 300, 1000
"""Pixels of the edges of results."""

LIMIT_RATIO = 1.0
"""Not slower."""

START_LIMIT = 10.0
"""Seconds in which iipsrv and nginx have to start."""

IIPSRV = Path("/usr/lib/iipimage-server/iipsrv.fcgi")

NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location ~ ^/iiif/(.*)$ {{
      fastcgi_pass 127.0.0.1:{backend};
      fastcgi_param REQUEST_METHOD GET;
      fastcgi_param QUERY_STRING IIIF=$1;
      fastcgi_param SERVER_PROTOCOL HTTP/1.1;
      fastcgi_param HTTP_HOST $host;
      fastcgi_param REQUEST_URI $request_uri;
      fastcgi_buffers 64 64k;
    }}
  }}
}}
"""


@dataclass
class Compared:
    """Milliseconds of each request, by kind and server. `lacking` says why nothing could be measured, if so."""

    ours: dict[str, list[float]] = field(default_factory=dict)
    theirs: dict[str, list[float]] = field(default_factory=dict)
    lacking: str = ""


def pyramidal_tiff(picture: Path) -> Path:
    """Return the path of the picture as a pyramidal TIFF, with tiles like ours. If it is missing, make it."""
    path = picture.with_suffix(".pyramid.tif")
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}.tif")
        image = pyvips.Image.new_from_file(str(picture), access="sequential")
        edge = DEFAULT_TILE_SIZE
        options = {"compression": "jpeg", "Q": DEFAULT_QUALITY, "tile": True, "tile_width": edge, "tile_height": edge}
        image.tiffsave(str(unfinished), pyramid=True, bigtiff=True, **options)
        unfinished.replace(path)
    return path


def measure(ours: str, tiff: Path, side: int, folder: Path) -> Compared:
    """Measure both. If a program is missing, return what to install in `lacking`.

    Parameters
    ----------
    ours: address of our image service, without a trailing slash.
    tiff: the same image for iipsrv.
    side: pixels of the image's edges.
    folder: an empty folder for nginx's files.
    """
    if not IIPSRV.exists() or _nginx_program() is None:
        return Compared(lacking="not measured: apt-get install iipimage-server nginx-light")
    compared = Compared()
    with _iipsrv(folder, tiff) as theirs, requests.Session() as session:
        for kind, edge, path in (("thumbnails", THUMBNAIL, _thumbnail), ("crops", CROP, _crop)):
            order = random.Random(edge)  # noqa: S311  any regions, but the same for both
            times: dict[str, list[float]] = {ours: [], theirs: []}
            for number in range(WARM_UP + REQUESTS):
                asked = path(order, side)
                for server in random.Random(number).sample([ours, theirs], 2):  # noqa: S311  neither always follows
                    took = _timed(session, f"{server}/{asked}", edge)
                    times[server] += [took] if number >= WARM_UP else []
            compared.ours[kind], compared.theirs[kind] = times[ours], times[theirs]
    return compared


def report(compared: Compared) -> bool:
    """Print the table. Return whether nothing was slower."""
    print("\nRegions made on request, of a gigapixel: time as ratio to iipsrv with a pyramidal TIFF of the same image")
    if compared.lacking:
        print(f"  {compared.lacking}")
        return True
    is_fine = True
    for kind, edge in (("thumbnails", THUMBNAIL), ("crops", CROP)):
        ours, theirs = compared.ours[kind], compared.theirs[kind]
        for part in (50, 99):
            ratio = percentile(ours, part) / percentile(theirs, part)
            is_fine = is_fine and ratio <= LIMIT_RATIO
            print(f"  {kind:10} {edge:5} px   p{part}   {ratio:.2f}   at most {LIMIT_RATIO}")
    return is_fine


def _thumbnail(order: random.Random, side: int) -> str:
    edge = order.randrange(2 * THUMBNAIL, side // 2)
    x, y = order.randrange(side - edge), order.randrange(side - edge)
    return f"{x},{y},{edge},{edge}/{THUMBNAIL},{THUMBNAIL}/0/default.jpg"


def _crop(order: random.Random, side: int) -> str:
    x, y = order.randrange(side - CROP), order.randrange(side - CROP)
    return f"{x},{y},{CROP},{CROP}/{CROP},{CROP}/0/default.jpg"


def _timed(session: requests.Session, url: str, edge: int) -> float:
    begun = time.perf_counter()
    answer = session.get(url, timeout=60)
    took = (time.perf_counter() - begun) * 1000
    if answer.status_code != 200 or Image.open(BytesIO(answer.content)).size != (edge, edge):
        raise RuntimeError(f"{url}: {answer.status_code} {answer.content[:200]!r}")
    return took


@contextmanager
def _iipsrv(folder: Path, tiff: Path) -> Iterator[str]:
    port, backend = _free_port(), _free_port()
    user = "user root;" if os.geteuid() == 0 else ""  # otherwise its worker could not write to the folder
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, backend=backend, user=user))
    settings = {
        "FILESYSTEM_PREFIX": f"{tiff.parent}/",
        "JPEG_QUALITY": "90",
        "LOGFILE": str(folder / "iipsrv.log"),
        "MAX_CVT": "8192",
        "MEMCACHED_TIMEOUT": "0",
        "VERBOSITY": "1",
    }
    url = f"http://127.0.0.1:{port}/iiif/{tiff.name}"
    nginx = _nginx_program() or ""
    with (
        _running([str(IIPSRV), "--bind", f"127.0.0.1:{backend}", "--backlog", "64"], settings),
        _running([nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)], {}) as is_running,
    ):
        deadline = time.monotonic() + START_LIMIT
        while not _answers(f"{url}/info.json"):
            if not is_running() or time.monotonic() > deadline:
                raise RuntimeError("iipsrv did not start")
        yield url


@contextmanager
def _running(command: list[str], settings: dict[str, str]) -> Iterator[Callable[[], bool]]:
    process = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.DEVNULL)
    try:
        yield lambda: process.poll() is None
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).status_code == 200
    except requests.RequestException:
        return False


def _nginx_program() -> str | None:
    # Debian installs nginx in a folder that only root's PATH has.
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
