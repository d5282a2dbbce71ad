"""The user's contract: what statussvc says, as the JSON that users get. Pure.

`status` and `progress` are what clients written years ago branch on; `state` beside them is the row's own.
Fields that are absent from a model's construction are absent from the JSON; unknown values are null.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.api import schemas
from gateway.http.problem_schemas import State
from pipeline.logs import MASK
from protos.tilewright.status.v1 import status_pb2 as pb

DATASET_ID = r"custom_[0-9a-f]{8,64}"
"""The form of a dataset's id, as a pattern."""


class Words(NamedTuple):
    """What users read for a row's state."""

    state: State
    status: schemas.Status
    progress: schemas.Progress | None


WORDS: dict[pb.State.ValueType, Words] = {
    pb.STATE_QUEUED: Words("QUEUED", "queued", "queued"),
    pb.STATE_DOWNLOADING: Words("DOWNLOADING", "processing", "downloading"),
    pb.STATE_DOWNLOADED: Words("DOWNLOADED", "processing", "generating_tiles"),
    pb.STATE_TILING: Words("TILING", "processing", "generating_tiles"),
    pb.STATE_READY: Words("READY", "ready", "completed"),
    pb.STATE_FAILED: Words("FAILED", "failed", None),
    # A client that polls until `ready` or `failed` must come to an end.
    pb.STATE_CANCELLED: Words("CANCELLED", "failed", None),
}

UNKNOWN = Words("TILING", "processing", "generating_tiles")
"""Of what a newer statussvc says during an upgrade: whoever polls goes on polling, and is told of no end."""

EXTENSION: dict[pb.TileFormat.ValueType, schemas.Extension] = {
    pb.TILE_FORMAT_JPEG: "jpg",
    pb.TILE_FORMAT_PNG: "png",
    pb.TILE_FORMAT_WEBP: "webp",
}

TILE_FORMAT: dict[str | None, pb.TileFormat.ValueType] = {
    None: pb.TILE_FORMAT_UNSPECIFIED,
    "jpeg": pb.TILE_FORMAT_JPEG,
    "png": pb.TILE_FORMAT_PNG,
    "webp": pb.TILE_FORMAT_WEBP,
}
"""What a request may ask for."""

WAITING = frozenset({pb.STATE_QUEUED, pb.STATE_DOWNLOADED})
"""States in which no run is at work."""

FILTERS: dict[schemas.Status, tuple[pb.State.ValueType, ...]] = {
    "queued": (pb.STATE_QUEUED,),
    # The catalogue shows a queued dataset as `processing`, so it is found as such.
    "processing": (pb.STATE_QUEUED, pb.STATE_DOWNLOADING, pb.STATE_DOWNLOADED, pb.STATE_TILING),
    "ready": (pb.STATE_READY,),
    "failed": (pb.STATE_FAILED, pb.STATE_CANCELLED),
}
"""Values of the catalogue's `status` filter, and the states that each stands for."""

_CANCELLED = pb.Failure(code="cancelled", message="The dataset was cancelled on request.", retryable=True)


@dataclass(frozen=True, slots=True)
class Links:
    """Where things are found. Root-relative, so right behind any proxy, unless a base URL is given.

    Parameters
    ----------
    base: the public base URL without a slash at its end; empty for root-relative links.
    """

    base: str = ""

    def dataset(self, dataset_id: str) -> str:
        return f"{self.base}/api/datasets/{dataset_id}"

    def status(self, dataset_id: str) -> str:
        return f"{self.dataset(dataset_id)}/status"

    def preview(self, dataset_id: str) -> str:
        return f"{self.dataset(dataset_id)}/preview"

    def preview_thumbnail(self, dataset_id: str) -> str:
        return f"{self.preview(dataset_id)}?size=thumbnail"

    def view(self, dataset_id: str) -> str:
        return f"{self.base}/view/{dataset_id}"

    def dzi(self, pyramid: pb.Pyramid) -> str:
        return f"{self.base}/tiles/{pyramid.tile_id}.dzi"

    def xyz(self, pyramid: pb.Pyramid) -> str:
        """A template: {z}, {x} and {y} stand in it literally."""
        return f"{self.base}/tiles/{pyramid.tile_id}/{{z}}/{{x}}/{{y}}.{EXTENSION[pyramid.format]}"

    def thumbnail(self, pyramid: pb.Pyramid) -> str:
        return f"{self.base}/tiles/{pyramid.tile_id}/thumbnail.jpg"


def created(dataset: pb.Dataset, links: Links) -> schemas.Created:
    """The answer to a POST."""
    return schemas.Created(
        success=True,
        dataset_id=dataset.dataset_id,
        status="processing",
        message="Dataset created, processing tiles",
        status_url=links.status(dataset.dataset_id),
        view_url=links.view(dataset.dataset_id),
    )


def dataset(row: pb.Dataset, links: Links) -> schemas.Dataset:
    """A dataset, as the catalogue shows it."""
    words = _words(row.status)
    pyramid = row.status.pyramid if words.status == "ready" else None
    return schemas.Dataset(
        dataset_id=row.dataset_id,
        name=row.name,
        description=row.description,
        category=row.category,
        subject=row.subject,
        url=without_query(row.url),
        status="processing" if words.status == "queued" else words.status,
        progress=words.progress,
        state=words.state,
        created_at=timestamp(row.create_time),
        finished_at=timestamp(row.status.finish_time) if row.status.HasField("finish_time") else None,
        tile_urls=schemas.TileUrls(
            dzi=links.dzi(pyramid) if pyramid else None,
            xyz=links.xyz(pyramid) if pyramid else None,
            thumbnail=links.thumbnail(pyramid) if pyramid else None,
        ),
        tile_info=tile_info(pyramid, links) if pyramid else None,
        error=error(row.status) if words.status == "failed" else None,
    )


