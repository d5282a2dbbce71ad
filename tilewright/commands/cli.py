"""The `tilewright` command: a thin layer over the client, the displays and the embedded stack.

Exit codes: 0 success · 1 the job failed or was refused · 2 wrong usage · 3 server unreachable · 130 Ctrl-C.

Modules that take long to import (the stack, libvips, `requests`) are imported by the commands that use them.
"""

# ruff: noqa: PLC0415  see above: slow imports are done by the commands that need them
from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import TilewrightError
from tilewright.commands import inspection, refreshing, stored
from tilewright.commands.arguments import (
    DEFAULT_SERVER,
    FAILED,
    AsJson,
    DatasetId,
    Quiet,
    Server,
    as_statement,
    key_values,
)
from tilewright.commands.arguments import connect as _connect
from tilewright.display import follow, make_display
from tilewright.output import (
    failure_of,
    note,
    print_datasets,
    print_json,
    print_line,
    print_result,
    print_status,
    view_url,
)

if TYPE_CHECKING:
    from tilewright.client import Client

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help is fast, and the same on every terminal
    context_settings={"help_option_names": ["-h", "--help"]},
)


class StatusFilter(StrEnum):
    """Values of `list --status`."""

    QUEUED = "queued"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class TileFormat(StrEnum):
    """Values of `submit --format`."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


class Pages(StrEnum):
    """Values of `submit --pages`."""

    ALL = "all"


class Damage(StrEnum):
    """Values of `submit --damage`."""

    REFUSE = "refuse"
    ACCEPT = "accept"


def main() -> None:
    """Run the command. Print an error as one sentence, and exit with its code."""
    try:
        app()
    except TilewrightError as error:
        note(f"tilewright: {error}")
        sys.exit(getattr(error, "exit_code", FAILED))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_line(f"tilewright {version('tilewright')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """\b
    Turn the URL of an image too large to open into a deep-zoom tile pyramid.

    \b
    Examples:
      tilewright up                                    run the whole system on http://127.0.0.1:8000
      tilewright submit URL --name "The Earth" --wait  tile an image and show the progress
      tilewright inspect URL                           show an image's format and size before tiling
      tilewright list --status failed                  list the datasets that failed
      tilewright export ID DIR                         write the tiles as files, for any web host
      tilewright doctor                                check that everything needed is installed

    \b
    Exit codes: 0 success, 1 the job failed or was refused, 2 wrong usage,
    3 server unreachable, 130 Ctrl-C.
    """


@app.command()
def up(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 accepts connections from the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="HTTP port; 0 picks a free one.")] = 8000,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC port; 0 picks a free one.")] = 50051,
    data: Annotated[
        Path, typer.Option(file_okay=False, help="Directory for the database, the originals and the tiles.")
    ] = Path("tilewright-data"),
    allow_source: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST-or-CIDR", help="Allow a private source; repeatable."),
    ] = None,
    adopt_storage: Annotated[
        bool,
        typer.Option(
            "--adopt-storage",
            help="Use this storage although the database knows another; for one start after a loss.",
        ),
    ] = False,
) -> None:
    """Run the whole system in one process.

    \b
    Examples:
      tilewright up
      tilewright up --port 0 --grpc-port 0 --data /srv/tilewright
      tilewright up --allow-source 10.0.0.0/8 --allow-source nas.example

    Prints `ready http://HOST:PORT grpc://HOST:PORT` when everything is ready. Ctrl-C stops it within ten seconds; the
    next start continues unfinished work.
    """
    from tilewright.embedded import UpOptions, run

    options = UpOptions(
        host=host,
        port=port,
        grpc_port=grpc_port,
        data=data,
        allow_sources=tuple(allow_source or ()),
        adopt_storage=adopt_storage,
    )
    raise typer.Exit(run(options))


@app.command()
def submit(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of the image, http or https.")],
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the dataset.")],
    description: Annotated[str | None, typer.Option(help="Free text that describes it.")] = None,
    category: Annotated[str | None, typer.Option(help="Free text to filter by.")] = None,
    subject: Annotated[str | None, typer.Option(help="Free text to filter by.")] = None,
    tile_size: Annotated[int | None, typer.Option(help="Edge of a tile in pixels, 256 or 512; default: 256.")] = None,
    tile_format: Annotated[
        TileFormat | None,
        typer.Option("--format", help="Format of the tiles; default: PNG for images with transparency, else JPEG."),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Quality of JPEG and WebP tiles; default: 85.")
    ] = None,
    page: Annotated[
        int | None, typer.Option(min=0, help="Page of a multi-page source, counted from 0. Default: the main picture.")
    ] = None,
    pages: Annotated[
        Pages | None, typer.Option(help="all: show each page of a multi-page source, one after another.")
    ] = None,
    damage: Annotated[
        Damage | None,
        typer.Option(help="Of a damaged image, refuse all (the default), or accept and show what can be decoded."),
    ] = None,
    stretch: Annotated[
        str | None,
        typer.Option(
            help="How samples of more than 8 bits are shown: auto (the default), none, range, percentile, asinh; "
            'with figures as "percentile:1,99" or "range:0,4095".'
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help='Channels of a stack to compose, at most three: numbers from 0, or names, as "DAPI,GFP" or "0,2". '
            "Default: the first three."
        ),
    ] = None,
    member: Annotated[str | None, typer.Option(help="Name of the image in a ZIP archive that has several.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Expected SHA-256 of the source, in hex.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Your own id of the image. No two datasets have the same.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Your own word to filter by. Repeatable.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Your own key and text. Repeatable.")
    ] = None,
    rights: Annotated[str | None, typer.Option(help="Terms of use that viewers show: a text, or a URL.")] = None,
    attribution: Annotated[str | None, typer.Option(help="Whom viewers name: a text, or a URL.")] = None,
    pixel_size: Annotated[
        str | None,
        typer.Option(help='How large a pixel is, as "0.25 µm" or "21 x 42 µm", if the file does not say it.'),
    ] = None,
    georeference: Annotated[
        str | None,
        typer.Option(
            help='Where the image lies, as "EPSG:3857 a b c d e f", or control points as "x y longitude latitude; …".'
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeating the command with the same key creates no second dataset.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show the progress until the dataset is ready or failed.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Submit an image for tiling.

    \b
    Examples:
      tilewright submit https://example.org/scan.tif --name "Scan 7"
      tilewright submit https://example.org/scan.tif --name "Scan 7" --wait
      id=$(tilewright submit https://example.org/scan.tif --name "Scan 7" --quiet)

    Prints the id of the new dataset, or, with --wait, its addresses when it is ready. Ctrl-C stops the waiting,
    not the work.
    """
    with _connect(server) as client:
        answer = client.submit(
            url,
            name,
            key=idempotency_key,
            description=description,
            category=category,
            subject=subject,
            tile_size=tile_size,
            format=tile_format,
            quality=quality,
            page=page,
            pages=pages,
            damage=damage,
            member=member,
            stretch=stretch,
            channels=channels,
            sha256=sha256,
            reference=reference,
            tags=tag,
            metadata=key_values(metadata, "--metadata"),
            rights=as_statement(rights),
            attribution=as_statement(attribution),
            pixel_size=pixel_size,
            georeference=georeference,
        )
        if wait:
            _wait(client, answer["dataset_id"], as_json=as_json, quiet=quiet)
            return
        if as_json:
            print_json(answer)
            return
        print_line(answer["dataset_id"])
        if not quiet:
            note(f"Follow it:  tilewright watch {answer['dataset_id']}")
            note(f"Look at it: {view_url(answer['dataset_id'], client.server)}")


