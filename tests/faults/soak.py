"""Many small datasets under workers that are killed at random: `make soak`, and a short form among the tests.
`make soak` then goes on to the other long forms.

Afterwards nothing may be lost, stuck, built by two winners, or left behind; and nothing may be built in vain but what
a kill disturbed.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.pyramids.geometry import FILES
from pipeline.storage.directory import pyramid_key
from tests.faults.conftest import running_farm
from tests.faults.farm import Farm
from tests.faults.invariants import keys, sweep
from tests.faults.long_forms import run_long_forms
from tests.support.images import pictures
from tests.support.network.answers import whole
from tests.support.network.sources import SourceServer, serve
from tests.support.rigs import servers
from tests.support.rigs.waiting import until

SIZE = (900, 600)
"""Pixels of a picture: a pyramid of some twenty tiles, made in a tenth of a second."""

BACKLOG = 16
"""Datasets that are kept unfinished, so that no worker is killed idle."""

PICTURES = 16
"""Files that differ in their pixels; every dataset's file differs in its bytes, but for the doubles."""

DOUBLE_EVERY = 5
"""Each fifth dataset has the bytes of the one before."""

CHILD_STARTED = re.compile(r"tiler\.parent: (custom_\w+): child \d+ started")

DRAIN_LIMIT = 240.0
"""Seconds for what is left when the kills are over."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. All but the first three have to be 0.

    Parameters
    ----------
    disturbed: datasets that were begun more than once.
    lost: accepted, and not there.
    stuck: not ready in the end.
    double_winners: pyramids of which two builds were told that they count.
    orphans: stored things that no row refers to, and things referred to that are not stored, after the sweep.
    needless_children: tiling children beyond the one of an undisturbed dataset that had to be tiled.
    needless_runs: tilings begun though the pyramid was there.
    """

    datasets: int
    kills: int
    disturbed: int
    lost: int
    stuck: int
    double_winners: int
    orphans: int
    needless_children: int
    needless_runs: int

    def is_clean(self) -> bool:
        return not any(list(asdict(self).values())[3:])


@contextmanager
def soaked_farm(folder: Path, broker: servers.RabbitServer, url: str, sources: SourceServer) -> Iterator[Farm]:
    """A farm with two workers of each kind, which forgives any number of crashes."""
    database = f"sqlite:///{folder}/rows.sqlite3"
    farm = Farm(folder, broker, url, database, f"127.0.0.1:{sources.port}", TILEWRIGHT_CRASH_LIMIT="1000000")
    farm.add_worker("ingest-2", "ingest", threads=2)
    farm.add_worker("tiler-2", "tiler")
    try:
        farm.start()
        yield farm
    finally:
        farm.close()


def soak(farm: Farm, sources: SourceServer, *, count: int, seconds: float, seed: int) -> Report:
    """Submits datasets while workers are killed every second or so, at least `count`, and for `seconds`."""
    chance = random.Random(seed)  # noqa: S311  for the choice of victims
    workers = [service for name, service in farm.services.items() if name.startswith(("ingest", "tiler"))]
    files = _files()
    over = threading.Event()
    kills = 0

    def kill() -> None:
        nonlocal kills
        while not over.wait(chance.uniform(0.5, 1.5)):
            chance.choice(workers).kill()
            kills += 1

    killer = threading.Thread(target=kill, name="killer")
    killer.start()
    ids: list[str] = []
    end = time.monotonic() + seconds
    try:
        while len(ids) < count or time.monotonic() < end:
            until(lambda: farm.unfinished() < BACKLOG, "the end of any dataset", DRAIN_LIMIT)
            source = sources.on(f"/soak-{len(ids)}.jpg", whole(next(files)))
            ids.append(farm.post(source, key=f"soak-{seed}-{len(ids)}").json()["dataset_id"])
        over.set()
        until(lambda: farm.unfinished() == 0, "the end of all datasets", DRAIN_LIMIT)
    except AssertionError as late:
        sys.stderr.write(f"{late}\n{farm.last_words()}\n")
    finally:
        over.set()
        killer.join()
    sweep(farm)
    report = _report(farm, ids, kills)
    if not report.is_clean():
        sys.stderr.write(_explanation(farm))
    return report


