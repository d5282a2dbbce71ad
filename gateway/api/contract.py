"""Convert statussvc's messages to the JSON of the REST API. Pure functions, without I/O.

Existing clients branch on `status` and `progress`, so their values never change. `state` is the state in the database.
A field that is not passed to a model is left out of the JSON. A value that is not known is null.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.api import own_text_schemas, refresh_schemas, schemas
from gateway.http import State
from pipeline.logs import MASK
from pipeline.pixel_size import METRES
from pipeline.texts import amount
from pipeline.tile_formats import FORMATS
from protos.tilewright.status.v1 import status_pb2 as pb


class Shown(NamedTuple):
    """What the API shows for a state in the database."""

    state: State
    status: schemas.Status
    progress: schemas.Progress | None


SHOWN: dict[pb.State.ValueType, Shown] = {
    pb.STATE_QUEUED: Shown("QUEUED", "queued", "queued"),
    pb.STATE_DOWNLOADING: Shown("DOWNLOADING", "processing", "downloading"),
    pb.STATE_DOWNLOADED: Shown("DOWNLOADED", "processing", "generating_tiles"),
    pb.STATE_TILING: Shown("TILING", "processing", "generating_tiles"),
    pb.STATE_READY: Shown("READY", "ready", "completed"),
    pb.STATE_FAILED: Shown("FAILED", "failed", None),
    # `failed`, because a client that polls until `ready` or `failed` has to stop.
    pb.STATE_CANCELLED: Shown("CANCELLED", "failed", None),
}

UNKNOWN = Shown("TILING", "processing", "generating_tiles")
"""Shown for a state that only a newer statussvc knows, as during an upgrade: clients go on polling."""

EXTENSION: dict[pb.TileFormat.ValueType, schemas.Extension] = {
    number: tile_format.value for number, tile_format in FORMATS.items()
}

TILE_FORMAT: dict[str | None, pb.TileFormat.ValueType] = {
    None: pb.TILE_FORMAT_UNSPECIFIED,
    **{tile_format.name.lower(): number for number, tile_format in FORMATS.items()},
}
"""Tile formats that a request may name."""

DAMAGE: dict[str | None, pb.Damage.ValueType] = {
    None: pb.DAMAGE_UNSPECIFIED,
    "refuse": pb.DAMAGE_UNSPECIFIED,
    "accept": pb.DAMAGE_ACCEPT,
}

WORK: dict[schemas.Progress | None, refresh_schemas.RefreshState] = {
    "queued": "queued",
    "downloading": "downloading",
    "generating_tiles": "generating_tiles",
}
"""What a refresh at work shows for its own progress."""

WAITING = frozenset({pb.STATE_QUEUED, pb.STATE_DOWNLOADED})
"""States in which a dataset waits for a worker."""

FILTERS: dict[schemas.Status, tuple[pb.State.ValueType, ...]] = {
    "queued": (pb.STATE_QUEUED,),
    # The catalogue shows a queued dataset as `processing`, so this filter has to find it.
    "processing": (pb.STATE_QUEUED, pb.STATE_DOWNLOADING, pb.STATE_DOWNLOADED, pb.STATE_TILING),
    "ready": (pb.STATE_READY,),
    "failed": (pb.STATE_FAILED, pb.STATE_CANCELLED),
}
"""States that match each value of the catalogue's `status` filter."""

LONGEST_COUNTDOWN = 600
"""Seconds. A retry that is further away is announced by its time."""

_CANCELLED = pb.Failure(code="cancelled", message="The dataset was cancelled on request.", retryable=True)


@dataclass(frozen=True, slots=True)
class Links:
    """Builds the URLs in responses. Without a base URL they are relative to the root, so they work behind any proxy.

    Parameters
    ----------
    base: the public base URL without a trailing slash; empty for URLs relative to the root.
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

    def permanent(self, dataset_id: str) -> schemas.Urls:
        """Return the URLs that a dataset has from the beginning and keeps."""
        tiles, iiif = f"{self.base}/tiles/{dataset_id}", f"{self.base}/iiif/{dataset_id}"
        return schemas.Urls(
            dzi=f"{tiles}.dzi",
            xyz=f"{tiles}/{{z}}/{{x}}/{{y}}",
            tilejson=f"{tiles}/tilejson.json",
            iiif=f"{iiif}/info.json",
            manifest=f"{iiif}/manifest.json",
            thumbnail=f"{tiles}/thumbnail.jpg",
            szi=f"{tiles}.szi",
            view=self.view(dataset_id),
            embed=f"{self.base}/embed/{dataset_id}",
        )

    def georeference(self, dataset_id: str) -> str:
        return f"{self.base}/iiif/{dataset_id}/georeference.json"

    def page(self, dataset_id: str, page: int | None) -> str:
        """Return the permanent URL of a page's info.json; None stands for the first page."""
        name = dataset_id if page is None else f"{dataset_id}-p{page}"
        return f"{self.base}/iiif/{name}/info.json"

    def dzi(self, pyramid: pb.Pyramid) -> str:
        return f"{self.base}/tiles/{pyramid.tile_id}.dzi"

    def xyz(self, pyramid: pb.Pyramid) -> str:
        """Return a URL template that contains {z}, {x} and {y} literally."""
        return f"{self.base}/tiles/{pyramid.tile_id}/{{z}}/{{x}}/{{y}}.{EXTENSION[pyramid.format]}"

    def thumbnail(self, pyramid: pb.Pyramid) -> str:
        return f"{self.base}/tiles/{pyramid.tile_id}/thumbnail.jpg"