app.command()(inspection.inspect)


@app.command()
def status(dataset_id: DatasetId, as_json: AsJson = False, server: Server = DEFAULT_SERVER) -> None:
    """Show a dataset's status. Exits with 1 if it failed.

    \b
    Examples:
      tilewright status custom_a1b2c3d4
      tilewright status custom_a1b2c3d4 --json | jq .percent
    """
    with _connect(server) as client:
        now = client.status(dataset_id)
        if as_json:
            print_json(now)
        else:
            print_status(dataset_id, now, client.server)
        _end_with(dataset_id, now)


@app.command()
def watch(
    dataset_id: DatasetId, as_json: AsJson = False, quiet: Quiet = False, server: Server = DEFAULT_SERVER
) -> None:
    """Follow a dataset until it ends. Exits with 1 if it failed.

    \b
    Examples:
      tilewright watch custom_a1b2c3d4
      tilewright watch custom_a1b2c3d4 --json      one status per line, the last one final

    Ctrl-C stops the watching, not the work.
    """
    with _connect(server) as client:
        if not as_json:
            _wait(client, dataset_id, as_json=False, quiet=quiet)
            return
        last: dict[str, Any] = {}
        for last in client.watch(dataset_id):
            print_json(last)
        _end_with(dataset_id, last)


