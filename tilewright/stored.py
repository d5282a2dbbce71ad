"""The commands about stored pyramids: `export` and `verify`."""

# ruff: noqa: PLC0415  what takes long to import is imported by the command that uses it
from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tilewright.arguments import DEFAULT_SERVER, FAILED, AsJson, DatasetId, Quiet, Server, connect
from tilewright.layout import Layout
from tilewright.output import print_json, print_line


def export(
    dataset_id: DatasetId,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the files; made where it is missing.")],
    *,
    layout: Annotated[Layout, typer.Option("--as", help="How to lay the tiles out.")] = Layout.DZI,
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
    from tilewright.export import export as export_pyramid
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
    as_json: AsJson = False,
    quiet: Quiet = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Read stored tiles back and check every byte of them. Ends with 1 where something is wrong.

    \b
    Examples:
      tilewright verify custom_a1b2c3d4
      tilewright verify --all --storage /srv/tilewright/storage

    Reads the storage itself, where that is a directory: it changes nothing, and may run beside a server. What is
    damaged is made anew by deleting the dataset and submitting it again. From afar, `export` checks each tile.
    """
    from tilewright.gauge import gauge
    from tilewright.verify import builds, print_report
    from tilewright.verify import verify as verify_build

    if (pyramid is None) == (not everything):
        raise typer.BadParameter("give the ID of one, or --all", param_hint="ID")
    storage = data / "storage" if data else storage
    with gauge(quiet=quiet) as progress:
        reports = [verify_build(build, progress) for build in builds(storage, _tile_id(pyramid, server))]
    for report in reports:
        if as_json:
            print_json(report.as_json())
        else:
            print_report(report)
    if any(report.total for report in reports):
        raise typer.Exit(FAILED)


def _tile_id(pyramid: str | None, server: str) -> str | None:
    if pyramid is None or re.fullmatch("[0-9a-f]{64}", pyramid):
        return pyramid
    from tilewright.export import Pyramid

    with connect(server) as client:
        return Pyramid(client.get(pyramid)).tile_id