def status(row: pb.DatasetStatus, links: Links, now: float) -> schemas.Working | schemas.Ready | schemas.Failed:
    """Where a dataset stands.

    Parameters
    ----------
    now: the wall clock in seconds since the epoch; a waiting retry is counted down from it.
    """
    words = _words(row)
    if words.progress == "completed":
        return schemas.Ready(dataset_id=row.dataset_id, status="ready", tile_info=tile_info(row.pyramid, links))
    if words.progress is None:
        return schemas.Failed(dataset_id=row.dataset_id, status="failed", error=error(row))
    progress = row.progress
    working = schemas.Working(
        dataset_id=row.dataset_id,
        status="queued" if words.status == "queued" else "processing",
        progress=words.progress,
        message=message(row, now),
        percent=round(row.percent, 1) if row.HasField("percent") else None,
        stage_percent=round(progress.stage_percent, 1) if progress.HasField("stage_percent") else None,
        bytes_downloaded=progress.bytes_downloaded,
        bytes_total=progress.bytes_total if progress.HasField("bytes_total") else None,
        bytes_per_second=round(row.bytes_per_second, 1) if row.HasField("bytes_per_second") else None,
        tiles_done=progress.tiles_done,
        tiles_total=progress.tiles_total if progress.HasField("tiles_total") else None,
        eta_seconds=round(row.eta_seconds, 1) if row.HasField("eta_seconds") else None,
        attempt=row.attempt,
        state=words.state,
        queued_at=timestamp(row.queue_time),
        source=source(row.source) if row.HasField("source") else None,
        preview=links.preview(row.dataset_id) if row.HasField("preview") else None,
        preview_thumbnail=links.preview_thumbnail(row.dataset_id) if row.HasField("preview") else None,
    )
    if row.HasField("start_time"):
        working.started_at = timestamp(row.start_time)
    return working


def _words(row: pb.DatasetStatus) -> Words:
    is_shown = row.state != pb.STATE_READY or row.pyramid.format in EXTENSION
    return WORDS.get(row.state, UNKNOWN) if is_shown else UNKNOWN


def source(info: pb.SourceInfo) -> schemas.SourceInfo:
    """What the source's header says."""
    return schemas.SourceInfo(format=info.format, width=info.width, height=info.height, pages=info.pages or None)


def message(row: pb.DatasetStatus, now: float) -> str:
    """What is being done, in a sentence for a person."""
    if row.state in WAITING:
        seconds = retry_in(row, now)
        if seconds:
            return f"Retrying in {seconds} s: {row.failure.message}"
        return "Waiting for a worker…"
    progress = row.progress
    doing = "Downloading…" if row.state == pb.STATE_DOWNLOADING else "Generating tiles…"
    if progress.HasField("stage_percent"):
        # Rounded down: 100 % is said when all is done.
        return f"{doing} {math.floor(progress.stage_percent)} %"
    if row.state == pb.STATE_DOWNLOADING and progress.bytes_downloaded:
        return f"{doing} {progress.bytes_downloaded / 1e6:.1f} MB"
    return doing


def retry_in(row: pb.DatasetStatus, now: float) -> int:
    """Whole seconds until an automatic retry is due, rounded up; 0 where none is waiting for its time."""
    if row.state not in WAITING or not row.HasField("retry_time"):
        return 0
    return max(0, math.ceil(row.retry_time.seconds + row.retry_time.nanos / 1e9 - now))


def etag(row: pb.DatasetStatus, now: float) -> str:
    """A weak entity tag of the status: changes whenever its JSON does, `eta_seconds` aside."""
    seconds = retry_in(row, now)
    return f'W/"{row.revision}-{seconds}"' if seconds else f'W/"{row.revision}"'


def tile_info(pyramid: pb.Pyramid, links: Links) -> schemas.TileInfo:
    """What a viewer needs to know of a pyramid."""
    return schemas.TileInfo(
        tile_id=pyramid.tile_id,
        max_zoom=pyramid.max_zoom,
        status="completed",
        width=pyramid.width,
        height=pyramid.height,
        tile_size=pyramid.tile_size,
        format=EXTENSION[pyramid.format],
        dzi=links.dzi(pyramid),
        xyz=links.xyz(pyramid),
    )


def error(row: pb.DatasetStatus) -> schemas.Error:
    """Why a dataset ended without a pyramid."""
    failure = row.failure
    if not failure.code and row.state == pb.STATE_CANCELLED:
        failure = _CANCELLED
    return schemas.Error(code=failure.code, message=failure.message, retryable=failure.retryable)


def without_query(url: str) -> str:
    """Give a source's URL as it is shown: a query, which may be what lets its owner fetch it, is masked."""
    address, mark, _ = url.partition("?")
    return f"{address}?{MASK}" if mark else url


def timestamp(time: Timestamp) -> str:
    """RFC 3339 in UTC with milliseconds, such as 2024-05-01T12:00:00.000Z."""
    moment = datetime.fromtimestamp(time.seconds, UTC).replace(microsecond=time.nanos // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
