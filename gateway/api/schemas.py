"""Schemas of the responses about datasets, each with an example for OpenAPI."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    Field,
)
from pydantic.json_schema import SkipJsonSchema

from gateway.api.own_text_schemas import (
    ATTRIBUTION,
    METADATA,
    OWN_TEXTS,
    REFERENCE,
    RIGHTS,
    TAGS,
    Georeference,
    PixelSize,
    Statement,
    example,
)
from gateway.api.refresh_schemas import REFRESH_FIELD, Refresh
from gateway.http import State, absent

Status = Literal["queued", "processing", "ready", "failed"]
CatalogueStatus = Literal["processing", "ready", "failed"]
Progress = Literal["queued", "downloading", "generating_tiles", "completed"]
Extension = Literal["jpg", "png", "webp"]

_TILE_ID = "6f1ed002ab5595859014ebf0951522d9c1a2b3c4d5e6f708192a3b4c5d6e7f80"
_TILE_INFO: dict[str, Any] = {
    "tile_id": _TILE_ID,
    "max_zoom": 8,
    "status": "completed",
    "width": 43200,
    "height": 21600,
    "tile_size": 256,
    "format": "jpg",
    "dzi": f"/tiles/{_TILE_ID}.dzi",
    "xyz": f"/tiles/{_TILE_ID}/{{z}}/{{x}}/{{y}}.jpg",
    "pyramid_version": 10,
}
_REWRITTEN = {"rule": "Dropbox", "url": "https://www.dropbox.com/scl/fi/k/earth.tif?***", "note": ""}
_URLS = {
    "dzi": "/tiles/custom_a1b2c3d4.dzi",
    "xyz": "/tiles/custom_a1b2c3d4/{z}/{x}/{y}",
    "tilejson": "/tiles/custom_a1b2c3d4/tilejson.json",
    "iiif": "/iiif/custom_a1b2c3d4/info.json",
    "manifest": "/iiif/custom_a1b2c3d4/manifest.json",
    "thumbnail": "/tiles/custom_a1b2c3d4/thumbnail.jpg",
    "szi": "/tiles/custom_a1b2c3d4.szi",
    "view": "/view/custom_a1b2c3d4",
    "embed": "/embed/custom_a1b2c3d4",
}
_CHANNEL: dict[str, Any] = {
    "number": 0,
    "name": "DAPI",
    "colour": "#0000ff",
    "rule": "percentile:2,98",
    "low": 80.0,
    "high": 3920.0,
}
_DATASET: dict[str, Any] = {
    "dataset_id": "custom_a1b2c3d4",
    "name": "Blue Marble",
    "description": "",
    "category": "earth",
    "subject": "",
    "url": "https://example.org/blue-marble.jpg",
    **OWN_TEXTS,
    "status": "ready",
    "progress": "completed",
    "state": "READY",
    "created_at": "2024-05-01T12:00:00.000Z",
    "finished_at": "2024-05-01T12:01:30.250Z",
    "tile_urls": {
        "dzi": f"/tiles/{_TILE_ID}.dzi",
        "xyz": f"/tiles/{_TILE_ID}/{{z}}/{{x}}/{{y}}.jpg",
        "thumbnail": f"/tiles/{_TILE_ID}/thumbnail.jpg",
    },
    "urls": _URLS,
    "tile_info": _TILE_INFO,
    "error": None,
    "warnings": [],
    "stretch": None,
    "pixel_size": None,
    "georeference": None,
}


class Urls(BaseModel):
    """Permanent URLs of a dataset: they stay the same, and lead to the pyramid that the dataset shows now."""

    model_config = example(_URLS)

    dzi: str = Field(description="Deep Zoom descriptor.")
    xyz: str = Field(description="URL template of the XYZ tiles; they have no file extension.")
    tilejson: str = Field(description="TileJSON 3.0.")
    iiif: str = Field(description="`info.json` of the IIIF Image API 3.0.")
    manifest: str = Field(description="Manifest of the IIIF Presentation API 3.0.")
    thumbnail: str = Field(description="JPEG of at most 512 pixels.")
    szi: str = Field(description="All Deep Zoom tiles in one zip file.")
    view: str = Field(description="Web page that shows the progress, then the image.")
    embed: str = Field(description="The same page for an `<iframe>` of any site.")
    georeference: str | SkipJsonSchema[None] = absent(
        "IIIF Georeference Annotation; left out unless the dataset is ready, and its place in WGS 84 is known."
    )


class Created(BaseModel):
    """The dataset was accepted."""

    model_config = example(
        {
            "success": True,
            "dataset_id": "custom_a1b2c3d4",
            "status": "processing",
            "message": "Dataset created, processing tiles",
            "status_url": "/api/datasets/custom_a1b2c3d4/status",
            "view_url": "/view/custom_a1b2c3d4",
            "urls": _URLS,
        }
    )

    success: Literal[True]
    dataset_id: str = Field(description="`custom_` and eight or more lower-case hex digits.")
    status: Literal["processing"]
    message: str
    status_url: str = Field(description="URL to poll.")
    view_url: str = Field(description="Web page that shows the progress, then the image.")
    urls: Urls = Field(description="Permanent URLs; those of tiles answer 404 `not_ready` until the dataset is ready.")


class TileInfo(BaseModel):
    """What a viewer needs to know about a pyramid."""

    model_config = example(_TILE_INFO)

    tile_id: str = Field(description="Id of the pyramid. The same bytes with the same options have the same id.")
    max_zoom: int = Field(description="Highest XYZ zoom; zoom 0 is one tile.")
    status: Literal["completed"]
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    tile_size: int = Field(description="Edge of a tile in pixels.")
    format: Extension = Field(description="File extension of the tiles.")
    dzi: str = Field(description="URL of the Deep Zoom descriptor.")
    xyz: str = Field(description="URL template of the XYZ tiles.")
    pyramid_version: int | SkipJsonSchema[None] = absent(
        "The version of Tilewright's tiles that made them: newer ones are better. Left out if it is not known."
    )
    pixel_size: PixelSize | SkipJsonSchema[None] = absent("How large a pixel is; left out if nothing says it.")


class PageInfo(TileInfo):
    """A page of a dataset of which all pages are shown: what a viewer needs to know about its pyramid."""

    model_config = example(
        {
            **_TILE_INFO,
            "page": 3,
            "thumbnail": f"/tiles/{_TILE_INFO['tile_id']}/thumbnail.jpg",
            "iiif": "/iiif/custom_a1b2c3d4-p3/info.json",
        }
    )

    page: int = Field(description="Its number in the source, from 0.")
    thumbnail: str = Field(description="URL of its thumbnail.")
    iiif: str = Field(description="Permanent URL of its `info.json`. The name in it works in all permanent addresses.")


PAGES_FIELD = "Each page, if the request asked for all of them; left out until the dataset is ready, and in lists."


class Error(BaseModel):
    """Why a dataset or an inspection failed."""

    model_config = example(
        {
            "code": "source_not_found",
            "message": "example.org answered 404 Not Found: there is nothing at this address. "
            "Open the URL in a browser and check it.",
            "retryable": False,
        }
    )

    code: str = Field(description="Stable error code; all codes are listed at /docs/errors.")
    message: str = Field(description="What happened, and what to do, as a sentence for people.")
    retryable: bool = Field(description="Whether a retry may help.")


class Warning(BaseModel):  # noqa: A001  the word of the API
    """Something about the image that did not keep it from being shown."""

    model_config = example(
        {
            "code": "image_incomplete",
            "message": "The image file ends before the picture does. Rows 376 to 799 of 800 could not be decoded. "
            "What is missing is grey.",
        }
    )

    code: str = Field(description="Stable code; all codes are listed at /docs/errors.")
    message: str = Field(description="What is missing or was ignored, as a sentence for people.")


class Stretch(BaseModel):
    """How the source's samples became 8 bits."""

    model_config = example({"rule": "percentile:2,98", "low": 80.0, "high": 3920.0})

    rule: str = Field(description="The rule that was used, in the form that `stretch` takes.")
    low: float = Field(description="The sample that became 0.")
    high: float = Field(description="The sample that became 255.")


