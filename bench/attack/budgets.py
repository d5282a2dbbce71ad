"""Small files that ask for much work: measure what each costs the tiler, compared with an honest file of its format.

`python -m bench.attack budgets` takes about two minutes. It passes each file directly to the tiler's child, without a
stack, so files that ingest would refuse before the download are measured, too.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline.formats.budget import FREE_SECONDS
from pipeline.sandbox import parent
from tests.support.images import animations, coded_rows, costly, heics, hostile, pictures, tiffs
from tiler.job import JOBS, REPORTS, Built, Failed, Job
from tiler.parent import COMMAND, environment

FLOOR = FREE_SECONDS + 1
"""Seconds of work that any file may cost. The kernel stops a process within a second of its limit."""

TIMES = 4
"""Most that a costly file may take per byte beyond FLOOR, as a multiple of an honest file of its format."""

MINUTE = 80
"""Seconds of work that a file of up to 150 kB may cost, whatever tiles are requested: a little more than twice those of
a gigapixel of one colour as WebP. Some files here have fewer pixels, so that the table takes two minutes."""

STORED = 256 << 20
"""Bytes that may be stored: three times the tiles of a gigapixel of one colour, plus 64 MiB."""

NAMED = {"ready", "decoder_too_slow", "image_corrupt", "image_too_large"}
"""How a costly file may end: tiled, refused because of what it asks for, or refused by a decoder."""

GIVE_UP = 200.0
"""Seconds after which a file counts as endless."""

HONEST: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: costly.noise(3000, ".jpg", Q=85),
    "PNG": lambda: costly.noise(2000, ".png"),
    "GIF": lambda: costly.noise(1500, ".gif", effort=1),
    "WebP": lambda: costly.noise(3000, ".webp"),
    "TIFF": lambda: costly.noise(3000, ".tif", compression="deflate"),
    "HEIC": lambda: heics.encoded(pictures.scene(800, 600), quality=80),
    "AVIF": lambda: costly.noise(2000, ".avif", effort=0),
    "BMP": coded_rows.honest_bmp,
    "TGA": coded_rows.honest_tga,
    "PNM": coded_rows.honest_pnm,
}
"""Soft noise, or a scene: honest files with many bytes per pixel, so that each byte costs little. BMP and TGA are in
runs, PNM is text."""


class Attacker(NamedTuple):
    """A file, and the requested page, tile format and quality."""

    format: str
    name: str
    make: Callable[[], bytes]
    page: int = 0
    tiles: str = ""
    quality: int = 0


ATTACKERS = (
    Attacker("GIF", "700 frames on 30,000 x 30,000, the last", lambda: animations.gif(30_000, 30_000, 700), 699),
    Attacker("GIF", "700 frames on 10,000 x 10,000, the first", lambda: animations.gif(10_000, 10_000, 700)),
    Attacker(
        "GIF", "70 frames that restore 10,000 x 10,000", lambda: animations.gif(10_000, 10_000, 71, disposal=3), 70
    ),
    Attacker("WebP", "100 frames of 8,000 x 8,000, the last", lambda: animations.webp(8000, 8000, 100), 99),
    Attacker("WebP", "15 frames of 8,000 x 8,000, the last", lambda: animations.webp(8000, 8000, 16), 15),
    Attacker("WebP", "60,000 frames of 2 x 2", lambda: animations.webp(2, 2, 60_000)),
    Attacker("PNG", "1 x 1,000,000", lambda: costly.thin_png(1_000_000)),
    Attacker("PNG", "1 x 1,000,000, interlaced", lambda: costly.thin_png(1_000_000, interlaced=True)),
    Attacker("PNG", "1 x 4,000,000", lambda: costly.thin_png(4_000_000)),
    Attacker("PNG", "1 x 20,000,000", lambda: costly.thin_png(20_000_000)),
    Attacker("PNG", "animated, 50 frames of 8,000 x 8,000", lambda: costly.apng(8000, 8000, 50)),
    Attacker("PNG", "32,000 x 32,000 of one colour", lambda: costly.apng(32_000, 32_000, 1)),
    Attacker("PNG", "1 x 250,000, tiles unlike, as WebP", lambda: costly.unlike_tiles(250_000), tiles="webp"),
    Attacker("PNG", "noise by filter, as WebP, Q 100", lambda: costly.noise_by_filter(16_000, 12_000), 0, "webp", 100),
    Attacker("PNG", "noise by filter, as JPEG, Q 100", lambda: costly.noise_by_filter(32_000, 30_000), 0, "jpg", 100),
    Attacker("TIFF", "64 bands of 32,768 x 32,768", lambda: costly.many_bands(32_768, 64)),
    Attacker("TIFF", "30,000 directories below a page", lambda: costly.below(30_000, 3000)),
    Attacker("TIFF", "30,000 pages, the last", lambda: costly.pages(30_000), 29_999),
    Attacker("TIFF", "1,024 tiles at one place", lambda: _written(lambda path: tiffs.sharing(path, 32, 512))),
    Attacker("JPEG", "883 scans behind FF 01", lambda: hostile.hidden_passes(1440, 1440)),
    Attacker("JPEG", "a restart behind each block", lambda: costly.restarts(8000)),
    Attacker("JPEG", "a thumbnail in 883 scans", lambda: costly.carrying(6000)),
    Attacker(
        "HEIC", "50 tiles, of which one shows", lambda: _written(lambda path: heics.hoarding(path, edge=1024, count=50))
    ),
    Attacker("AVIF", "50 tiles, of which none shows", lambda: _avif(8192, 50)),
    Attacker("AVIF", "50 tiles that are said to be small", lambda: _avif(8192, 50, said=64)),
    Attacker("AVIF", "15 tiles, of which none shows", lambda: _avif(8192, 15)),
    Attacker("BMP", "32,000 x 32,000, all left out", coded_rows.left_out),
    Attacker("BMP", "runs of one pixel", coded_rows.single_runs),
    Attacker("BMP", "4 bits, runs of one pixel", lambda: coded_rows.single_runs(bits=4)),
    Attacker("BMP", "4 bits, three pixels at a time", coded_rows.short_literals),
    Attacker("BMP", "2,000,000 moves by nothing", coded_rows.idle_moves),
    Attacker("TGA", "32,000 x 32,000 in runs", coded_rows.one_colour),
    Attacker("TGA", "pixels one by one", coded_rows.single_packets),
    Attacker("PNM", "text, zeros of 16 bits", coded_rows.wide_zeros),
    Attacker("PNM", "text, 4,000,000 empty comments", coded_rows.empty_comments),
    Attacker("PNM", "text, numbers of 4,000 digits", coded_rows.long_numbers),
)


class Cost(NamedTuple):
    """A file's size, the bytes stored, CPU seconds of all threads, wall seconds, and how it ended."""

    bytes: int
    stored: int
    work: float
    seconds: float
    verdict: str

    def __str__(self) -> str:
        return f"{self.bytes:11,} {self.stored:12,} {self.work:7.2f} {self.seconds:7.2f}"


