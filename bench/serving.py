"""Compare how many tiles per second the gateway serves with nginx, which serves the same tiles as files.

Each is one process. Sixteen connections request every tile of one pyramid in random order. Warm: all files are in the
page cache, and all take turns. Cold: the files were dropped from the page cache, and each tile is requested once. The
gateway's tiles are also requested by their dataset's id, warm.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tilewright.embedded import LaunchedStack

LIMIT_RATIO = 0.5

LIMIT_BY_ID = 0.9
"""A permanent address is as quick as an immutable one, up to the noise of a measurement."""

ROUNDS = 5
SECONDS = 3
"""Seconds of one measurement: five rounds of both take less than a minute."""

COLD_SECONDS = 10
"""Seconds in which the first round, of about a thousand tiles, has to end."""

CONNECTIONS = 16

START_LIMIT = 10.0
"""Seconds in which nginx has to start."""

PROGRAMS = {"nginx": "nginx-light", "wrk": "wrk"}
"""Programs that are needed, and their Debian packages."""

PATHS, PATHS_BY_ID = "paths.txt", "paths-by-id.txt"
"""Files with the tiles' paths."""

SCRIPT = """
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } instant; int clock_gettime(int, instant *);")

local function now()
  local instant = ffi.new("instant[1]")
  ffi.C.clock_gettime(1, instant)
  return tonumber(instant[0].s) + tonumber(instant[0].ns) / 1e9
end

local requests, at, begun = {}, 0, nil
local threads = {}
seconds, count = 0, 0

function setup(thread) threads[#threads + 1] = thread end

function init(arguments)
  for path in io.lines(arguments[1]) do requests[#requests + 1] = wrk.format("GET", path) end
end

function request()
  begun = begun or now()
  at = at + 1
  if at == #requests and count == 0 then seconds, count = now() - begun, at end
  return requests[(at - 1) % #requests + 1]
end

function done()
  print("first round: " .. threads[1]:get("count") .. " in " .. threads[1]:get("seconds"))
end
"""
"""A script for wrk: request all tiles over and over, and time the first round, which is the cold one."""

NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  types {{ image/jpeg jpg; }}
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {folder}; expires max; }}
}}
"""


@dataclass
class Served:
    """Requests per second, by round. `lacking` says why nothing could be measured, if so."""

    ours: list[float] = field(default_factory=list)
    by_id: list[float] = field(default_factory=list)
    nginx: list[float] = field(default_factory=list)
    cold: tuple[float, float] = (0.0, 0.0)
    lacking: str = ""


def measure(stack: LaunchedStack, dataset_id: str, tile_id: str, folder: Path) -> Served:
    """Measure both servers. If a program is missing, return what to install in `lacking`.

    Parameters
    ----------
    dataset_id, tile_id: a dataset of the stack and its pyramid, with JPEG tiles.
    folder: an empty folder for nginx's files.
    """
    lacking = [package for program, package in PROGRAMS.items() if _find(program) is None]
    if lacking:
        return Served(lacking=f"not measured: apt-get install {' '.join(lacking)}")
    (archive,) = (stack.data / "storage/pyramids" / tile_id).glob("*/pyramid.szi")
    paths = _unpack(archive, tile_id, folder)
    random.Random(1).shuffle(paths)  # noqa: S311  any order, but the same for both
    (folder / PATHS).write_text("".join(f"{path}\n" for path in paths))
    (folder / PATHS_BY_ID).write_text("".join(f"{path.replace(tile_id, dataset_id)}\n" for path in paths))
    (folder / "tiles.lua").write_text(SCRIPT)
    served = Served()
    with _nginx(folder) as theirs:
        ours = stack.url
        for url in (theirs, ours):
            _warm(url, folder)
        for _ in range(ROUNDS):
            served.nginx.append(_warm(theirs, folder))
            served.ours.append(_warm(ours, folder))
            served.by_id.append(_warm(ours, folder, PATHS_BY_ID))
        files = [folder / path.lstrip("/") for path in paths]
        cold = [_cold(theirs, folder, files), _cold(ours, folder, [archive])]
        served.cold = cold[0], cold[1]
    return served


def report(served: Served) -> None:
    """Print the table."""
    print(f"\nTiles per second over {CONNECTIONS} connections, as ratios to nginx with the same tiles as files")
    if served.lacking:
        print(f"  {served.lacking}")
        return
    ratios = [ours / theirs for ours, theirs in zip(served.ours, served.nginx, strict=True)]
    print(f"  warm   {statistics.median(ratios):.2f}   at least {LIMIT_RATIO}   (median of {ROUNDS} rounds)")
    by_id = statistics.median(one / other for one, other in zip(served.by_id, served.ours, strict=True))
    print(f"  warm, by the dataset's id   {by_id:.2f} of the requests by tile_id   at least {LIMIT_BY_ID}")
    print(f"  cold   {served.cold[1] / served.cold[0]:.2f}   at least {LIMIT_RATIO}   (each tile once)")


def _find(program: str) -> str | None:
    # Debian installs nginx in a folder that only root's PATH has.
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _unpack(archive: Path, tile_id: str, folder: Path) -> list[str]:
    paths = []
    with zipfile.ZipFile(archive) as tiles:
        for name in tiles.namelist():
            found = re.fullmatch(r".*_files/(\d+)/(\d+_\d+)\.\w+", name)
            if found:
                path = f"/tiles/{tile_id}_files/{found[1]}/{found[2]}.jpg"
                target = folder / path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tiles.read(name))
                paths.append(path)
    return paths


@contextmanager
def _nginx(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""  # otherwise its worker could not read the folder
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, user=user))
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([_find("nginx") or "", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    try:
        deadline = time.monotonic() + START_LIMIT
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("nginx did not start")
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        requests.get(f"{url}/{PATHS}", timeout=1)
    except requests.ConnectionError:
        return False
    return True


def _wrk(url: str, folder: Path, seconds: int, paths: str = PATHS) -> str:
    """Run wrk and return its output. Raises RuntimeError if an answer was not a tile."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(folder / "tiles.lua"), url, "--"]
    told = subprocess.run([*command, str(folder / paths)], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(told)
    return told


def _warm(url: str, folder: Path, paths: str = PATHS) -> float:
    return float(_find_in(_wrk(url, folder, SECONDS, paths), r"Requests/sec: +([\d.]+)")[1])


def _cold(url: str, folder: Path, files: list[Path]) -> float:
    _put_out(files)
    found = _find_in(_wrk(url, folder, COLD_SECONDS), r"first round: (\d+) in ([\d.]+)")
    if found[1] == "0":
        raise RuntimeError(f"{url} did not serve all tiles within {COLD_SECONDS} s")
    return int(found[1]) / float(found[2])


def _find_in(text: str, pattern: str) -> re.Match[str]:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(text)
    return found


def _put_out(files: list[Path]) -> None:
    """Drop files from the page cache. They have to be synced to the disk first."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