class Channel(BaseModel):
    """A channel of a stack that was composed, and how its samples became 8 bits."""

    model_config = example(_CHANNEL)

    number: int = Field(description="Number of the channel, from 0.")
    name: str = Field(description="Its name; may be empty.")
    colour: str = Field(description="The colour that it was shown in.")
    rule: str = Field(description="The rule that was used, in the form that `stretch` takes.")
    low: float = Field(description="The sample that became 0.")
    high: float = Field(description="The sample that became 255.")


CHANNELS_FIELD = "The channels that were composed; left out if a page is shown as it is, or the dataset is not ready."


class SourceInfo(BaseModel):
    """What the source's header says, before its orientation is applied."""

    format: str = Field(description="Such as `jpeg`, `png`, `tiff`, `webp`, `heif` or `gif`.")
    width: int = Field(description="Width of the tiled page in pixels.")
    height: int = Field(description="Height of the tiled page in pixels.")
    pages: int | None = Field(
        description="Number of pages; null until the whole file is there, if only that can show the number."
    )


class WaitingFor(BaseModel):
    """What the dataset waits for besides a worker."""

    dataset_id: str | None = Field(
        description="The dataset that downloads the same URL. Its file is used for this dataset too."
    )
    host: str | None = Field(description="The source's host.")
    connections: int | None = Field(description="How many connections the host allows, if others use them.")
    until: str | None = Field(description="Until when the host asked to be left alone.")


