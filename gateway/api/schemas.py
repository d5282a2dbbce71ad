"""Schemas of the REST API's requests and responses, each with an example for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema

from gateway.http import State, absent, url_without_default, without_default
from pipeline.channel_choice import MOST, MOST_TEXT
from pipeline.channel_choice import parse as parse_channels
from pipeline.stretch import MAX_LENGTH
from pipeline.stretch import parse as parse_stretch
from pipeline.texts import (
    MAX_DESCRIPTION,
    MAX_LABEL,
    MAX_MEMBER,
    MAX_METADATA,
    MAX_METADATA_KEY,
    MAX_METADATA_VALUE,
    MAX_NAME,
    MAX_REFERENCE,
    MAX_STATEMENT,
    MAX_TAG,
    MAX_TAGS,
)

Status = Literal["queued", "processing", "ready", "failed"]
CatalogueStatus = Literal["processing", "ready", "failed"]
Progress = Literal["queued", "downloading", "generating_tiles", "completed"]
Extension = Literal["jpg", "png", "webp"]

_NO_NUL = r"^[^\x00]*$"  # PostgreSQL's text type cannot hold U+0000.

_NOT_BLANK = r"^[^\x00]*[^\x00\s][^\x00]*$"


def _channels(asked: Any) -> list[str]:
    parts = asked if isinstance(asked, list) else [asked]
    if asked is not None and not all(isinstance(part, (int, str)) and not isinstance(part, bool) for part in parts):
        raise ValueError("channels is a list of numbers and names, or a text with commas between them.")
    return list(parse_channels(() if asked is None else asked))


_CHANNEL_TYPES: list[dict[str, Any]] = [
    {"type": "integer", "minimum": 0, "maximum": 10_000},
    {"type": "string", "maxLength": MOST_TEXT},
]

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME, pattern=_NOT_BLANK)]
Description = Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION, pattern=_NO_NUL)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$")]
SourceUrl = Annotated[str, StringConstraints(pattern=_NO_NUL)]
StretchOption = Annotated[
    str, StringConstraints(max_length=MAX_LENGTH), AfterValidator(lambda text: str(parse_stretch(text)))
]
ChannelsOption = Annotated[
    list[str],
    PlainValidator(_channels),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"anyOf": _CHANNEL_TYPES}, "maxItems": MOST, "uniqueItems": True},
                *_CHANNEL_TYPES,
                {"type": "null"},
            ]
        }
    ),
]
Member = Annotated[str, StringConstraints(max_length=MAX_MEMBER, pattern=_NO_NUL)]
Label = Annotated[str, StringConstraints(max_length=MAX_LABEL, pattern=_NO_NUL)]
Reference = Annotated[str, StringConstraints(max_length=MAX_REFERENCE, pattern=_NO_NUL)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG, pattern=_NOT_BLANK)]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=MAX_METADATA_KEY, pattern=_NOT_BLANK)]
MetadataValue = Annotated[str, StringConstraints(max_length=MAX_METADATA_VALUE, pattern=_NO_NUL)]

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
_REWRITTEN = {"rule": "Dropbox", "url": "https://www.dropbox.com/scl/fi/k/earth.tif?***", "note": ""}
_OWN_TEXTS: dict[str, Any] = {
    "reference": "sheet-7",
    "tags": ["alps", "1850"],
    "metadata": {"shelf": "K 12", "scale": "1:25000"},
    "rights": {"text": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"},
    "attribution": {"text": "Map Library of Example", "url": "https://example.org/maps"},
}
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
    **_OWN_TEXTS,
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
}


def _example(*values: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(values)})


class Statement(BaseModel):
    """A text for people and a link. One of them may be left out."""

    model_config = _example({"text": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"})

    text: Annotated[str, StringConstraints(max_length=MAX_STATEMENT, pattern=_NO_NUL)] = Field(
        default="", description="Text to show."
    )
    url: str = Field(default="", pattern=r"^(https?://[^\x00]+)?$", description="Page to link to: http or https.")


_REFERENCE = "Your own id of the image. No two datasets have the same; a deleted one gives it free."
_TAGS = "Your own words to filter by."
_METADATA = f"Your own keys and texts, at most {MAX_METADATA}. They can be filtered by."
_RIGHTS = "Under which terms the image may be used. Viewers show it."
_ATTRIBUTION = "Whom to name with the image. Viewers show it."


class NewDataset(BaseModel):
    """The image to tile. Unknown fields are ignored."""

    model_config = _example(
        {"name": "Blue Marble", "category": "earth", "url": "https://example.org/blue-marble.jpg", "tile_size": 256},
        {"name": "A slide", "url": "https://example.org/slide.tif", "format": "webp", "quality": 90, "page": 1},
        {"name": "The only copy", "url": "https://example.org/cut-short.jpg", "damage": "accept"},
        {"name": "Cells", "url": "https://example.org/cells.ome.tif", "channels": ["DAPI", "GFP"]},
        {"name": "Two maps", "url": "https://example.org/maps.zip", "member": "maps/1850.tif"},
        {"name": "Sheet 7", "url": "https://example.org/7.tif", **_OWN_TEXTS},
    )

    name: Name = Field(description="Name to show to people; surrounding spaces are removed.")
    description: Description | None = Field(default="", description="Free text.")
    category: Label | None = Field(default="", description="Free text to filter by.")
    subject: Label | None = Field(default="", description="Free text to filter by.")
    url: str = Field(
        pattern=_NO_NUL,
        description="URL of the image: http or https, a public address, without a password.",
        json_schema_extra={"format": "uri"},
    )
    tile_size: Literal[256, 512] | None = Field(default=256, description="Edge of a tile in pixels.")
    format: Literal["jpeg", "png", "webp"] | None = Field(
        default=None, description="Format of the tiles. Default: JPEG, or PNG if the image has transparency."
    )
    quality: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Quality of JPEG and WebP tiles. Default: 85. Ignored for PNG, which is lossless.",
    )
    page: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Page of a multi-page source, from 0. Default: the main picture, never a label or macro view.",
    )
    damage: Literal["refuse", "accept"] | None = Field(
        default="refuse",
        description="What becomes of a damaged source. `refuse`: the dataset fails. `accept`: what can be decoded is "
        "shown; the rest is transparent or grey, and a warning says what is missing.",
    )
    stretch: StretchOption | None = Field(
        default="auto",
        description="How samples of more than 8 bits are shown: `auto` (as the file states, else percentiles), `none`, "
        "`range`, `range:LOW,HIGH`, `percentile`, `percentile:LOW,HIGH`, `asinh` or `asinh:LOW,HIGH`.",
        examples=["auto", "percentile:1,99.5", "range:0,4095"],
    )
    channels: ChannelsOption = Field(
        default=[],
        description="Channels of a stack (OME-TIFF, ImageJ) or bands of a TIFF to compose, at most three: numbers from "
        "0, or names, in a list or with commas between them. Default: the first three channels of a stack.",
        examples=[["DAPI", "GFP"], [0, 2], "0,2"],
    )
    member: Member | None = Field(
        default="",
        description="Name of the image in a ZIP archive that has several. The failure's message lists them.",
    )
    sha256: Sha256 | None = Field(
        default=None,
        description="Expected SHA-256 of the source, in hex. Other bytes fail with `source_corrupted`.",
    )
    reference: Reference | None = Field(default="", description=_REFERENCE)
    tags: Tags | None = Field(default=None, description=_TAGS)
    metadata: dict[MetadataKey, MetadataValue] | None = Field(
        default=None, max_length=MAX_METADATA, description=_METADATA
    )
    rights: Statement | None = Field(default=None, description=_RIGHTS)
    attribution: Statement | None = Field(default=None, description=_ATTRIBUTION)


_NEW_URL = "https://example.org/blue-marble.jpg?token=new"


class DatasetChange(BaseModel):
    """New texts, or a new URL. A field that is left out stays as it is; null clears a text, but not name or URL."""

    model_config = _example(
        {"name": "Blue Marble, June", "subject": "land"},
        {"url": _NEW_URL},
        {"tags": ["earth"], "metadata": {"shelf": "K 13", "scale": None}},
    )

    reference: Reference | None = Field(default=None, description=_REFERENCE)
    tags: Tags | None = Field(default=None, description=f"{_TAGS} They replace the present ones.")
    metadata: dict[MetadataKey, MetadataValue | None] | None = Field(
        default=None,
        max_length=2 * MAX_METADATA,
        description=f"{_METADATA} Keys that are left out stay as they are; null removes a key.",
    )
    rights: Statement | None = Field(default=None, description=_RIGHTS)
    attribution: Statement | None = Field(default=None, description=_ATTRIBUTION)
    # null is refused for what cannot be cleared. Such a default only marks an absent field, so it is not shown.
    name: Name = Field(default="", description="Name to show to people.", json_schema_extra=without_default)
    description: Description | None = Field(default=None, description="Free text.")
    category: Label | None = Field(default=None, description="Free text to filter by.")
    subject: Label | None = Field(default=None, description="Free text to filter by.")
    url: SourceUrl = Field(
        default="",
        description="New URL of the image, while the dataset is queued, has failed or was cancelled. A download goes "
        "on where it stopped if both URLs lead to the same file.",
        json_schema_extra=url_without_default,
    )


class Retry(BaseModel):
    """How to retry a dataset. The body may be left out. Unknown fields are ignored."""

    model_config = _example({}, {"url": _NEW_URL})

    url: SourceUrl | None = Field(
        default=None,
        description="New URL of the image, as when a signed link has expired. The download goes on where it stopped if "
        "both URLs lead to the same file. Default: the dataset's URL.",
        json_schema_extra={"format": "uri"},
    )


class Urls(BaseModel):
    """Permanent URLs of a dataset: they stay the same, and lead to the pyramid that the dataset shows now."""

    model_config = _example(_URLS)

    dzi: str = Field(description="Deep Zoom descriptor.")
    xyz: str = Field(description="URL template of the XYZ tiles; they have no file extension.")
    tilejson: str = Field(description="TileJSON 3.0.")
    iiif: str = Field(description="`info.json` of the IIIF Image API 3.0.")
    manifest: str = Field(description="Manifest of the IIIF Presentation API 3.0.")
    thumbnail: str = Field(description="JPEG of at most 512 pixels.")
    szi: str = Field(description="All Deep Zoom tiles in one zip file.")
    view: str = Field(description="Web page that shows the progress, then the image.")
    embed: str = Field(description="The same page for an `<iframe>` of any site.")


class Created(BaseModel):
    """The dataset was accepted."""

    model_config = _example(
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

    model_config = _example(_TILE_INFO)

    tile_id: str = Field(description="Id of the pyramid. The same bytes with the same options have the same id.")
    max_zoom: int = Field(description="Highest XYZ zoom; zoom 0 is one tile.")
    status: Literal["completed"]
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    tile_size: int = Field(description="Edge of a tile in pixels.")
    format: Extension = Field(description="File extension of the tiles.")
    dzi: str = Field(description="URL of the Deep Zoom descriptor.")
    xyz: str = Field(description="URL template of the XYZ tiles.")


class Error(BaseModel):
    """Why a dataset or an inspection failed."""

    model_config = _example(
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

    model_config = _example(
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

    model_config = _example({"rule": "percentile:2,98", "low": 80.0, "high": 3920.0})

    rule: str = Field(description="The rule that was used, in the form that `stretch` takes.")
    low: float = Field(description="The sample that became 0.")
    high: float = Field(description="The sample that became 255.")


class Channel(BaseModel):
    """A channel of a stack that was composed, and how its samples became 8 bits."""

    model_config = _example(_CHANNEL)

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

    model_config = _example(_REWRITTEN)

    rule: str = Field(description="What recognised the link, such as `Dropbox` or `IIIF`.")
    url: str = Field(description="The address that is requested instead, with its query masked.")
    note: str = Field(description="What that address leaves out, as a sentence for people; mostly empty.")


REWRITTEN_FIELD = "What the link was rewritten to before it was requested; left out if it was not, or not yet."


class Working(BaseModel):
    """The dataset is waiting or being processed."""

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

    model_config = _example(
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


class Failed(BaseModel):
    """The dataset failed or was cancelled. A cancelled dataset has the error code `cancelled`."""

    model_config = _example(
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

    model_config = _example(_DATASET)

    dataset_id: str
    name: str
    description: str
    category: str
    subject: str
    url: str
    reference: str = Field(description=_REFERENCE)
    tags: list[str] = Field(description=_TAGS)
    metadata: dict[str, str] = Field(description=_METADATA)
    rights: Statement | None = Field(description=_RIGHTS)
    attribution: Statement | None = Field(description=_ATTRIBUTION)
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


class Page(BaseModel):
    """A page of the catalogue, newest first."""

    model_config = _example({"datasets": [_DATASET], "next_cursor": None})

    datasets: list[Dataset]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page.")
