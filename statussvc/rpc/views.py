"""Rows and live progress to the proto's messages. Pure."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from pipeline.pyramids import Geometry
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.enums import STATE_VALUES, TILE_FORMAT_VALUES
from statussvc.leases import STAGE_SPAN, Lease
from statussvc.lifecycle import FINAL, WORKING, Stage, State

SETTLED_PERCENT = {
    State.QUEUED: 0.0,
    State.DOWNLOADING: STAGE_SPAN[Stage.INGEST][0],
    State.DOWNLOADED: STAGE_SPAN[Stage.TILER][0],
    State.TILING: STAGE_SPAN[Stage.TILER][0],
    State.READY: 100.0,
}
"""Percent of the whole job where no run tells of it."""

MAX_CHANGES = 1 << 32
"""A revision is the row's own, shifted left by 32 bits, plus the live changes of its run."""


def timestamp(seconds: float | None) -> Timestamp | None:
    """Seconds since the epoch as the proto's timestamp, to the microsecond."""
    if seconds is None:
        return None
    micros = round(seconds * 1_000_000)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def options(row: Any) -> pb.TileOptions:
    """What a dataset's row asks of its pyramid."""
    return pb.TileOptions(
        tile_size=row.tile_size,
        format=TILE_FORMAT_VALUES[row.tile_format],
        quality=row.tile_quality,
        page=row.page,
    )


def inspection(row: Any) -> pb.Inspection:
    """An inspection's row."""
    message = pb.Inspection(
        inspection_id=row.dataset_id,
        url=row.url,
        state=STATE_VALUES[row.state],
        attempt=row.attempt,
        create_time=timestamp(row.created_at),
        finish_time=timestamp(row.finished_at),
    )
    if row.error_code:
        message.failure.CopyFrom(_failure(row))
    if row.report is not None:
        json_format.Parse(row.report, message.report)
    return message


def _failure(row: Any) -> pb.Failure:
    return pb.Failure(code=row.error_code, message=row.error_message, retryable=row.error_retryable)


def pyramid(row: Any, *, tile_size: int, size: int) -> pb.Pyramid:
    """A row with a pyramid's columns."""
    return pb.Pyramid(
        tile_id=row.tile_id,
        build=row.build,
        width=row.width,
        height=row.height,
        tile_size=tile_size,
        format=TILE_FORMAT_VALUES[row.format],
        max_zoom=Geometry(row.width, row.height, tile_size).max_zoom,
        tile_count=row.tile_count,
        bytes=size,
    )


def status(row: Any, lease: Lease | None) -> pb.DatasetStatus:
    """A dataset's status.

    Parameters
    ----------
    row: of repository.catalogue.with_pyramid.
    lease: of the run at work on it, if there is one.
    """
    state = State(row.state)
    message = pb.DatasetStatus(
        dataset_id=row.dataset_id,
        state=STATE_VALUES[state],
        attempt=row.attempt,
        revision=row.revision * MAX_CHANGES + (lease.changes if lease else 0),
        queue_time=timestamp(row.queued_at),
        start_time=timestamp(row.started_at),
        finish_time=timestamp(row.finished_at),
        retry_time=timestamp(row.not_before) if row.error_code and state not in FINAL else None,
    )
    if row.error_code:
        message.failure.CopyFrom(_failure(row))
    if row.source_format is not None:
        message.source.CopyFrom(
            pb.SourceInfo(
                format=row.source_format, width=row.source_width, height=row.source_height, pages=row.source_pages
            )
        )
    if row.preview_key is not None:
        message.preview.CopyFrom(pb.Preview(key=row.preview_key, width=row.preview_width, height=row.preview_height))
    if state in WORKING:
        message.progress.SetInParent()  # shown alike before its lease is there
    if lease:
        _show_live(lease, message)
    elif state in SETTLED_PERCENT:
        message.percent = SETTLED_PERCENT[state]
    if row.source_bytes is not None and state not in (State.QUEUED, State.DOWNLOADING):
        message.progress.bytes_downloaded = message.progress.bytes_total = row.source_bytes
    if state is State.READY:
        message.progress.tiles_done = message.progress.tiles_total = row.tile_count
        message.pyramid.CopyFrom(pyramid(row, tile_size=row.pyramid_tile_size, size=row.pyramid_bytes))
    return message


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


def dataset(row: Any, lease: Lease | None) -> pb.Dataset:
    """A dataset as described, with its status. Parameters as of `status`."""
    return pb.Dataset(
        dataset_id=row.dataset_id,
        name=row.name,
        description=row.description,
        category=row.category,
        subject=row.subject,
        url=row.url,
        options=options(row),
        create_time=timestamp(row.created_at),
        status=status(row, lease),
    )