class Rewritten(BaseModel):
    """What a link was rewritten to, because it leads to a page about a file, or to a description of an image."""

    model_config = example(_REWRITTEN)

    rule: str = Field(description="What recognised the link, such as `Dropbox` or `IIIF`.")
    url: str = Field(description="The address that is requested instead, with its query masked.")
    note: str = Field(description="What that address leaves out, as a sentence for people; mostly empty.")


REWRITTEN_FIELD = "What the link was rewritten to before it was requested; left out if it was not, or not yet."


class Working(BaseModel):
    """The dataset is waiting or being processed."""

    model_config = example(
        {
            "dataset_id": "custom_a1b2c3d4",
            "status": "processing",
            "progress": "downloading",
            "started_at": "2024-05-01T12:00:00.500Z",
            "message": "Downloading… 34 %",
            "percent": 17.0,
            "stage_percent": 34.0,
            "bytes_downloaded": 41943040,
            "bytes_total": 123456789,
            "bytes_per_second": 19400000.0,
            "tiles_done": 0,
            "tiles_total": None,
            "eta_seconds": 4.2,
            "attempt": 1,
            "state": "DOWNLOADING",
            "queued_at": "2024-05-01T12:00:00.000Z",
            "source": {"format": "jpeg", "width": 43200, "height": 21600, "pages": 1},
            "preview": None,
            "preview_thumbnail": None,
        }
    )

    dataset_id: str
    status: Literal["queued", "processing"]
    progress: Literal["queued", "downloading", "generating_tiles"]
    started_at: str | SkipJsonSchema[None] = absent("When work first began; left out before that.")
    message: str = Field(description="What is being done, as a sentence for people.")
    percent: float | None = Field(
        ge=0,
        le=100,
        description="Progress of the whole job; null while unknown. Never decreases within an attempt.",
    )
    stage_percent: float | None = Field(description="Progress of the current stage; null if unknown.")
    bytes_downloaded: int
    bytes_total: int | None = Field(description="null if the source's server does not say.")
    bytes_per_second: float | None = Field(
        description="Download rate; null if nothing is being downloaded, or not for long enough to measure it."
    )
    tiles_done: int
    tiles_total: int | None = Field(description="null until the image's size is known.")
    eta_seconds: float | None = Field(description="Seconds until the current stage ends; null if unknown.")
    attempt: int = Field(description="Number of the attempt, from 1.")
    state: State
    queued_at: str = Field(description="When the dataset entered its current queue.")
    source: SourceInfo | None = Field(description="null until the source's header has been read.")
    preview: str | None = Field(description="URL of a preview; null until there is one.")
    preview_thumbnail: str | None = Field(description="URL of a smaller preview; null until there is one.")
    waiting_for: WaitingFor | SkipJsonSchema[None] = absent(
        "What a queued dataset waits for besides a worker; left out if nothing."
    )
    downloaded_by: str | SkipJsonSchema[None] = absent(
        "The dataset of the same URL whose file is tiled; left out if this one downloaded its own."
    )
    rewritten: Rewritten | SkipJsonSchema[None] = absent(REWRITTEN_FIELD)


