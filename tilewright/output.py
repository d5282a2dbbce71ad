"""Print on standard output: JSON for programs, text for people, tab-separated rows for pipes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urljoin

from pipeline.texts import amount, visible
from tilewright.display import PHASES, duration

Json = dict[str, Any]

COLUMNS = ("dataset_id", "status", "progress", "created_at", "name")
"""Columns of `list`, in this order. Scripts read them by position, so new columns are added at the end."""


def print_line(text: str = "") -> None:
    """Print one line on standard output and flush it. Escape control characters: untrusted servers may send them."""
    sys.stdout.write(f"{visible(text)}\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print_line(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))


def note(text: str) -> None:
    """Print one line on standard error: something for people, not for programs."""
    sys.stderr.write(f"{visible(text)}\n")
    sys.stderr.flush()


def print_status(dataset_id: str, status: Json, server: str) -> None:
    """Print a status as `name  value` lines, with the addresses of its tiles if it is ready."""
    rows: list[tuple[str, str]] = [("dataset", dataset_id), ("status", status["status"])]
    phase = str(status.get("progress") or "")
    if status.get("message"):
        rows.append(("message", status["message"]))
    elif phase:
        rows.append(("phase", PHASES.get(phase, phase)))
    if status.get("percent") is not None:
        rows.append(("percent", f"{status['percent']:.0f} %"))
    if status.get("bytes_downloaded"):
        rows.append(("downloaded", amount(status["bytes_downloaded"])))
    if status.get("bytes_per_second"):
        rows.append(("rate", f"{amount(status['bytes_per_second'])}/s"))
    source = status.get("source")
    if source:
        rows.append(("source", f"{source['format']}, {source['width']:,} x {source['height']:,} pixels"))
    if status.get("tiles_done"):
        rows.append(("tiles", f"{status['tiles_done']:,}"))
    if status.get("eta_seconds") is not None:
        rows.append(("left", duration(status["eta_seconds"])))
    if (status.get("attempt") or 1) > 1:
        rows.append(("attempt", str(status["attempt"])))
    tile_info = status.get("tile_info")
    if tile_info:
        rows.append(("size", f"{tile_info['width']:,} x {tile_info['height']:,} pixels"))
        rows.append(("zooms", f"0 to {tile_info['max_zoom']}"))
        if size := tile_info.get("pixel_size"):
            rows.append(("pixel size", f"{size['x']:g} x {size['y']:g} {size['unit']}"))
        rows.append(("view", view_url(dataset_id, server)))
        rows.extend((name, urljoin(f"{server}/", tile_info[name])) for name in ("dzi", "xyz"))
    print_rows(
        rows
        + _refresh(status)
        + rewritten_rows(status)
        + _pages(status)
        + _stretch(status)
        + _channels(status)
        + _warnings(status)
    )


def print_result(dataset: Json, server: str) -> None:
    """Print a ready dataset's addresses as `name  value` lines."""
    urls = dataset.get("tile_urls") or {}
    rows: list[tuple[str, str]] = [("dataset", dataset["dataset_id"]), ("status", dataset["status"])]
    rows.append(("view", view_url(dataset["dataset_id"], server)))
    rows.extend((name, urljoin(f"{server}/", urls[name])) for name in ("dzi", "xyz", "thumbnail") if urls.get(name))
    print_rows(
        rows + rewritten_rows(dataset) + _pages(dataset) + _stretch(dataset) + _channels(dataset) + _warnings(dataset)
    )


def print_datasets(datasets: Iterable[Json]) -> int:
    """Print datasets as a table on a terminal, else as tab-separated rows without a header. Return their number."""
    rows = [[cell(dataset.get(column)) for column in COLUMNS] for dataset in datasets]
    if not sys.stdout.isatty():
        for row in rows:
            print_line("\t".join(row))
    elif rows:
        _print_table(COLUMNS, rows)
    return len(rows)


def _refresh(status: Json) -> list[tuple[str, str]]:
    """Return a row that says what is being done to refresh a dataset, or what came of it."""
    return [("refresh", status["refresh"]["message"])] if status.get("refresh") else []


def _stretch(shown: Json) -> list[tuple[str, str]]:
    """Return a row that says how samples became 8 bits, if they did."""
    used = shown.get("stretch")
    return [("stretch", f"{used['rule']}: {used['low']:g} to {used['high']:g}")] if used else []


def _pages(shown: Json) -> list[tuple[str, str]]:
    """Return a row that says how many pages there are, if all are shown."""
    return [("pages", str(len(shown["pages"])))] if shown.get("pages") else []


def _channels(shown: Json) -> list[tuple[str, str]]:
    """Return a row for each channel that was composed."""
    return [
        (
            "channel",
            f"{channel['number']} {channel['name']} in {channel['colour']}, "
            f"{channel['rule']}: {channel['low']:g} to {channel['high']:g}",
        )
        for channel in shown.get("channels") or []
    ]


def view_url(dataset_id: str, server: str) -> str:
    """Return the address of the page that shows a dataset."""
    return f"{server}/view/{dataset_id}"


def failure_of(dataset_id: str, status: Json) -> str:
    """Return why a dataset failed and what to do, in one or two lines."""
    error = status["error"]
    line = f"{dataset_id} failed: {error['message']} ({error['code']})"
    if error["retryable"]:
        line += f"\nA retry may help: tilewright retry {dataset_id}"
    elif error["code"] == "source_expired":
        line += f"\nGo on with a new link: tilewright retry {dataset_id} --url URL"
    return line


def cell(value: Any) -> str:
    """Return a value as one line without tabs."""
    # A tab or line break in a name would split the row.
    return visible(" ".join(str(value if value is not None else "").split()))


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Print `name  value` lines."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print_line(f"{name:<{width}}  {value}")


def rewritten_rows(shown: Json) -> list[tuple[str, str]]:
    """Return what the link was rewritten to, as rows; none if it was not."""
    link = shown.get("rewritten")
    if not link:
        return []
    rows = [("from", f"{link['url']} ({link['rule']})")]
    return [*rows, ("note", link["note"])] if link["note"] else rows


def _warnings(status: Json) -> list[tuple[str, str]]:
    return [("warning", f"{warning['message']} ({warning['code']})") for warning in status.get("warnings") or []]


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    room = shutil.get_terminal_size().columns
    for row in (head, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        print_line(line if len(line) <= room else f"{line[: room - 1]}…")