def created(dataset: pb.Dataset, links: Links) -> schemas.Created:
    """Return the response to a POST."""
    return schemas.Created(
        success=True,
        dataset_id=dataset.dataset_id,
        status="processing",
        message="Dataset created, processing tiles",
        status_url=links.status(dataset.dataset_id),
        view_url=links.view(dataset.dataset_id),
        urls=links.permanent(dataset.dataset_id),
    )


def dataset(row: pb.Dataset, links: Links) -> schemas.Dataset:
    """Return a dataset as the catalogue shows it."""
    shown = _shown(row.status)
    pyramid = row.status.pyramid if shown.status == "ready" else None
    found = schemas.Dataset(
        dataset_id=row.dataset_id,
        name=row.name,
        description=row.description,
        category=row.category,
        subject=row.subject,
        url=without_query(row.url),
        reference=row.reference,
        tags=list(row.tags),
        metadata={entry.key: entry.value for entry in row.metadata},
        rights=statement(row.rights) if row.HasField("rights") else None,
        attribution=statement(row.attribution) if row.HasField("attribution") else None,
        status="processing" if shown.status == "queued" else shown.status,
        progress=shown.progress,
        state=shown.state,
        created_at=timestamp(row.create_time),
        finished_at=timestamp(row.status.finish_time) if row.status.HasField("finish_time") else None,
        tile_urls=schemas.TileUrls(
            dzi=links.dzi(pyramid) if pyramid else None,
            xyz=links.xyz(pyramid) if pyramid else None,
            thumbnail=links.thumbnail(pyramid) if pyramid else None,
        ),
        urls=links.permanent(row.dataset_id),
        tile_info=tile_info(pyramid, links) if pyramid else None,
        error=error(row.status) if shown.status == "failed" else None,
        warnings=warnings(row.status),
        stretch=stretch(row.status),
        pixel_size=pixel_size(row if row.HasField("pixel_size") else row.status.pyramid),
        georeference=georeference(row.status.pyramid),
    )
    if row.status.pyramid.georeference.bounds:
        found.urls.georeference = links.georeference(row.dataset_id)
    if row.status.HasField("rewritten"):
        found.rewritten = rewritten(row.status.rewritten)
    if row.status.pyramid.channels:
        found.channels = channels(row.status)
    if row.status.HasField("refresh"):
        found.refresh = refresh(row.status.refresh, time.time())
    if pyramid and row.status.pages:
        found.pages = pages(row.status, links)
    return found


def statement(found: pb.Statement) -> own_text_schemas.Statement:
    """Return a statement of rights or attribution."""
    return own_text_schemas.Statement(text=found.text, url=found.url)


Status = schemas.Working | schemas.Ready | schemas.Failed


def status(row: pb.DatasetStatus, links: Links, now: float) -> Status:
    """Return a dataset's status.

    Parameters
    ----------
    now: wall clock, in seconds since the epoch; used to count down to the next retry.
    """
    found = _status(row, links, now)
    if row.HasField("rewritten"):
        found.rewritten = rewritten(row.rewritten)
    return found