class Ready(BaseModel):
    """The dataset has its tiles."""

    model_config = example(
        {"dataset_id": "custom_a1b2c3d4", "status": "ready", "tile_info": _TILE_INFO, "warnings": [], "stretch": None}
    )

    dataset_id: str
    status: Literal["ready"]
    tile_info: TileInfo
    warnings: list[Warning] = Field(description="What is missing in the image, or was ignored; mostly empty.")
    rewritten: Rewritten | SkipJsonSchema[None] = absent(REWRITTEN_FIELD)
    stretch: Stretch | None = Field(
        description="How samples became 8 bits; `null` if the dataset is not ready, if they already were, or if each "
        "channel has its own figures."
    )
    channels: list[Channel] | SkipJsonSchema[None] = absent(CHANNELS_FIELD)
    refresh: Refresh | SkipJsonSchema[None] = absent(REFRESH_FIELD)
    pages: list[PageInfo] | SkipJsonSchema[None] = absent(PAGES_FIELD)


class Failed(BaseModel):
    """The dataset failed or was cancelled. A cancelled dataset has the error code `cancelled`."""

    model_config = example(
        {
            "dataset_id": "custom_a1b2c3d4",
            "status": "failed",
            "error": {
                "code": "not_an_image",
                "message": "example.org sent a web page, not an image. "
                "Use the URL of the image file, not that of a page that shows it.",
                "retryable": False,
            },
        }
    )

    dataset_id: str
    status: Literal["failed"]
    error: Error
    rewritten: Rewritten | SkipJsonSchema[None] = absent(REWRITTEN_FIELD)


class TileUrls(BaseModel):
    """URLs of the tiles; null until the dataset is ready."""

    dzi: str | None
    xyz: str | None
    thumbnail: str | None


class Dataset(BaseModel):
    """A dataset: its texts and options as submitted, and its status."""

    model_config = example(_DATASET)

    dataset_id: str
    name: str
    description: str
    category: str
    subject: str
    url: str
    reference: str = Field(description=REFERENCE)
    tags: list[str] = Field(description=TAGS)
    metadata: dict[str, str] = Field(description=METADATA)
    rights: Statement | None = Field(description=RIGHTS)
    attribution: Statement | None = Field(description=ATTRIBUTION)
    status: CatalogueStatus
    progress: Progress | None = Field(description="null when `status` is `failed`.")
    state: State
    created_at: str
    finished_at: str | None = Field(description="When the dataset became ready, failed or was cancelled.")
    tile_urls: TileUrls
    urls: Urls = Field(description="Permanent URLs; those of tiles answer 404 `not_ready` until the dataset is ready.")
    tile_info: TileInfo | None = Field(description="Set when `status` is `ready`.")
    error: Error | None = Field(description="Set when `status` is `failed`.")
    warnings: list[Warning] = Field(description="What is missing in the image, or was ignored; mostly empty.")
    rewritten: Rewritten | SkipJsonSchema[None] = absent(REWRITTEN_FIELD)
    stretch: Stretch | None = Field(
        description="How samples became 8 bits; `null` if the dataset is not ready, if they already were, or if each "
        "channel has its own figures."
    )
    channels: list[Channel] | SkipJsonSchema[None] = absent(CHANNELS_FIELD)
    refresh: Refresh | SkipJsonSchema[None] = absent(REFRESH_FIELD)
    pages: list[PageInfo] | SkipJsonSchema[None] = absent(PAGES_FIELD)
    pixel_size: PixelSize | None = Field(
        description="How large a pixel of the full image is: what the request said, else what the file says; null if "
        "neither, and until the dataset is ready if only the file may say it."
    )
    georeference: Georeference | None = Field(
        description="Where the full image lies on Earth: what the request said, else what the file says; null if "
        "neither, and until the dataset is ready."
    )


class Page(BaseModel):
    """A page of the catalogue, newest first."""

    model_config = example({"datasets": [_DATASET], "next_cursor": None})

    datasets: list[Dataset]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page.")
