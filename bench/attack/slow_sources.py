"""Slow sources that occupy slots: measure how long an honest image waits behind them, and what tiny chunks cost.

`python -m bench.attack slow_sources` takes less than a minute. The stack has its default settings.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pyvips

from bench.picture import variant
from tilewright.client import Client
from tilewright.embedded import LaunchedStack, launch

RATE = 4200
"""Bytes per second of a slow source: just above TILEWRIGHT_SOURCE_MIN_RATE."""

SLOTS, LOOKS = 4, 2
"""Slots for downloads and for inspections in the embedded stack."""

CROWD = 200
"""Images of one host that wait before the honest image."""

MOST_WAIT = 20.0
"""Seconds that an honest image may take behind the slow ones."""

MOST_CORE = 1.0
"""Share of a core that sources with tiny chunks may take in all slots. Each gets a tenth; the stack needs some, too."""

WATCHED = 8.0
"""Seconds that the CPU time of the stack is measured."""

GIVE_UP = 60.0
"""Seconds after which the attack stops waiting for an image or a report."""

Writer = asyncio.StreamWriter


class Sources:
    """Servers on five loopback hosts, 127.0.0.2 to 127.0.0.6, on one port. The path selects a behaviour."""

    def __init__(self, picture: bytes, costly: bytes = b"") -> None:
        self.picture, self.costly = picture, costly
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sources", daemon=True)

    def __enter__(self) -> Sources:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def url(self, host: int, behaviour: str, number: int) -> str:
        """Return the URL of one behaviour on one host."""
        return f"http://127.0.0.{host + 2}:{self.port}/{behaviour}/{number}.jpg"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._started.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _listen(self) -> None:
        for host in range(5):
            server = await asyncio.start_server(self._serve, f"127.0.0.{host + 2}", self.port)
            self.port = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        # Endless answers are cancelled at the end of the attack.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            name = head.split(b"/")[1].decode()
            behaviours: dict[str, Callable[[Writer], Awaitable[None]]] = {
                "honest": self._honest,
                "costly": self._costly,
                "drip": self._drip,
                "silent": self._silent,
                "crumbs": self._crumbs,
            }
            await behaviours[name](writer)
        writer.close()

    async def _honest(self, writer: Writer) -> None:
        await self._whole(writer, self.picture)

    async def _costly(self, writer: Writer) -> None:
        await self._whole(writer, self.costly)

    async def _whole(self, writer: Writer, data: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        await writer.drain()

    async def _drip(self, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n" + self.picture[:100])
        while True:
            writer.write(bytes(RATE // 10))
            await writer.drain()
            await asyncio.sleep(0.1)

    async def _silent(self, _: Writer) -> None:
        await asyncio.sleep(3600)

    async def _crumbs(self, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n" + self.picture[:256] + b"\r\n")
        crumbs = b"1\r\nx\r\n" * 10_000
        while True:
            writer.write(crumbs)
            await writer.drain()


class Attack:
    """Attacks one stack, and prints the table."""

    def __init__(self, stack: LaunchedStack, sources: Sources) -> None:
        self.stack, self.sources = stack, sources
        self.client = Client(stack.url)
        self.missed = False
        self._honest = 0

    def held_up(self, name: str, attackers: list[str]) -> None:
        """Measure how long an honest image takes once the attackers have the slots."""
        ids = [self.client.submit(url, name)["dataset_id"] for url in attackers]
        self._until(lambda: sum(self._state(one) == "DOWNLOADING" for one in ids) >= SLOTS)
        self._honest += 1
        began = time.monotonic()
        url = self.sources.url(4, "honest", self._honest)
        honest = self.client.submit(url, "honest", page=0, quality=50 + self._honest)["dataset_id"]
        self._until(lambda: self.client.status(honest)["status"] in ("ready", "failed"))
        took, ended = time.monotonic() - began, self.client.status(honest)["status"]
        given_back = sum(self.client.status(one).get("attempt", 1) > 1 for one in ids)
        failed = sum(self.client.status(one)["status"] == "failed" for one in ids)
        self._row(name, f"{took:5.1f} s until {ended}", took <= MOST_WAIT and ended == "ready" and not failed)
        self._row("", f"{given_back} gave way, {failed} of {len(ids)} blamed", is_good=not failed)
        self._end(ids)

    def looked_at(self) -> None:
        """Measure how long an inspection takes once silent ones have the slots."""
        silent = [threading.Thread(target=self._look, args=("silent", number), daemon=True) for number in range(LOOKS)]
        for thread in silent:
            thread.start()
        time.sleep(1.0)
        began = time.monotonic()
        self._look("honest", 0)
        took = time.monotonic() - began
        self._row(f"{LOOKS} silent inspections", f"{took:5.1f} s until another's report", took <= MOST_WAIT)

    def chewed(self) -> None:
        """Measure the share of a core that tiny chunks take."""
        ids = [
            self.client.submit(self.sources.url(number, "crumbs", number), "crumbs")["dataset_id"]
            for number in range(SLOTS)
        ]
        self._until(lambda: all(self._state(one) == "DOWNLOADING" for one in ids))
        before, began = self._work(), time.monotonic()
        time.sleep(WATCHED)
        share = (self._work() - before) / (time.monotonic() - began)
        self._row(f"{SLOTS} sources of one-byte chunks", f"{share:5.2f} of a core", share <= MOST_CORE)
        self._end(ids)

    def _look(self, behaviour: str, number: int) -> None:
        with suppress(Exception):  # inspections that still wait fail at the end of the attack
            client = Client(self.stack.url)
            client.inspect(self.sources.url(number, behaviour, number))
            client.close()

    def _state(self, dataset_id: str) -> str:
        return str(self.client.get(dataset_id)["state"])

    def _work(self) -> float:
        # User and system time of the stack's process, in hundredths of a second (proc_pid_stat(5)).
        fields = Path(f"/proc/{self.stack.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + GIVE_UP
        while time.monotonic() < deadline and not condition():
            time.sleep(0.1)

    def _end(self, ids: list[str]) -> None:
        for one in ids:
            self.client.delete(one)

    def _row(self, name: str, said: str, is_good: bool) -> None:
        self.missed = self.missed or not is_good
        print(f"{name:34}{said:36}{'' if is_good else 'MISSED'}", flush=True)


def main() -> int:
    """Print the table. Return 1 if an honest image waited too long, or a slow source was blamed for giving way."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "honest.jpg"
        pyvips.Image.gaussnoise(1200, 900, seed=1).cast("uchar").jpegsave(str(file), Q=90)
        picture = variant(file, 0, Path(folder)).read_bytes()
        stack = launch(Path(folder) / "data", allow_sources=["127.0.0.0/8"])
        try:
            with Sources(picture) as sources:
                attack = Attack(stack, sources)
                attack.held_up(
                    "4 slow sources of one host", [sources.url(0, "drip", number) for number in range(SLOTS)]
                )
                attack.held_up("4 slow sources of four hosts", [sources.url(one, "drip", one) for one in range(SLOTS)])
                crowd = [sources.url(0, "silent", number) for number in range(CROWD)]
                attack.held_up(f"{CROWD} silent sources of one host", crowd)
                attack.looked_at()
                attack.chewed()
                attack.client.close()
        finally:
            stack.stop()
    return 1 if attack.missed else 0


if __name__ == "__main__":
    sys.exit(main())
