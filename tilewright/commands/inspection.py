"""The command `inspect`: report on a source before it is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from pipeline.texts import amount
from tilewright.commands.arguments import DEFAULT_SERVER, FAILED, AsJson, Server, connect
from tilewright.output import Json, cell, note, print_json, print_rows, rewritten_rows


def inspect(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of the image, http or https.")],
    member: Annotated[str | None, typer.Option(help="Name of the image in a ZIP archive that has several.")] = None,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Show an image's format and size, and whether it can be tiled.

    \b
    Examples:
      tilewright inspect https://example.org/scan.tif
      tilewright inspect https://example.org/scan.tif --json | jq .report.source
      tilewright inspect https://example.org/maps.zip --member maps/1850.tif

    The server fetches some kilobytes, never the whole file. Exits with 1 if the image would be refused or could not be
    inspected.
    """
    with connect(server) as client:
        inspection = client.inspect(url, member)
    if as_json:
        print_json(inspection)
    elif inspection["report"]:
        print_report(inspection)
    error = inspection["error"]
    if error:
        note(f"{url} could not be inspected: {error['message']} ({error['code']})")
    if error or inspection["report"]["refused"]:
        raise typer.Exit(FAILED)


def print_report(inspection: Json) -> None:
    """Print an inspection's report as `name  value` lines."""
    report = inspection["report"]
    source = report["source"]
    rows: list[tuple[str, str]] = [("url", inspection["url"]), *rewritten_rows(report)]
    if source:
        rows.append(("format", source["format"]))
        rows.append(("size", f"{source['width']:,} x {source['height']:,} pixels"))
        rows.append(("pages", f"{source['pages']:,}" if source["pages"] else "known after the download"))
        if source["pages"] != 1 and report.get("page") is not None:
            rows.append(("main picture", f"page {report['page']:,}, counted from 0"))
        rows.extend(_stack(report.get("stack")))
    else:
        rows.append(("format", "known after the download" if not report["refused"] else "unknown"))
    rows.append(("file", amount(report["bytes"]) if report["bytes"] is not None else "unknown size"))
    if report["content_type"]:
        rows.append(("sent as", report["content_type"]))
    rows.append(("ranges", "yes" if report["ranges"] else "no: the download uses one connection and cannot resume"))
    if source:
        rows.append(("levels", f"{report['levels']}, zooms 0 to {report['max_zoom']}"))
        rows.append(("tiles", f"{report['tiles']:,} of {report['tile_size']} pixels"))
        rows.append(("memory", f"{amount(report['memory_bytes'])} at most"))
    rows.append(("fetched", f"{amount(report['fetched_bytes'])} for this inspection"))
    refused = report["refused"]
    rows.append(("refused", f"{refused['message']} ({refused['code']})" if refused else "no: it can be submitted"))
    print_rows([(name, cell(value)) for name, value in rows])


def _stack(stack: Json | None) -> Iterator[tuple[str, str]]:
    """Yield rows about the channels, depth and time of a stack."""
    if not stack:
        return
    more = f", and {more:,} more" if (more := stack["channel_count"] - len(stack["channels"])) else ""
    each = (
        f"{channel['number']} {channel['name']}".strip() + (f" ({channel['colour']})" if channel["colour"] else "")
        for channel in stack["channels"]
    )
    yield "channels", ", ".join(each) + more
    for letter in "zt":
        step, labels = stack[f"{letter}_step"], ", ".join(stack[f"{letter}_labels"])
        said = f"{stack[f'{letter}_count']:,}" + (f", {step} apart" if step else "")
        yield letter, said + (f": {labels}" if labels else "")
