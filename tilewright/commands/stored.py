"""The commands for stored pyramids: `export` and `verify`."""

# ruff: noqa: PLC0415  slow imports are done by the commands that need them
from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tilewright.commands.arguments import DEFAULT_SERVER, FAILED, AsJson, Quiet, Server, connect
from tilewright.commands.layout import ADDRESSED, SINGLE_FILES, Layout
from tilewright.output import print_json, print_line

TILE_ID = re.compile("[0-9a-f]{64}")


def export(
    dataset_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id of a dataset, or of a page of it (custom_a1b2c3d4-p3); with --storage or --data also a tile_id.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; created if missing.")],
    *,
    layout: Annotated[Layout, typer.Option("--as", help="Layout of the exported tiles.")] = Layout.DZI,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    page: Annotated[
        int | None, typer.Option(min=0, help="Page of a dataset of all pages, counted from 0. Default: each page.")
    ] = None,
    url: Annotated[
        str, typer.Option("--url", help="Public address of the folder: for the TileJSON of xyz, and needed for iiif.")
    ] = "",
    storage: Annotated[
        Path | None, typer.Option(file_okay=False, help="Read the tiles from the directory of a storage.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="The same, by the data directory of `tilewright up`.")
    ] = None,
    quiet: Quiet = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Export a dataset's tiles as files, for any web host.

    \b
    Examples:
      tilewright export custom_a1b2c3d4 site/earth --as site        a page, for any web host or a disk
      tilewright export custom_a1b2c3d4 site/earth                  for OpenSeadragon
      tilewright export custom_a1b2c3d4 site/earth --as xyz         for Leaflet and other map viewers
      tilewright export custom_a1b2c3d4 site/earth --as iiif --url https://example.org/earth
      tilewright export custom_a1b2c3d4 . --as pmtiles --force      one file; also mbtiles and szi
      tilewright export custom_a1b2c3d4-p3 site/page                one page of a dataset of all pages

    The tiles are copied as they are, never decoded. Each is checked by its checksum, written, and read again and
    compared. All files are moved into place at the end; an export that fails leaves nothing. docs/exports.md describes
    the layouts.

    A dataset that was submitted with --pages all is exported page by page: each into a folder of DIR, page-0, page-1
    and so on, or as one file with the page's id as its name. The file to open is printed for each.

    Works with any server, over HTTP, and downloads the tiles as one file, so the disk needs twice their size
    meanwhile. With --storage or --data nothing is downloaded, and a tile_id needs no server.
    """
    from tilewright.commands.export import Part, Pyramid, Served, Stored, export_parts
    from tilewright.commands.export import export as export_pyramid
    from tilewright.commands.exports.pages import Page, pages_of, split
    from tilewright.commands.verify import builds
    from tilewright.gauge import gauge

    if url and layout not in ADDRESSED:
        raise typer.BadParameter(f"it is only for --as xyz and iiif, not for {layout}", param_hint="--url")
    if layout is Layout.IIIF and not url.startswith(("http://", "https://")):
        raise typer.BadParameter("--as iiif needs the public http(s) address of the folder", param_hint="--url")
    storage = data / "storage" if data else storage
    if storage is None and TILE_ID.fullmatch(dataset_id):
        raise typer.BadParameter("a tile_id needs --storage or --data", param_hint="ID")
    dataset_id, named = split(dataset_id)
    if page is not None and (named is not None or TILE_ID.fullmatch(dataset_id)):
        raise typer.BadParameter("the ID names the page already", param_hint="--page")

    with connect(server) as client, gauge(quiet=quiet) as progress:

        def source_of(page: Page) -> Served | Stored:
            if storage is None:
                return Served(client, page.dataset)
            return Stored(builds(storage, Pyramid(page.dataset).tile_id)[-1], page.dataset)

        if storage is not None and TILE_ID.fullmatch(dataset_id):
            sources: list[Served | Stored] = [Stored(builds(storage, dataset_id)[-1], None)]
            pages = []
        else:
            pages = pages_of(client.get(dataset_id), named if page is None else page)
            sources = [source_of(page) for page in pages]
        if len(sources) == 1:
            entrances = [export_pyramid(sources[0], folder, layout, progress, force=force, url=url)]
        else:
            folders = ["" if layout in SINGLE_FILES else page.folder for page in pages]
            parts = [Part(*part) for part in zip(sources, folders, strict=True)]
            entrances = export_parts(parts, folder, layout, progress, force=force, url=url)
    for entrance in entrances:
        print_line(str(entrance))


def verify(
    pyramid: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="Id of a dataset or of a page of it, or a tile_id, which needs no server."),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Check all stored pyramids.")] = False,
    storage: Annotated[
        Path, typer.Option(envvar="TILEWRIGHT_STORAGE", file_okay=False, help="Directory of the storage.")
    ] = Path("tilewright-data/storage"),
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="Data directory of `tilewright up`, instead of --storage.")
    ] = None,
    source: Annotated[bool, typer.Option("--source", help="Also decode the original again and compare.")] = False,
    all_tiles: Annotated[
        bool, typer.Option("--all-tiles", help="With --source: compare every tile, not a thousand.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Check every byte of stored tiles. Exits with 1 if something is wrong.

    \b
    Examples:
      tilewright verify custom_a1b2c3d4       all pages, if the dataset has several
      tilewright verify custom_a1b2c3d4-p3    one page
      tilewright verify --all --storage /srv/tilewright/storage
      tilewright verify --source --all        find pyramids that were tiled wrongly

    Reads the storage's directory itself. Changes nothing, and may run beside a server. To repair a damaged pyramid,
    delete its dataset and submit it again. Without access to the directory, use `export`: it checks each tile.

    With --source, decodes the whole original in the sandbox, which takes about as long as tiling it. A pyramid that
    differs should not be ready: delete its dataset and submit it again, and it is tiled again or fails with a reason.
    Reports originals that are no longer stored, and exits with 1 if that is the case for the given ID.
    """
    from tilewright.commands.exports.pages import split
    from tilewright.commands.originals import Originals, compare_build
    from tilewright.commands.verify import builds, print_report
    from tilewright.commands.verify import verify as verify_build
    from tilewright.gauge import gauge

    if (pyramid is None) == (not everything):
        raise typer.BadParameter("give an ID or --all, not both", param_hint="ID")
    if all_tiles and not source:
        raise typer.BadParameter("it needs --source", param_hint="--all-tiles")
    storage = data / "storage" if data else storage
    originals = Originals(storage, split(pyramid)[0] if pyramid and not TILE_ID.fullmatch(pyramid) else "")
    with gauge(quiet=quiet) as progress:
        reports = []
        for build in [build for tile_id in _tile_ids(pyramid, server) for build in builds(storage, tile_id)]:
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


def _tile_ids(pyramid: str | None, server: str) -> list[str] | list[None]:
    """Return the tile_ids of all pages that an ID names; None stands for every stored pyramid."""
    if pyramid is None:
        return [None]
    if TILE_ID.fullmatch(pyramid):
        return [pyramid]
    from tilewright.commands.export import Pyramid
    from tilewright.commands.exports.pages import pages_of, split

    dataset_id, number = split(pyramid)
    with connect(server) as client:
        return [Pyramid(page.dataset).tile_id for page in pages_of(client.get(dataset_id), number)]