@app.command("list")
def list_datasets(
    *,
    status: Annotated[StatusFilter | None, typer.Option(help="Only datasets with this status.")] = None,
    category: Annotated[str | None, typer.Option(help="Only datasets of this category.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only datasets of this subject.")] = None,
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="Only datasets whose name or description contains this.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Only datasets submitted with exactly this URL.")] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Only datasets whose downloaded source has this SHA-256, in hex.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Only the dataset with this reference.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only datasets with this tag. Repeatable.")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only datasets whose metadata has this value. Repeatable."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Maximum number of datasets.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="List all datasets, however many.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """List the datasets, newest first.

    \b
    Examples:
      tilewright list
      tilewright list --status failed --all
      tilewright list -q earth --json | jq -r .dataset_id
      tilewright list --url https://example.org/scan.tif

    Prints a table on a terminal, and tab-separated rows without a header in a pipe. With --json,
    prints one dataset per line.
    """
    filters: dict[str, Any] = {
        "status": status.value if status else None,
        "category": category,
        "subject": subject,
        "q": query,
        "url": url,
        "sha256": sha256,
        "reference": reference,
        "tag": tag or None,
        **{f"metadata.{key}": value for key, value in (key_values(metadata, "--metadata") or {}).items()},
    }
    with _connect(server) as client:
        if everything:
            datasets, more = client.datasets(**filters, limit=200), False
        else:
            page = client.page(**filters, limit=limit)
            datasets, more = iter(page["datasets"]), page["next_cursor"] is not None
        if as_json:
            for dataset in datasets:
                print_json(dataset)
        elif not print_datasets(datasets) and not quiet:
            note("There are no such datasets." if any(filters.values()) else "There are no datasets yet.")
        if more and not quiet:
            note("There are more: use --all, or a higher --limit.")
        is_ready = filters.pop("status") in (None, "ready")
        if any(filters.values()) and is_ready and not (as_json or quiet):
            note(f"As a IIIF collection: {client.collection_url(**filters)}")


@app.command()
def cancel(dataset_id: DatasetId, as_json: AsJson = False, server: Server = DEFAULT_SERVER) -> None:
    """Cancel a dataset. `retry` starts it again.

    \b
    Example:
      tilewright cancel custom_a1b2c3d4
    """
    with _connect(server) as client:
        answer = client.cancel(dataset_id)
        if as_json:
            print_json(answer)
        else:
            print_line(f"{dataset_id} is cancelled")


@app.command()
def retry(
    dataset_id: DatasetId,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="New URL of the same file, for a link that has expired.")
    ] = None,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Retry a failed or cancelled dataset. A stored source is not downloaded again.

    \b
    Examples:
      tilewright retry custom_a1b2c3d4 && tilewright watch custom_a1b2c3d4
      tilewright retry custom_a1b2c3d4 --url "https://example.org/scan.tif?token=new"

    With --url, an interrupted download goes on where it stopped if both URLs lead to the same file.
    """
    with _connect(server) as client:
        answer = client.retry(dataset_id, url)
        if as_json:
            print_json(answer)
        else:
            print_line(f"{dataset_id} is waiting for a worker again")


app.command()(refreshing.refresh)
app.command()(refreshing.versions)


@app.command()
def delete(dataset_id: DatasetId, server: Server = DEFAULT_SERVER) -> None:
    """Delete a dataset in any state.

    \b
    Example:
      tilewright delete custom_a1b2c3d4
    """
    with _connect(server) as client:
        client.delete(dataset_id)
        print_line(f"{dataset_id} is deleted")


app.command()(stored.export)
app.command()(stored.verify)


@app.command()
def doctor(
    data: Annotated[Path, typer.Option(file_okay=False, help="The data directory to check.")] = Path("tilewright-data"),
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Check that everything needed is installed. Exits with 1 if something is wrong.

    \b
    Examples:
      tilewright doctor
      tilewright doctor --data /srv/tilewright --json
    """
    from tilewright.commands.doctor import examine, print_report

    checks = examine(data, server)
    if as_json:
        print_json({"ok": all(check.ok for check in checks), "checks": [check.as_json() for check in checks]})
    else:
        print_report(checks)
    if not all(check.ok for check in checks):
        raise typer.Exit(FAILED)


def _wait(client: Client, dataset_id: str, *, as_json: bool, quiet: bool) -> None:
    try:
        last = follow(client.watch(dataset_id), make_display(quiet=quiet))
    except KeyboardInterrupt:
        if not quiet:
            note(f"The work continues. Follow it: tilewright watch {dataset_id}")
        raise
    if as_json:
        print_json(client.get(dataset_id))
    elif last["status"] == "ready":
        print_result(client.get(dataset_id), client.server)
    _end_with(dataset_id, last)


def _end_with(dataset_id: str, status: dict[str, Any]) -> None:
    if status["status"] == "failed":
        note(failure_of(dataset_id, status))
        raise typer.Exit(FAILED)
