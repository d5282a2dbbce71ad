"""Rows and live progress as messages of the proto. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from pipeline.errors import MOST_WARNING
from pipeline.pyramids import Geometry, version_of
from pipeline.sources import check_url
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db import HOST, CatalogueEntry, DatasetRow, Failure, PyramidRow, RefreshEnd, changes, shown_id
from statussvc.enums import CHANGE_VALUES, STATE_VALUES, TILE_FORMAT_VALUES
from statussvc.leases import STAGE_SPAN, Lease
from statussvc.lifecycle import FINAL, WORKING, Stage, State
from statussvc.rpc import places

SETTLED_PERCENT = {
    State.QUEUED: 0.0,
    State.DOWNLOADING: STAGE_SPAN[Stage.INGEST][0],
    State.DOWNLOADED: STAGE_SPAN[Stage.TILER][0],
    State.TILING: STAGE_SPAN[Stage.TILER][0],
    State.READY: 100.0,
}
"""Percent of the whole job where no run reports progress."""

MAX_CHANGES = 1 << 32
"""A status's revision is the row's revision times this, plus the number of its run's live changes."""

REFRESH_CHANGES = 1 << 20
"""A refresh counts as this many live changes of its owner for each change of its own row."""


def _stretch(used: list[str | float] | None) -> pb.Stretch | None:
    if used is None:
        return None
    rule, low, high = used
    return pb.Stretch(rule=str(rule), low=float(low), high=float(high))


def _channels(used: list[list[str | float]] | None) -> list[pb.Channel]:
    return [
        pb.Channel(number=int(number), name=str(name), colour=str(colour), stretch=_stretch(how))
        for number, name, colour, *how in used or ()
    ]


def timestamp(seconds: float | None) -> Timestamp | None:
    """Seconds since the epoch as a Timestamp, to the microsecond."""
    if seconds is None:
        return None
    micros = round(seconds * 1_000_000)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def inspection(row: DatasetRow) -> pb.Inspection:
    """An inspection."""
    message = pb.Inspection(
        inspection_id=row.dataset_id,
        url=row.url,
        state=STATE_VALUES[row.state],
        attempt=row.attempt,
        create_time=timestamp(row.created_at),
        finish_time=timestamp(row.finished_at),
    )
    if row.failure is not None:
        message.failure.CopyFrom(_failure(row.failure))
    if row.report is not None:
        json_format.Parse(row.report, message.report)
    return message


def _failure(failure: Failure) -> pb.Failure:
    return pb.Failure(code=failure.code, message=failure.message, retryable=failure.retryable)


def pyramid(row: PyramidRow) -> pb.Pyramid:
    """A pyramid."""
    message = pb.Pyramid(
        tile_id=row.tile_id,
        build=row.build,
        width=row.width,
        height=row.height,
        tile_size=row.tile_size,
        format=TILE_FORMAT_VALUES[row.format],
        max_zoom=Geometry(row.width, row.height, row.tile_size).max_zoom,
        tile_count=row.tile_count,
        bytes=row.bytes,
        stretch=_stretch(row.stretch),
        channels=_channels(row.channels),
    )
    return json_format.Parse(row.more, message) if row.more else message


def shown_pyramid(row: DatasetRow, built: PyramidRow) -> pb.Pyramid:
    """A dataset's pyramid. What the client says of the image counts instead of what the source says."""
    message, said = pyramid(built), row.own_texts
    if said.HasField("pixel_size"):
        message.pixel_size.CopyFrom(said.pixel_size)
    if said.HasField("georeference"):
        message.georeference.CopyFrom(places.shown(said.georeference, built.width, built.height))
    if row.source_sha256 is not None:
        message.version = version_of(built.first_page or built.tile_id, row.source_sha256, row.options)
    return message


def change_pages(found: changes.Pages) -> pb.ListChangesResponse:
    """A page of changes, and where the others are."""
    return pb.ListChangesResponse(
        changes=[
            pb.Change(
                type=CHANGE_VALUES[row.change],
                dataset_id=row.dataset_id,
                start_time=timestamp(row.began_at),
                end_time=timestamp(row.ended_at),
            )
            for row in found.changes
        ],
        first_page=found.first,
        last_page=found.last,
        previous_page=found.previous,
        next_page=found.next,
    )


def resolved(entry: CatalogueEntry | None) -> pb.ResolveDatasetResponse:
    """What a dataset's permanent addresses show; None stands for a dataset that was deleted."""
    if entry is None:
        return pb.ResolveDatasetResponse(deleted=True)
    row = entry.row
    message = pb.ResolveDatasetResponse(state=STATE_VALUES[row.state])
    if row.state is State.READY and entry.pyramid is not None:
        message.pyramid.CopyFrom(shown_pyramid(row, entry.pyramid))
    if row.state is State.FAILED and row.failure is not None:
        message.failure.CopyFrom(_failure(row.failure))
    return message


