"""One host's flood before another host's one request: whose turn it is, in the queues of all three stages.

`python -m bench.attack floods`; less than two minutes. The stack has its usual settings.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyvips
import requests

from bench.attack.slow_sources import Sources
from bench.picture import variant
from tilewright.client import Client
from tilewright.embedded import LaunchedStack, launch

FLOODS = {"datasets": (1000, 9000), "inspections": (500, 1500)}
"""Silent sources of one host, in all, before the other host's."""

BUILDS = 4
"""Costly builds of one source, before the other host's image."""

SENDERS = 4
"""Connections that the flood comes by."""

EDGE = 16_000
"""Pixels of the costly image's edge: some seconds of the tiler's work."""

MOST_WAIT = 25.0
"""Seconds that an honest request may take behind a flood of any length. Slots that the flood has are free after five to
ten."""

GIVE_UP = 60.0
"""Seconds after which a request counts as held up."""


class Flood:
    """One stack, what one host sends to it, and how long another host's request takes."""

    def __init__(self, stack: LaunchedStack, sources: Sources) -> None:
        self.stack, self.sources = stack, sources
        self.client = Client(stack.url)
        self.missed = False
        self._sent = self._honest = 0

    def of_datasets(self) -> None:
        """Silent downloads."""
        self._behind("datasets", {"name": "flood"}, self._ready)

    def of_inspections(self) -> None:
        """Silent inspections."""
        self._behind("inspections", {}, self._inspected)

    def of_builds(self) -> None:
        """Costly builds, of one source with different options."""
        self._row("no builds", f"{self._ready():5.1f} s")
        url = self.sources.url(0, "costly", 0)
        costly = [
            self.client.submit(url, "costly", format="webp", quality=50 + number)["dataset_id"]
            for number in range(BUILDS)
        ]
        _until(lambda: any(self._state(one) == "TILING" for one in costly))
        took = self._ready()
        finished = sum(self.client.status(one)["status"] == "ready" for one in costly)
        self._row(
            f"{BUILDS} costly builds",
            f"{took:5.1f} s, {finished} of them done before",
            finished <= 1 and took < GIVE_UP,
        )
        for one in costly:
            self.client.delete(one)

    def _behind(self, name: str, fields: dict[str, str], honest: Callable[[], float]) -> None:
        self._row(f"no {name}", f"{honest():5.1f} s")
        for count in FLOODS[name]:
            began = time.monotonic()
            self._send(count - self._sent, name, fields)
            took, seconds = honest(), time.monotonic() - began
            self._row(f"{count} {name}", f"{took:5.1f} s, after {seconds - took:.0f} s of POSTs", took <= MOST_WAIT)

    def _send(self, count: int, name: str, fields: dict[str, str]) -> None:
        local = threading.local()

        def one(number: int) -> None:
            if not hasattr(local, "session"):
                local.session = requests.Session()
                local.session.trust_env = False
            body = fields | {"url": self.sources.url(0, "silent", number)}
            local.session.post(f"{self.stack.url}/api/{name}", json=body, timeout=GIVE_UP).raise_for_status()

        with ThreadPoolExecutor(SENDERS) as senders:
            list(senders.map(one, range(self._sent, self._sent + count)))
        self._sent += count

    def _ready(self) -> float:
        self._honest += 1
        began = time.monotonic()
        url = self.sources.url(4, "honest", self._honest)
        honest = self.client.submit(url, "honest", quality=50 + self._honest)["dataset_id"]
        _until(lambda: self.client.status(honest)["status"] in ("ready", "failed"))
        if self.client.status(honest)["status"] != "ready":
            return float("inf")
        return time.monotonic() - began

    def _inspected(self) -> float:
        self._honest += 1
        began = time.monotonic()
        report = self.client.inspect(self.sources.url(4, "honest", self._honest))
        return time.monotonic() - began if report["status"] == "ready" else float("inf")

    def _state(self, dataset_id: str) -> str:
        return str(self.client.get(dataset_id)["state"])

    def _row(self, name: str, said: str, is_good: bool = True) -> None:
        self.missed = self.missed or not is_good
        print(f"{name:34}{said:36}{'' if is_good else 'MISSED'}", flush=True)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GIVE_UP
    while time.monotonic() < deadline and not condition():
        time.sleep(0.1)


def main() -> int:
    """Print the table; gives 1 where another host's request waited too long."""
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "honest.jpg"
        pyvips.Image.gaussnoise(1200, 900, seed=1).cast("uchar").jpegsave(str(file), Q=90)
        costly = pyvips.Image.black(EDGE, EDGE).pngsave_buffer(bitdepth=1)
        for number, attack in enumerate((Flood.of_datasets, Flood.of_inspections, Flood.of_builds)):
            stack = launch(Path(folder) / f"data-{number}", allow_sources=["127.0.0.0/8"])
            try:
                with Sources(variant(file, 0, Path(folder)).read_bytes(), costly) as sources:
                    flood = Flood(stack, sources)
                    attack(flood)
                    flood.client.close()
                    missed = missed or flood.missed
            finally:
                stack.stop()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
