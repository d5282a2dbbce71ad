"""The shapes of the REST contract, with an example of each: what is sent, and what OpenAPI shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from gateway.http.problem_schemas import State
from gateway.http.schema_fields import absent, without_default
from pipeline.texts import MAX_DESCRIPTION, MAX_LABEL, MAX_NAME

Status = Literal["queued", "processing", "ready", "failed"]
CatalogueStatus = Literal["processing", "ready", "failed"]
Progress = Literal["queued", "downloading", "generating_tiles", "completed"]
Extension = Literal["jpg", "png", "webp"]

_NO_NUL = r"^[^\x00]*$"  # PostgreSQL's text type cannot hold U+0000.

_NOT_BLANK = r"^[^\x00]*[^\x00\s][^\x00]*$"

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME, pattern=_NOT_BLANK)]
Description = Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION, pattern=_NO_NUL)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$")]
Label = Annotated[str, StringConstraints(max_length=MAX_LABEL, pattern=_NO_NUL)]

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
}
_DATASET: dict[str, Any] = {
    "dataset_id": "custom_a1b2c3d4",
    "name": "Blue Marble",
    "description": "",
    "category": "earth",
    "subject": "",
    "url": "https://example.org/blue-marble.jpg",
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
    "tile_info": _TILE_INFO,
    "error": None,
}


def _example(*values: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(values)})


class NewDataset(BaseModel):
    """What is to be tiled. Unknown fields are ignored."""

    model_config = _example(
        {"name": "Blue Marble", "category": "earth", "url": "https://example.org/blue-marble.jpg", "tile_size": 256},
        {"name": "A slide", "url": "https://example.org/slide.tif", "format": "webp", "quality": 90, "page": 1},
    )

    name: Name = Field(description="A name for a person; space around it is dropped.")
    description: Description | None = Field(default="", description="Free text.")
    category: Label | None = Field(default="", description="Free text to filter by.")
    subject: Label | None = Field(default="", description="Free text to filter by.")
    url: str = Field(
        pattern=_NO_NUL,
        description="Where the image is fetched from: http or https, public, without a password.",
        json_schema_extra={"format": "uri"},
    )
    tile_size: Literal[256, 512] | None = Field(default=256, description="Edge of a tile in pixels.")
    format: Literal["jpeg", "png", "webp"] | None = Field(
        default=None, description="Format of the tiles; null: JPEG, or PNG where the picture has transparency."
    )
    quality: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Of JPEG and WebP tiles; null: 85. PNG tiles lose nothing, and ignore it.",
    )
    page: int | None = Field(default=0, ge=0, le=2**31 - 1, description="Page of a multi-page source, from 0.")
    sha256: Sha256 | None = Field(
        default=None, description="What the source's bytes must hash to; other bytes fail as `source_corrupted`."
    )


class DatasetChange(BaseModel):
    """New texts; what is left out stays, null empties."""

    model_config = _example({"name": "Blue Marble, June", "subject": "land"})

    # A name cannot be emptied, so null is refused; the default only stands for its absence, and is not shown.
    name: Name = Field(default="", description="A name for a person.", json_schema_extra=without_default)
    description: Description | None = Field(default=None, description="Free text.")
    category: Label | None = Field(default=None, description="Free text to filter by.")
    subject: Label | None = Field(default=None, description="Free text to filter by.")


class Created(BaseModel):
    """The dataset is accepted; it is worked on from now on."""

    model_config = _example(
        {
            "success": True,
            "dataset_id": "custom_a1b2c3d4",
            "status": "processing",
            "message": "Dataset created, processing tiles",
            "status_url": "/api/datasets/custom_a1b2c3d4/status",
            "view_url": "/view/custom_a1b2c3d4",
        }
    )

    success: Literal[True]
    dataset_id: str = Field(description="`custom_` and eight or more lower-case hex digits.")
    status: Literal["processing"]
    message: str
    status_url: str = Field(description="Where to poll.")
    view_url: str = Field(description="The page that shows it, also while it is not ready yet.")


class TileInfo(BaseModel):
    """What a viewer needs to know of a pyramid."""

    model_config = _example(_TILE_INFO)

    tile_id: str = Field(description="Names the pyramid of these bytes and options: the same image has the same one.")
    max_zoom: int = Field(description="Highest XYZ zoom; zoom 0 is one tile.")
    status: Literal["completed"]
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    tile_size: int = Field(description="Edge of a tile in pixels.")
    format: Extension = Field(description="File extension of the tiles.")
    dzi: str = Field(description="The Deep Zoom descriptor.")
    xyz: str = Field(description="Template of the XYZ tiles' URLs.")


class Error(BaseModel):
    """Why there is no pyramid."""

    model_config = _example(
        {
            "code": "source_not_found",
            "message": "The server answered 404 Not Found. Open the URL in a browser and check it.",
            "retryable": False,
        }
    )

    code: str = Field(description="Stable; the table of all codes is at /docs/errors.")
    message: str = Field(description="A sentence for a person.")
    retryable: bool = Field(description="Whether a retry can help.")


class SourceInfo(BaseModel):
    """What the source's header says, before any orientation is applied."""

    format: str = Field(description="Such as `jpeg`, `png`, `tiff`, `webp`, `heif` or `gif`.")
    width: int = Field(description="Pixels of the page that is tiled.")
    height: int = Field(description="Pixels of the page that is tiled.")
    pages: int | None = Field(
        description="1 for most; null where only the whole file would tell, and it is not there yet."
    )


