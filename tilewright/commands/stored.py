"""The commands about stored pyramids: `export` and `verify`."""

# ruff: noqa: PLC0415  what takes long to import is imported by the command that uses it
from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tilewright.commands.arguments import DEFAULT_SERVER, FAILED, AsJson, DatasetId, Quiet, Server, connect
from tilewright.commands.layout import Layout
from tilewright.output import print_json, print_line

TILE_ID = re.compile("[0-9a-f]{64}")


def export(
    dataset_id: DatasetId,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the files; created if missing.")],
    *,
    layout: Annotated[Layout, typer.Option("--as", help="Layout of the exported tiles.")] = Layout.DZI,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    url: Annotated[str, typer.Option("--url", help="Where the folder will be found: for xyz's TileJSON.")] = "",
    quiet: Quiet = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Unpack a dataset's tiles into files, for a host that only hands out files.

    \b
    Examples:
      tilewright export custom_a1b2c3d4 site/earth                  for OpenSeadragon
      tilewright export custom_a1b2c3d4 site/earth --as xyz         for Leaflet and other maps
      tilewright export custom_a1b2c3d4 . --as szi --force          one file, a zip

    Works from any server, by HTTP: the tiles come as one download, are checked and unpacked one by one, and move into
    place at the end. For dzi and xyz the disk needs room for them twice meanwhile. docs/viewers.md has the pages to put
    beside them.
    """
    from tilewright.commands.export import export as export_pyramid
    from tilewright.gauge import gauge

    if url and layout is not Layout.XYZ:
        raise typer.BadParameter(f"only xyz's TileJSON names addresses, and {layout} was asked for", param_hint="--url")
    with connect(server) as client, gauge(quiet=quiet) as progress:
        entrance = export_pyramid(client, dataset_id, folder, layout, progress, force=force, url=url)
    print_line(str(entrance))


def verify(
    pyramid: Annotated[
        str | None, typer.Argument(metavar="ID", help="A dataset's id, or a tile_id, which needs no server.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All stored pyramids.")] = False,
    storage: Annotated[
        Path, typer.Option(envvar="TILEWRIGHT_STORAGE", file_okay=False, help="The storage to read.")
    ] = Path("tilewright-data/storage"),
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="The data directory of `tilewright up`, which has the storage.")
    ] = None,
    source: Annotated[
        bool, typer.Option("--source", help="Also decode the original again, and compare the tiles with it.")
    ] = False,
    all_tiles: Annotated[
        bool, typer.Option("--all-tiles", help="Compare every tile of the finest level, not a thousand.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Read stored tiles back and check every byte of them. Ends with 1 where something is wrong.

    \b
    Examples:
      tilewright verify custom_a1b2c3d4
      tilewright verify --all --storage /srv/tilewright/storage
      tilewright verify --source --all        was any of them ever tiled wrongly?

    Reads the storage itself, where that is a directory: it changes nothing, and may run beside a server. What is
    damaged is made anew by deleting the dataset and submitting it again. From afar, `export` checks each tile.

    With --source the whole original is decoded in the sandbox, which takes about as long as tiling it. What is found
    then should not be ready: submit its URL again, and it is tiled anew, or fails with its reason. An original that is
    no longer stored is told of, and ends with 1 where it was asked for by its ID.
    """
    from tilewright.commands.originals import Originals, compare_build
    from tilewright.commands.verify import builds, print_report
    from tilewright.commands.verify import verify as verify_build
    from tilewright.gauge import gauge

    if (pyramid is None) == (not everything):
        raise typer.BadParameter("give the ID of one, or --all", param_hint="ID")
    if all_tiles and not source:
        raise typer.BadParameter("only --source compares tiles", param_hint="--all-tiles")
    storage = data / "storage" if data else storage
    originals = Originals(storage, pyramid if pyramid and not TILE_ID.fullmatch(pyramid) else "")
    with gauge(quiet=quiet) as progress:
        reports = []
        for build in builds(storage, _tile_id(pyramid, server)):
            reports.append(report := verify_build(build, progress))
            if source:
                compare_build(build, originals, report, progress, all_tiles=all_tiles)
    for report in reports:
        if as_json:
            print_json(report.as_json())
        else:
            print_report(report)
    if any(report.total or (report.original_is_gone and not everything) for report in reports):
        raise typer.Exit(FAILED)


def _tile_id(pyramid: str | None, server: str) -> str | None:
    if pyramid is None or TILE_ID.fullmatch(pyramid):
        return pyramid
    from tilewright.commands.export import Pyramid

    with connect(server) as client:
        return Pyramid(client.get(pyramid)).tile_id