def cost(data: bytes, page: int = 0, tile_format: str = "", quality: int = 0, *, accept: bool = False) -> Cost:
    """Tile a file with the tiler's child, with a preview, as by default."""
    with tempfile.TemporaryDirectory() as folder:
        source, scratch = Path(folder) / "source", Path(folder) / "scratch"
        source.write_bytes(data)
        scratch.mkdir()
        job = Job(
            str(source), str(scratch), "t" * 64, "s" * 64, 256, 10**11, "8.18.3", page=page, preview=True,
            tile_format=tile_format, quality=quality, accept_damage=accept, memory_bytes=8 << 30, work_seconds=1000,
        )  # fmt: skip
        began = time.monotonic()
        verdict = "died"
        with parent.Child(
            COMMAND, JOBS.encode(job), folder=scratch, environment=environment(scratch, 0), total=GIVE_UP
        ) as child:
            for line in child.lines():
                match REPORTS.decode(line):
                    case Failed(code=code):
                        verdict = code
                    case Built():
                        verdict = "ready"
        if child.exit_code:
            verdict = getattr(child.death(), "code", "died")
        stored = sum(path.stat().st_size for path in scratch.iterdir())
        return Cost(len(data), stored, child.worked(), time.monotonic() - began, verdict)


def _avif(edge: int, count: int, said: int = 0) -> bytes:
    return _written(lambda path: heics.hoarding_avif(path, edge, count, said))


def _written(make: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made"
        make(path)
        return path.read_bytes()


def main() -> int:
    """Print the table. Return 1 if a costly file takes too much, or an honest file is refused."""
    missed = False
    honest = {}
    print(f"{'':50}{'bytes':>11} {'stored':>12} {'work s':>7} {'wall s':>7}  {'µs/byte':>9}", flush=True)
    for kind, make in HONEST.items():
        found = cost(make())
        honest[kind] = found.work / found.bytes
        missed = missed or found.verdict != "ready"
        print(f"{kind + ', honest':50}{found}  {honest[kind] * 1e6:9.2f}  {found.verdict}", flush=True)
    print(f"Goals: beyond {FLOOR} s of work, which any file may take, at most {TIMES} times as much per byte;")
    print(f"if a tile format is requested, at most {MINUTE} s; at most {STORED:,} bytes stored.")
    for attacker in ATTACKERS:
        found = cost(attacker.make(), attacker.page, attacker.tiles, attacker.quality)
        net = max(0.0, found.work - FLOOR) / found.bytes
        is_cheap = found.work <= MINUTE if attacker.tiles else net <= TIMES * honest[attacker.format]
        is_good = is_cheap and found.stored <= STORED and found.verdict in NAMED
        missed = missed or not is_good
        name = f"{attacker.format}, {attacker.name}"
        print(f"{name:50}{found}  {net * 1e6:9.2f}  {found.verdict}{'' if is_good else '  MISSED'}", flush=True)
    plain = cost(costly.apng(32_000, 32_000, 1), tile_format="webp")
    missed = missed or plain.verdict != "ready"
    print(f"{'A free gigapixel with tiles as WebP, honest':50}{plain}  {'':9}  {plain.verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