def status(entry: CatalogueEntry, lease: Lease | None, refresh_lease: Lease | None = None) -> pb.DatasetStatus:
    """A dataset's status.

    Parameters
    ----------
    lease: of the run at work on it, if there is one.
    refresh_lease: of the run at work on its refresh, if there is one.
    """
    message, row = _status(entry, lease), entry.row
    if entry.refresh is not None:
        at_work = _status(CatalogueEntry(entry.refresh, None), refresh_lease)
        at_work.dataset_id = row.dataset_id
        changes = entry.refresh.revision * REFRESH_CHANGES + (refresh_lease.changes if refresh_lease else 0)
        message.revision += min(changes, MAX_CHANGES // 2)
        message.refresh.CopyFrom(pb.Refresh(status=at_work, request_time=timestamp(entry.refresh.created_at)))
    elif row.refreshed is not None:
        message.refresh.CopyFrom(_ended(row.refreshed))
        if row.state is State.READY and row.refreshed.code not in ("", "cancelled"):
            message.warnings.append(_not_refreshed(row.refreshed))
    return message


def _status(entry: CatalogueEntry, lease: Lease | None) -> pb.DatasetStatus:
    row, state = entry.row, entry.row.state
    message = pb.DatasetStatus(
        dataset_id=row.dataset_id,
        state=STATE_VALUES[state],
        attempt=row.attempt,
        revision=row.revision * MAX_CHANGES + (lease.changes if lease else 0),
        queue_time=timestamp(row.queued_at),
        start_time=timestamp(row.started_at),
        finish_time=timestamp(row.finished_at),
        retry_time=timestamp(row.not_before) if row.error_code and state not in FINAL else None,
        # Not of one that is ready, whose source may be removed without another revision.
        downloaded_by=(row.downloaded_by or "") if state in (State.DOWNLOADED, State.TILING) else "",
    )
    failure, source, preview, rewritten = row.failure, row.facts.source, row.facts.preview, row.facts.rewritten
    if failure is not None:
        message.failure.CopyFrom(_failure(failure))
    if source is not None:
        message.source.CopyFrom(
            pb.SourceInfo(format=source.format, width=source.width, height=source.height, pages=source.pages)
        )
    if preview is not None:
        message.preview.CopyFrom(pb.Preview(key=preview.key, width=preview.width, height=preview.height))
    if row.held_by is not None:
        message.hold.CopyFrom(_hold(row, row.held_by))
    if rewritten is not None:
        message.rewritten.CopyFrom(pb.Rewritten(rule=rewritten.rule, url=rewritten.url, note=rewritten.note))
    if state in WORKING:
        message.progress.SetInParent()  # present also before the run has a lease
    if lease:
        _show_live(lease, message)
    elif state in SETTLED_PERCENT:
        message.percent = SETTLED_PERCENT[state]
    if row.source_bytes is not None and state not in (State.QUEUED, State.DOWNLOADING):
        message.progress.bytes_downloaded = message.progress.bytes_total = row.source_bytes
    if state is State.READY:
        _show_pyramids(entry, message)
    return message


def _show_pyramids(entry: CatalogueEntry, message: pb.DatasetStatus) -> None:
    row, first = entry.row, entry.pyramid
    if first is None:
        raise LookupError(f"{row.dataset_id} is ready without a pyramid")
    message.progress.tiles_done = message.progress.tiles_total = first.tile_count
    message.pyramid.CopyFrom(shown_pyramid(row, first))
    message.warnings.extend(pb.Warning(code=code, message=text) for code, text in first.warnings)
    if first.pages and len(entry.further) == first.pages - 1:
        message.pages.add(number=first.page or 0, pyramid=message.pyramid)
        for page in entry.further:
            message.pages.add(number=page.page or 0, pyramid=shown_pyramid(row, page))
        message.progress.tiles_done = sum(page.pyramid.tile_count for page in message.pages)
        message.progress.tiles_total = message.progress.tiles_done


def _ended(end: RefreshEnd) -> pb.Refresh:
    message = pb.Refresh(
        request_time=timestamp(end.requested_at), finish_time=timestamp(end.finished_at), changed=end.changed
    )
    if end.code:
        message.failure.CopyFrom(pb.Failure(code=end.code, message=end.message, retryable=True))
    return message


def _not_refreshed(end: RefreshEnd) -> pb.Warning:
    made_of = "The tiles were made again, of the file fetched before." if end.changed else "The image stays as it was."
    when = datetime.fromtimestamp(end.finished_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    text = f"The refresh of {when} could not use the source. {made_of} The reason: {end.message}"
    return pb.Warning(code="refresh_failed", message=text[:MOST_WARNING])


def _hold(row: DatasetRow, held_by: str) -> pb.Hold:
    if not held_by.startswith(HOST):
        return pb.Hold(dataset_id=shown_id(held_by))
    host = check_url(row.url).host
    if row.held_places is None:
        return pb.Hold(host=host, until=timestamp(row.not_before))
    return pb.Hold(host=host, connections=row.held_places)


def _show_live(lease: Lease, message: pb.DatasetStatus) -> None:
    message.progress.CopyFrom(lease.progress)
    if lease.stage_percent is not None:
        message.progress.stage_percent = lease.stage_percent
    percent = lease.percent()
    if percent is not None:
        message.percent = percent
    if lease.eta is not None:
        message.eta_seconds = lease.eta
    if lease.pace.per_second is not None:
        message.bytes_per_second = lease.pace.per_second


def dataset(entry: CatalogueEntry, lease: Lease | None, refresh_lease: Lease | None = None) -> pb.Dataset:
    """A dataset with its status. Parameters as of `status`."""
    row = entry.row
    message = pb.Dataset(
        dataset_id=row.dataset_id,
        name=row.name,
        description=row.description,
        category=row.category,
        subject=row.subject,
        url=row.url,
        options=row.options,
        create_time=timestamp(row.created_at),
        status=status(entry, lease, refresh_lease),
        reference=row.reference or "",
    )
    message.MergeFrom(row.own_texts)
    return message
