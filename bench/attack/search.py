"""Searches over long descriptions: what each costs, and how long others' reads wait beside eight at once.

`python -m bench.attack search`; about a minute. The stack has its usual settings. Times are ratios to a read in peace.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from sqlalchemy import create_engine

from pipeline.texts import MAX_DESCRIPTION, MAX_QUERY
from statussvc.db.database import Database
from statussvc.db.repository import catalogue, orders
from tilewright.embedded import LaunchedStack, launch

ROWS = 3000
"""Datasets, each with a description of the greatest length: half of them of words, half made to be slow to compare."""

WORDS = 3000
"""That the descriptions are made of."""

SEARCHERS = 8
"""Clients that search without pause."""

SECONDS = 8.0
"""For which they do."""

PEACE = 3.0
"""Seconds for which reads are measured without them."""

HURRY = 0.05
"""Seconds after which a client leaves that does not wait."""

MOST_RATIO = 10.0
"""Of a read beside the searches to one in peace, by their medians: all of this shares two cores."""

LONGEST = 2.0
"""Seconds that any one read may take."""

TIMEOUT = 30.0
"""Seconds of a request."""

HOSTILE = ("a" * (MAX_QUERY // 2) + "b") * (MAX_DESCRIPTION // (MAX_QUERY // 2))
SLOW = ("a" * (MAX_QUERY // 2 + 1) + "b" + "a" * MAX_QUERY)[:MAX_QUERY]
"""It has the same trigrams as HOSTILE, and is nearly found at many places of it."""

SEARCHES = {
    "a text that one has": "name of number 7",
    "a text that all have": "name",
    "a text that none has": "no such text",
    "two characters that none has": "~~",
    "nearly what half of them have": SLOW,
}


def main() -> int:
    """Print the table; gives 1 where a read was starved or anything was answered with 500."""
    with tempfile.TemporaryDirectory(prefix="tilewright-search-") as name:
        data = Path(name) / "data"
        data.mkdir()
        dataset_id = _fill(data / "tilewright.sqlite3")
        stack = launch(data)
        try:
            return _attack(stack, dataset_id)
        finally:
            stack.stop()


def _fill(path: Path) -> str:
    """Make datasets that nothing is done with, and give the id of one."""
    url = f"sqlite:///{path}"
    database = Database(url)
    database.migrate()
    database.close()
    chance = random.Random(1)  # noqa: S311
    letters = "cdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(WORDS)]
    engine = create_engine(url)
    with engine.begin() as connection:
        for number in range(ROWS):
            text = HOSTILE if number % 2 else " ".join(chance.choices(words, k=MAX_DESCRIPTION // 5))
            new = catalogue.NewDataset(
                f"Name of number {number}.", text[:MAX_DESCRIPTION], "", "", "https://example.org/a.jpg", 256
            )
            dataset_id, _ = catalogue.create(connection, new, time.time())
            orders.cancel(connection, dataset_id, time.time())
    engine.dispose()
    return dataset_id


def _attack(stack: LaunchedStack, dataset_id: str) -> int:
    peace, _ = _reads(stack.url, dataset_id, PEACE)
    print(f"{ROWS:,} descriptions of {MAX_DESCRIPTION:,} characters; 1 is a read in peace, {1000 * peace:.1f} ms")
    print(f"{'':64} {'search':>8} {'read':>6} {'longest':>10}  answers")
    missed = False
    for name, query in SEARCHES.items():
        session = _session()
        began = time.monotonic()
        status = _search(session, stack.url, query, TIMEOUT)
        print(f"{name:64} {(time.monotonic() - began) / peace:8.1f} {'':6} {'':10}  {status}", flush=True)
        missed |= status == 500
    for name, patience in (("at once", TIMEOUT), (f"that leave after {HURRY:g} s", HURRY)):
        for kind in ("two characters that none has", "nearly what half of them have"):
            with _crowd(stack.url, SEARCHES[kind], patience) as answers:
                beside, longest = _reads(stack.url, dataset_id, SECONDS)
            ratio = beside / peace
            told = ", ".join(f"{count} x {status or 'left'}" for status, count in sorted(answers.items()))
            label = f"{SEARCHERS} {name}: {kind}"
            print(f"{label:64} {'':8} {ratio:6.1f} {1000 * longest:7.0f} ms  {told}", flush=True)
            missed |= ratio > MOST_RATIO or longest > LONGEST or 500 in answers
    log = stack.log.read_text()
    print(f"log: {len(log):,} bytes, {log.count('Traceback')} tracebacks")
    print(f"goals: a read beside them at most {MOST_RATIO:g} times one in peace, none above {LONGEST:g} s; no 500")
    return int(missed or "Traceback" in log)


def _reads(url: str, dataset_id: str, seconds: float) -> tuple[float, float]:
    """Read a dataset, a list and a status in turn; gives the median and the longest time of one, in seconds."""
    session, times = _session(), []
    over = time.monotonic() + seconds
    paths = [f"/api/datasets/{dataset_id}", "/api/datasets?limit=1", f"/api/datasets/{dataset_id}/status"]
    while time.monotonic() < over:
        for path in paths:
            began = time.monotonic()
            answer = session.get(url + path, timeout=TIMEOUT)
            times.append(time.monotonic() - began)
            answer.raise_for_status()
    return statistics.median(times), max(times)


@contextmanager
def _crowd(url: str, query: str, patience: float) -> Iterator[Counter[int]]:
    """Search without pause while the block runs; gives how often each status was answered, 0 for what was left."""
    answers: Counter[int] = Counter()
    over = threading.Event()

    def search() -> None:
        while not over.is_set():
            answers[_search(_session(), url, query, patience)] += 1

    threads = [threading.Thread(target=search, name=f"search-{number}") for number in range(SEARCHERS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _search(session: requests.Session, url: str, query: str, patience: float) -> int:
    try:
        return session.get(f"{url}/api/datasets", params={"q": query, "limit": "1"}, timeout=patience).status_code
    except requests.Timeout:
        return 0
    finally:
        session.close()


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxy can reach this machine's own loopback
    return session


if __name__ == "__main__":
    sys.exit(main())