class Working(BaseModel):
    """Waiting, or being worked on."""

    model_config = _example(
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
    started_at: str | SkipJsonSchema[None] = absent("When work first began; absent before.")
    message: str = Field(description="What is being done, in a sentence for a person.")
    percent: float | None = Field(
        ge=0,
        le=100,
        description="Share of the whole job, null while it cannot be told; never goes back within an attempt.",
    )
    stage_percent: float | None = Field(description="Share of the present stage; null where it cannot be told.")
    bytes_downloaded: int
    bytes_total: int | None = Field(description="null where the source's server does not say.")
    bytes_per_second: float | None = Field(
        description="How fast the source arrives; null where nothing arrives, or not for long enough."
    )
    tiles_done: int
    tiles_total: int | None = Field(description="null until the picture's size is known.")
    eta_seconds: float | None = Field(description="Until the present stage ends; null where it cannot be told.")
    attempt: int = Field(description="Counts from 1.")
    state: State
    queued_at: str = Field(description="When it began to wait in its present queue.")
    source: SourceInfo | None = Field(description="null until the source's header has been read.")
    preview: str | None = Field(description="A small picture, there before the tiles are; null while there is none.")
    preview_thumbnail: str | None = Field(description="The same, smaller.")


class Ready(BaseModel):
    """Done."""

    model_config = _example({"dataset_id": "custom_a1b2c3d4", "status": "ready", "tile_info": _TILE_INFO})

    dataset_id: str
    status: Literal["ready"]
    tile_info: TileInfo


class Failed(BaseModel):
    """Ended without a pyramid; a cancelled dataset has the code `cancelled`."""

    model_config = _example(
        {
            "dataset_id": "custom_a1b2c3d4",
            "status": "failed",
            "error": {
                "code": "not_an_image",
                "message": "The URL gives an HTML page. Give the image file's own address, not its page's.",
                "retryable": False,
            },
        }
    )

    dataset_id: str
    status: Literal["failed"]
    error: Error


class TileUrls(BaseModel):
    """Where the tiles are; null until they are there."""

    dzi: str | None
    xyz: str | None
    thumbnail: str | None


class Dataset(BaseModel):
    """A dataset as its submitter described it, and where it stands."""

    model_config = _example(_DATASET)

    dataset_id: str
    name: str
    description: str
    category: str
    subject: str
    url: str
    status: CatalogueStatus
    progress: Progress | None = Field(description="null when it has failed.")
    state: State
    created_at: str
    finished_at: str | None = Field(description="When it reached a final state.")
    tile_urls: TileUrls
    tile_info: TileInfo | None = Field(description="Set when it is ready.")
    error: Error | None = Field(description="Set when it has failed.")


class Page(BaseModel):
    """A page of the catalogue, newest first."""

    model_config = _example({"datasets": [_DATASET], "next_cursor": None})

    datasets: list[Dataset]
    next_cursor: str | None = Field(description="The next page's `cursor`; null on the last page.")