def _status(row: pb.DatasetStatus, links: Links, now: float) -> Status:
    shown = _shown(row)
    if shown.progress == "completed":
        ready = schemas.Ready(
            dataset_id=row.dataset_id,
            status="ready",
            tile_info=tile_info(row.pyramid, links),
            warnings=warnings(row),
            stretch=stretch(row),
        )
        if row.pyramid.channels:
            ready.channels = channels(row)
        if row.HasField("refresh"):
            ready.refresh = refresh(row.refresh, now)
        if row.pages:
            ready.pages = pages(row, links)
        return ready
    if shown.progress is None:
        return schemas.Failed(dataset_id=row.dataset_id, status="failed", error=error(row))
    progress = row.progress
    working = schemas.Working(
        dataset_id=row.dataset_id,
        status="queued" if shown.status == "queued" else "processing",
        progress=shown.progress,
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
        state=shown.state,
        queued_at=timestamp(row.queue_time),
        source=source(row.source) if row.HasField("source") else None,
        preview=links.preview(row.dataset_id) if row.HasField("preview") else None,
        preview_thumbnail=links.preview_thumbnail(row.dataset_id) if row.HasField("preview") else None,
    )
    if row.HasField("start_time"):
        working.started_at = timestamp(row.start_time)
    if row.HasField("hold"):
        working.waiting_for = waiting_for(row.hold)
    if row.downloaded_by:
        working.downloaded_by = row.downloaded_by
    return working


def _shown(row: pb.DatasetStatus) -> Shown:
    is_shown = row.state != pb.STATE_READY or row.pyramid.format in EXTENSION
    return SHOWN.get(row.state, UNKNOWN) if is_shown else UNKNOWN


def refresh(row: pb.Refresh, now: float) -> refresh_schemas.Refresh:
    """Return what is being done to refresh a dataset, or what came of it.

    Parameters
    ----------
    now: wall clock, in seconds since the epoch.
    """
    requested_at = timestamp(row.request_time)
    if row.HasField("status"):
        shown = _shown(row.status)
        found = refresh_schemas.Refresh(
            state=WORK.get(shown.progress, "generating_tiles"),
            message=message(row.status, now),
            requested_at=requested_at,
        )
        if row.status.HasField("percent"):
            found.percent = round(row.status.percent, 1)
        return found
    state, said = _refreshed(row)
    found = refresh_schemas.Refresh(state=state, message=said, requested_at=requested_at)
    if row.HasField("finish_time"):
        found.finished_at = timestamp(row.finish_time)
    if row.HasField("failure"):
        found.error = refresh_schemas.RefreshError(code=row.failure.code, message=row.failure.message)
    return found


def _refreshed(row: pb.Refresh) -> tuple[refresh_schemas.RefreshState, str]:
    """What came of a refresh that has ended."""
    if row.failure.code == "cancelled":
        return "cancelled", row.failure.message
    if row.changed and row.failure.code:
        return "changed", "The source could not be used. New tiles were made of the file that was fetched before."
    if row.changed:
        return "changed", "New tiles are shown."
    if row.failure.code:
        return "failed", row.failure.message
    return "unchanged", "The source has not changed, so nothing was done."


def source(info: pb.SourceInfo) -> schemas.SourceInfo:
    """Return what the source's header says."""
    return schemas.SourceInfo(format=info.format, width=info.width, height=info.height, pages=info.pages or None)


def rewritten(link: pb.Rewritten) -> schemas.Rewritten:
    """Return what a link was rewritten to."""
    return schemas.Rewritten(rule=link.rule, url=without_query(link.url), note=link.note)


def message(row: pb.DatasetStatus, now: float) -> str:
    """Return a sentence that tells a person what is being done."""
    if row.state in WAITING:
        if row.HasField("hold"):
            return waiting(row.hold)
        seconds = retry_in(row, now)
        if seconds > LONGEST_COUNTDOWN:
            return f"Retrying at {moment(row.retry_time)}: {row.failure.message}"
        if seconds:
            return f"Retrying in {seconds} s: {row.failure.message}"
        if row.downloaded_by:
            return f"Waiting for a worker, with the file that {row.downloaded_by} downloaded…"
        return "Waiting for a worker…"
    progress = row.progress
    doing = "Downloading…" if row.state == pb.STATE_DOWNLOADING else "Generating tiles…"
    if progress.HasField("stage_percent"):
        # Rounded down, so that 100 % is shown only when everything is done.
        return f"{doing} {math.floor(progress.stage_percent)} %"
    if row.state == pb.STATE_DOWNLOADING and progress.bytes_downloaded:
        return f"{doing} {amount(progress.bytes_downloaded)}"
    return doing


def waiting_for(hold: pb.Hold) -> schemas.WaitingFor:
    """Return what a queued dataset waits for besides a worker."""
    return schemas.WaitingFor(
        dataset_id=hold.dataset_id or None,
        host=hold.host or None,
        connections=hold.connections or None,
        until=timestamp(hold.until) if hold.HasField("until") else None,
    )