def _explanation(farm: Farm) -> str:
    """Return the datasets that are not ready, and the runs of pyramids with two winners, as lines."""
    rows: dict[str, Row] = {row["dataset_id"]: dict(row) for row in farm.rows()}
    lines = [
        f"{row['dataset_id']}: {row['state']}, attempt {row['attempt']}: {row['error_code']}: {row['error_message']}"
        for row in rows.values()
        if row["state"] != "READY"
    ]
    runs = [(rows[run["dataset_id"]]["tile_id"], dict(run)) for run in farm.rows("runs") if run["stage"] == "TILER"]
    winners = Counter(tile_id for tile_id, run in runs if _won(run))
    lines += [f"{tile_id}: {run}" for tile_id, run in runs if winners[tile_id] > 1]
    return "".join(f"{line}\n" for line in lines)


def _won(run: Row) -> bool:
    """Whether a run's build counts. A run that failed has "won", too: its word counted."""
    return bool(run["outcome"] == "COMPLETED" and run["answer"] == "WON")


def _files() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        shown = [
            pictures.save(pictures.scene(*SIZE, seed=seed), Path(folder) / "a.jpg", Q=90).read_bytes()
            for seed in range(PICTURES)
        ]
    for number in itertools.count():
        unique = number - (number % DOUBLE_EVERY == DOUBLE_EVERY - 1)
        data = shown[unique % PICTURES]
        yield data[:2] + b"\xff\xfe\x00\x08%06d" % unique + data[2:]


def _report(farm: Farm, ids: list[str], kills: int) -> Report:
    rows: dict[str, Row] = {row["dataset_id"]: dict(row) for row in farm.rows()}
    pyramids: dict[str, Row] = {row["tile_id"]: dict(row) for row in farm.rows("pyramids")}
    tilings = [dict(run) for run in farm.rows("runs") if run["stage"] == "TILER"]
    children: Counter[str] = Counter()
    for service in farm.services.values():
        children.update(CHILD_STARTED.findall(service.log.read_text(errors="replace")))
    winners = Counter(rows[run["dataset_id"]]["tile_id"] for run in tilings if _won(run))
    tiled = Counter(run["dataset_id"] for run in tilings)
    undisturbed = [row["dataset_id"] for row in rows.values() if row["attempt"] == 1]
    referred = {row["source_key"] for row in rows.values()} | {
        pyramid_key(row["tile_id"], row["build"], name) for row in pyramids.values() for name in FILES
    }
    stored = {key for kind in ("sources", "pyramids", "scratch") for key in keys(farm, kind)}
    return Report(
        datasets=len(ids),
        kills=kills,
        disturbed=len(rows) - len(undisturbed),
        lost=len(set(ids) - rows.keys()) + len(rows.keys() - set(ids)),
        stuck=sum(row["state"] != "READY" for row in rows.values()),
        double_winners=sum(number > 1 for number in winners.values()),
        orphans=len(stored ^ (referred - {None})),
        needless_children=sum(children[one] != tiled[one] or tiled[one] > 1 for one in undisturbed),
        needless_runs=sum(
            run["begun_at"] > pyramids[tile_id]["created_at"]
            for run in tilings
            if (tile_id := rows[run["dataset_id"]]["tile_id"]) in pyramids
        ),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=180.0, help="for which datasets come in and workers are killed"
    )
    parser.add_argument("--datasets", type=int, default=200, help="that come in at least")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311  a number to repeat it by
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve() as sources, servers.rabbitmq() as broker:
        with broker.vhost() as url, soaked_farm(Path(folder), broker, url, sources) as farm:
            report = soak(farm, sources, count=options.datasets, seconds=options.seconds, seed=options.seed)
        lines = [f"{name.replace('_', ' '):18} {value}" for name, value in asdict(report).items()]
        sys.stdout.write("\n".join([f"{'seed':18} {options.seed}", *lines, ""]))
        if not report.is_clean():
            return 1
        (Path(folder) / "long").mkdir()
        rows = f"sqlite:///{folder}/long/rows.sqlite3"
        with broker.vhost() as url, running_farm(Path(folder) / "long", broker, url, rows, sources) as farm:
            for line in run_long_forms(farm, sources, Path(folder)):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
