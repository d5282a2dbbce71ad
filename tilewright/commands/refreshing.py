"""`tilewright refresh` and `tilewright versions`."""

# ruff: noqa: PLC0415  Rich takes a tenth of a second to import, and most commands show no bars
from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.texts import amount
from tilewright.commands.arguments import DEFAULT_SERVER, FAILED, AsJson, DatasetId, Quiet, Server, connect
from tilewright.output import note, print_json, print_line

if TYPE_CHECKING:
    from tilewright.client import Client, Json

POLL_INTERVAL = 0.5
"""Seconds between two looks at the refreshes that are at work."""

AT_WORK = ("queued", "downloading", "generating_tiles")
"""Values of a refresh's `state` before its end."""

GONE = "no longer ready"
"""What is counted for datasets that were deleted, or went to work, before their turn."""


def refresh(
    dataset_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Id of a dataset.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Refresh all datasets that are ready.")] = False,
    older_than_version: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="With --all, only those whose tiles are of an older pyramid version."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Download the source and make new tiles, even if nothing changed.")
    ] = False,
    at_once: Annotated[
        int, typer.Option(min=1, max=100, help="With --all, how many are at work at the same time.")
    ] = 4,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result. Always done with --all.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Fetch the source of a ready dataset again, and make new tiles if it has changed.

    \b
    Examples:
      tilewright refresh custom_a1b2c3d4 --wait
      tilewright refresh --all --older-than-version 10    after an upgrade

    The dataset stays ready, and its addresses answer the whole time. With --all, prints how many datasets have changed.
    Ctrl-C stops the command, not the refreshes that are at work; run it again to go on. Exits with 1 if a refresh
    failed.
    """
    if (dataset_id is None) is not everything:
        raise typer.BadParameter("give the id of a dataset, or --all", param_hint="ID")
    if older_than_version is not None and not everything:
        raise typer.BadParameter("goes with --all", param_hint="--older-than-version")
    with connect(server) as client:
        if dataset_id is None:
            _refresh_all(client, older_than_version, force=force, at_once=at_once, as_json=as_json, quiet=quiet)
            return
        status = client.refresh(dataset_id, force=force)
        while wait and status["refresh"]["state"] in AT_WORK:
            time.sleep(POLL_INTERVAL)
            status = client.status(dataset_id)
        if as_json:
            print_json(status)
        else:
            print_line(f"{dataset_id}: {status['refresh']['message']}")
        if status["refresh"]["state"] == "failed":
            raise typer.Exit(FAILED)


def versions(dataset_id: DatasetId, as_json: AsJson = False, server: Server = DEFAULT_SERVER) -> None:
    """List the tiles that a dataset shows and has shown, as long as they are kept.

    \b
    Example:
      tilewright versions custom_a1b2c3d4
    """
    with connect(server) as client:
        for version in client.versions(dataset_id):
            if as_json:
                print_json(version)
                continue
            state = "present" if version["present"] else f"replaced {version['replaced_at']}"
            source = f"{amount(version['source']['bytes'])}, sha256 {version['source']['sha256'][:12]}"
            print_line(f"{version['tile_id']}\t{version['created_at']}\t{state}\t{source}\t{version['dzi']}")


def _refresh_all(
    client: Client, older_than: int | None, *, force: bool, at_once: int, as_json: bool, quiet: bool
) -> None:
    wanted = [
        dataset["dataset_id"]
        for dataset in client.datasets(status="ready", limit=200)
        if older_than is None or ((dataset.get("tile_info") or {}).get("pyramid_version") or 0) < older_than
    ]
    results: Counter[str] = Counter()
    try:
        with _bar(len(wanted), quiet=quiet) as advance:
            for dataset_id, ended in _refreshes(client, wanted, force=force, at_once=at_once):
                state = ended["refresh"]["state"] if ended else GONE
                results[state] += 1
                if ended and state == "failed" and not quiet:
                    note(f"{dataset_id}: {ended['refresh']['message']}")
                advance()
    except KeyboardInterrupt:
        if not quiet:
            done = results.total()
            note(f"{done:,} of {len(wanted):,} are done, and those at work go on. Run the command again for the rest.")
        raise
    if as_json:
        print_json({"datasets": len(wanted), **results})
    else:
        print_line(", ".join(f"{count:,} {state}" for state, count in sorted(results.items())) or "Nothing to refresh.")
    if results["failed"]:
        raise typer.Exit(FAILED)


def _refreshes(client: Client, wanted: list[str], *, force: bool, at_once: int) -> Iterator[tuple[str, Json | None]]:
    """Refresh datasets, and yield each with its status after the end; None if it cannot be refreshed any more."""
    waiting, at_work = iter(wanted), list[str]()
    while True:
        while len(at_work) < at_once and (dataset_id := next(waiting, None)) is not None:
            if _or_none(partial(client.refresh, dataset_id, force=force)) is None:
                yield dataset_id, None
            else:
                at_work.append(dataset_id)
        if not at_work:
            return
        time.sleep(POLL_INTERVAL)
        for dataset_id in list(at_work):
            status = _or_none(partial(client.status, dataset_id))
            if status is None or status.get("refresh", {}).get("state") not in AT_WORK:
                at_work.remove(dataset_id)
                yield dataset_id, status if status is not None and "refresh" in status else None


def _or_none(call: Callable[[], Json]) -> Json | None:
    """Return the answer; None if the dataset does not exist any more, or is not ready."""
    from tilewright.client import Problem

    try:
        return call()
    except Problem as problem:
        if problem.status not in (404, 409):
            raise
        return None


@contextmanager
def _bar(total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal. Yields what advances it by one."""
    if quiet or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Refreshing"), BarColumn(bar_width=32), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Refreshing", total=total)
        yield lambda: progress.advance(task)
