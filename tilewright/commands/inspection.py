"""The command `inspect`: what a source is, before it is submitted."""

from __future__ import annotations

from typing import Annotated

import typer

from tilewright.commands.arguments import DEFAULT_SERVER, FAILED, AsJson, Server, connect
from tilewright.display import megabytes
from tilewright.output import Json, cell, note, print_json, print_rows


def inspect(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the image is: http or https.")],
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Look at an image's header: what it is, and what would become of it.

    \b
    Examples:
      tilewright inspect https://example.org/scan.tif
      tilewright inspect https://example.org/scan.tif --json | jq .report.source

    The server fetches some kilobytes, never the whole file. Ends with 1 where the image would be refused, or could not
    be looked at.
    """
    with connect(server) as client:
        inspection = client.inspect(url)
    if as_json:
        print_json(inspection)
    elif inspection["report"]:
        print_report(inspection)
    error = inspection["error"]
    if error:
        note(f"{url} could not be looked at: {error['message']} ({error['code']})")
    if error or inspection["report"]["refused"]:
        raise typer.Exit(FAILED)


def print_report(inspection: Json) -> None:
    """What a source is and what would become of it, as `name  value` lines."""
    report = inspection["report"]
    source = report["source"]
    rows: list[tuple[str, str]] = [("url", inspection["url"])]
    if source:
        rows.append(("format", source["format"]))
        rows.append(("size", f"{source['width']:,} x {source['height']:,} pixels"))
        rows.append(("pages", f"{source['pages']:,}" if source["pages"] else "known once it is fetched"))
    else:
        rows.append(("format", "known once it is fetched" if not report["refused"] else "unknown"))
    rows.append(("file", megabytes(report["bytes"]) if report["bytes"] is not None else "of unknown length"))
    if report["content_type"]:
        rows.append(("sent as", report["content_type"]))
    rows.append(("ranges", "yes" if report["ranges"] else "no: one connection, and no going on where it broke off"))
    if source:
        rows.append(("levels", f"{report['levels']}, zooms 0 to {report['max_zoom']}"))
        rows.append(("tiles", f"{report['tiles']:,} of {report['tile_size']} pixels"))
        rows.append(("memory", f"{megabytes(report['memory_bytes'])} at most"))
    rows.append(("fetched", f"{megabytes(report['fetched_bytes'])} for this look"))
    refused = report["refused"]
    rows.append(("refused", f"{refused['message']} ({refused['code']})" if refused else "no: it can be submitted"))
    print_rows([(name, cell(value)) for name, value in rows])