def waiting(hold: pb.Hold) -> str:
    """Return the same as a sentence for a person."""
    if hold.dataset_id:
        return f"Waiting for {hold.dataset_id}, which downloads the same URL…"
    if hold.HasField("until"):
        return f"Waiting until {moment(hold.until)}, as {hold.host} asks…"
    return f"Waiting for {hold.host}, which allows {hold.connections} connection{'s' * (hold.connections != 1)}…"


def moment(time: Timestamp) -> str:
    """Return a time for people, to the minute."""
    return datetime.fromtimestamp(time.seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def retry_in(row: pb.DatasetStatus, now: float) -> int:
    """Return the seconds until the next automatic retry, rounded up; 0 if none is scheduled."""
    if row.state not in WAITING or not row.HasField("retry_time"):
        return 0
    return max(0, math.ceil(row.retry_time.seconds + row.retry_time.nanos / 1e9 - now))


def etag(row: pb.DatasetStatus, now: float) -> str:
    """Return a weak ETag of the status. It changes whenever the JSON does, except for `eta_seconds`."""
    seconds = retry_in(row.refresh.status if row.refresh.HasField("status") else row, now)
    return f'W/"{row.revision}-{seconds}"' if seconds else f'W/"{row.revision}"'


def tile_info(pyramid: pb.Pyramid, links: Links) -> schemas.TileInfo:
    """Return what a viewer needs to know about a pyramid."""
    info = schemas.TileInfo(
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
    if size := pixel_size(pyramid):
        info.pixel_size = size
    if pyramid.version:
        info.pyramid_version = pyramid.version
    return info


def pages(row: pb.DatasetStatus, links: Links) -> list[schemas.PageInfo]:
    """Return the pages of a dataset of which all are shown."""
    return [
        schemas.PageInfo(
            **tile_info(page.pyramid, links).model_dump(exclude_unset=True),
            page=page.number,
            thumbnail=links.thumbnail(page.pyramid),
            iiif=links.page(row.dataset_id, page.number if place else None),
        )
        for place, page in enumerate(row.pages)
    ]


def pixel_size(said_by: pb.Pyramid | pb.Dataset) -> own_text_schemas.PixelSize | None:
    """Return how large a pixel is; None if that is unknown."""
    size = said_by.pixel_size
    if not said_by.HasField("pixel_size") or size.unit not in METRES:
        return None
    return own_text_schemas.PixelSize.model_validate({"x": size.x, "y": size.y, "unit": size.unit})


def georeference(pyramid: pb.Pyramid) -> own_text_schemas.Georeference | None:
    """Return where an image lies on Earth; None if that is unknown."""
    place = pyramid.georeference
    if not pyramid.HasField("georeference"):
        return None
    return own_text_schemas.Georeference(
        crs=place.crs,
        transform=list(place.transform) or None,
        control_points=[
            own_text_schemas.ControlPoint(x=each.x, y=each.y, longitude=each.longitude, latitude=each.latitude)
            for each in place.control_points
        ],
        bounds=list(place.bounds) or None,
    )


def error(row: pb.DatasetStatus) -> schemas.Error:
    """Return why a dataset failed or was cancelled."""
    failure = row.failure
    if not failure.code and row.state == pb.STATE_CANCELLED:
        failure = _CANCELLED
    return schemas.Error(code=failure.code, message=failure.message, retryable=failure.retryable)


def warnings(row: pb.DatasetStatus) -> list[schemas.Warning]:
    """Return what there is to know about the image of a dataset that is ready."""
    return [schemas.Warning(code=warning.code, message=warning.message) for warning in row.warnings]


def stretch(row: pb.DatasetStatus) -> schemas.Stretch | None:
    """Return how samples became 8 bits; None if the dataset is not ready, or they already were."""
    if not row.pyramid.HasField("stretch"):
        return None
    used = row.pyramid.stretch
    return schemas.Stretch(rule=used.rule, low=used.low, high=used.high)


def channels(row: pb.DatasetStatus) -> list[schemas.Channel]:
    """Return the channels that were composed; none if a page is shown as it is, or the dataset is not ready."""
    return [
        schemas.Channel(
            number=channel.number,
            name=channel.name,
            colour=channel.colour,
            rule=channel.stretch.rule,
            low=channel.stretch.low,
            high=channel.stretch.high,
        )
        for channel in row.pyramid.channels
    ]


def without_query(url: str) -> str:
    """Return a source's URL with its query masked, because a query may hold an access token."""
    address, mark, _ = url.partition("?")
    return f"{address}?{MASK}" if mark else url


def timestamp(time: Timestamp) -> str:
    """Return an RFC 3339 time in UTC with milliseconds, such as 2024-05-01T12:00:00.000Z."""
    moment = datetime.fromtimestamp(time.seconds, UTC).replace(microsecond=time.nanos // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
