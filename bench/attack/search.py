"""Searches over long descriptions: measure what each costs, and how much eight at once delay other reads.

`python -m bench.attack search` takes about a minute. The stack has its default settings. Times are ratios to a read on
an idle server.
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
from statussvc.db.repository import catalogue, user_actions
from tilewright.embedded import LaunchedStack, launch

ROWS = 3000
"""Datasets, each with a description of the maximum length: half of words, half made to be slow to compare."""

WORDS = 3000
"""Different words in the descriptions."""

SEARCHERS = 8
"""Clients that search without a pause."""

SECONDS = 8.0
"""Seconds that they search."""

PEACE = 3.0
"""Seconds that reads are measured without searches."""

HURRY = 0.05
"""Seconds after which an impatient client disconnects."""

MOST_RATIO = 10.0
"""Limit for the ratio of the median read during searches to that on an idle server. Everything shares two cores."""

LONGEST = 2.0
"""Limit for a single read, in seconds."""

TIMEOUT = 30.0
"""Seconds after which a request is given up."""

HOSTILE = ("a" * (MAX_QUERY // 2) + "b") * (MAX_DESCRIPTION // (MAX_QUERY // 2))
SLOW = ("a" * (MAX_QUERY // 2 + 1) + "b" + "a" * MAX_QUERY)[:MAX_QUERY]
"""It has the same trigrams as HOSTILE, and almost matches it in many places."""

SEARCHES = {
    "a text of one dataset": "name of number 7",
    "a text of all datasets": "name",
    "a text of none": "no such text",
    "two characters of none": "~~",
    "almost the text of half": SLOW,
}


def main() -> int:
    """Print the table. Return 1 if reads were too slow or any answer was 500."""
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
    """Make cancelled datasets, and return the id of one."""
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
            user_actions.cancel(connection, dataset_id, time.time())
    engine.dispose()
    return dataset_id


def _attack(stack: LaunchedStack, dataset_id: str) -> int:
    peace, _ = _reads(stack.url, dataset_id, PEACE)
    print(
        f"{ROWS:,} descriptions of {MAX_DESCRIPTION:,} characters; 1 is a read on an idle server, {1000 * peace:.1f} ms"
    )
    print(f"{'':64} {'search':>8} {'read':>6} {'longest':>10}  answers")
    missed = False
    for name, query in SEARCHES.items():
        session = _session()
        began = time.monotonic()
        status = _search(session, stack.url, query, TIMEOUT)
        print(f"{name:64} {(time.monotonic() - began) / peace:8.1f} {'':6} {'':10}  {status}", flush=True)
        missed |= status == 500
    for name, patience in (("at once", TIMEOUT), (f"that disconnect after {HURRY:g} s", HURRY)):
        for kind in ("two characters of none", "almost the text of half"):
            with _crowd(stack.url, SEARCHES[kind], patience) as answers:
                beside, longest = _reads(stack.url, dataset_id, SECONDS)
            ratio = beside / peace
            told = ", ".join(f"{count} x {status or 'disconnected'}" for status, count in sorted(answers.items()))
            label = f"{SEARCHERS} {name}: {kind}"
            print(f"{label:64} {'':8} {ratio:6.1f} {1000 * longest:7.0f} ms  {told}", flush=True)
            missed |= ratio > MOST_RATIO or longest > LONGEST or 500 in answers
    log = stack.log.read_text()
    print(f"log: {len(log):,} bytes, {log.count('Traceback')} tracebacks")
    print(f"goals: a read takes at most {MOST_RATIO:g} times that on an idle server, and at most {LONGEST:g} s; no 500")
    return int(missed or "Traceback" in log)


def _reads(url: str, dataset_id: str, seconds: float) -> tuple[float, float]:
    """Read a dataset, a list and a status in turn. Return the median and the longest time in seconds."""
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
    """Search without a pause during the block. Yield the number of answers by status; 0 stands for disconnected."""
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
    session.trust_env = False  # no proxy can reach this machine's loopback
    return session


if __name__ == "__main__":
    sys.exit(main())
