"""Schemas of the bodies of requests about datasets, each with examples for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from gateway.api.own_text_schemas import (
    ATTRIBUTION,
    GEOREFERENCE,
    METADATA,
    NO_NUL,
    NOT_BLANK,
    OWN_TEXTS,
    PIXEL_SIZE,
    REFERENCE,
    RIGHTS,
    TAGS,
    PixelSizeOption,
    PlaceField,
    Statement,
    example,
)
from gateway.http import few, url_without_default, without_default
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
    MAX_TAG,
    MAX_TAGS,
)


def _channels(asked: Any) -> list[str]:
    parts = asked if isinstance(asked, list) else [asked]
    if asked is not None and not all(isinstance(part, (int, str)) and not isinstance(part, bool) for part in parts):
        raise ValueError("channels is a list of numbers and names, or a text with commas between them.")
    return list(parse_channels(() if asked is None else asked))


_CHANNEL_TYPES: list[dict[str, Any]] = [
    {"type": "integer", "minimum": 0, "maximum": 10_000},
    {"type": "string", "maxLength": MOST_TEXT},
]

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME, pattern=NOT_BLANK)]
Description = Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION, pattern=NO_NUL)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$")]
SourceUrl = Annotated[str, StringConstraints(pattern=NO_NUL)]
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
Member = Annotated[str, StringConstraints(max_length=MAX_MEMBER, pattern=NO_NUL)]
Label = Annotated[str, StringConstraints(max_length=MAX_LABEL, pattern=NO_NUL)]
Reference = Annotated[str, StringConstraints(max_length=MAX_REFERENCE, pattern=NO_NUL)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG, pattern=NOT_BLANK)]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=MAX_METADATA_KEY, pattern=NOT_BLANK)]
MetadataValue = Annotated[str, StringConstraints(max_length=MAX_METADATA_VALUE, pattern=NO_NUL)]


class NewDataset(BaseModel):
    """The image to tile. Unknown fields are ignored."""

    model_config = example(
        {"name": "Blue Marble", "category": "earth", "url": "https://example.org/blue-marble.jpg", "tile_size": 256},
        {"name": "A slide", "url": "https://example.org/slide.tif", "format": "webp", "quality": 90, "page": 1},
        {"name": "The only copy", "url": "https://example.org/cut-short.jpg", "damage": "accept"},
        {"name": "Cells", "url": "https://example.org/cells.ome.tif", "channels": ["DAPI", "GFP"]},
        {"name": "Two maps", "url": "https://example.org/maps.zip", "member": "maps/1850.tif"},
        {"name": "Sheet 7", "url": "https://example.org/7.tif", **OWN_TEXTS},
        {"name": "A leaf", "url": "https://example.org/leaf.jpg", "pixel_size": {"x": 5.1, "y": 5.1, "unit": "µm"}},
    )

    name: Name = Field(description="Name to show to people; surrounding spaces are removed.")
    description: Description | None = Field(default="", description="Free text.")
    category: Label | None = Field(default="", description="Free text to filter by.")
    subject: Label | None = Field(default="", description="Free text to filter by.")
    url: str = Field(
        pattern=NO_NUL,
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
    pages: Literal["all"] | None = Field(
        default=None,
        description="`all`: each page of a multi-page source becomes a pyramid, except smaller versions, labels and "
        "macro views, and the dataset is ready when all are. Goes with neither `page` nor `channels`.",
    )
    member: Member | None = Field(
        default="",
        description="Name of the image in a ZIP archive that has several. The failure's message lists them.",
    )
    sha256: Sha256 | None = Field(
        default=None,
        description="Expected SHA-256 of the source, in hex. Other bytes fail with `source_corrupted`.",
    )
    reference: Reference | None = Field(default="", description=REFERENCE)
    tags: Tags | None = Field(default=None, description=TAGS)
    metadata: Annotated[dict[MetadataKey, MetadataValue] | None, few(MAX_METADATA)] = Field(
        default=None, max_length=MAX_METADATA, description=METADATA
    )
    rights: Statement | None = Field(default=None, description=RIGHTS)
    attribution: Statement | None = Field(default=None, description=ATTRIBUTION)
    pixel_size: PixelSizeOption = Field(
        default=None,
        description=f"{PIXEL_SIZE} Default: what the file says.",
        examples=[{"x": 0.25, "y": 0.25, "unit": "µm"}, "0.25 µm", "21 x 42 µm"],
    )
    georeference: PlaceField = Field(
        default=None,
        description=f"{GEOREFERENCE} Default: what the file says.",
        examples=[
            {"crs": "EPSG:3857", "transform": [10, 0, 1000000, 0, -10, 6000000]},
            "EPSG:3857 10 0 1000000 0 -10 6000000",
        ],
    )

    @field_validator("pages")
    @classmethod
    def _goes_alone(cls, pages: str | None, info: ValidationInfo) -> str | None:
        if pages and (info.data.get("page") is not None or info.data.get("channels")):
            raise ValueError("goes with neither page nor channels")
        return pages


_NEW_URL = "https://example.org/blue-marble.jpg?token=new"


class DatasetChange(BaseModel):
    """New texts, or a new URL. A field that is left out stays as it is; null clears a text, but not name or URL."""

    model_config = example(
        {"name": "Blue Marble, June", "subject": "land"},
        {"url": _NEW_URL},
        {"tags": ["earth"], "metadata": {"shelf": "K 13", "scale": None}},
    )

    reference: Reference | None = Field(default=None, description=REFERENCE)
    tags: Tags | None = Field(default=None, description=f"{TAGS} They replace the present ones.")
    metadata: Annotated[dict[MetadataKey, MetadataValue | None] | None, few(2 * MAX_METADATA)] = Field(
        default=None,
        max_length=2 * MAX_METADATA,
        description=f"{METADATA} Keys that are left out stay as they are; null removes a key.",
    )
    rights: Statement | None = Field(default=None, description=RIGHTS)
    attribution: Statement | None = Field(default=None, description=ATTRIBUTION)
    pixel_size: PixelSizeOption = Field(default=None, description=f"{PIXEL_SIZE} null: what the file says.")
    georeference: PlaceField = Field(default=None, description=f"{GEOREFERENCE} null: what the file says.")
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

    model_config = example({}, {"url": _NEW_URL})

    url: SourceUrl | None = Field(
        default=None,
        description="New URL of the image, as when a signed link has expired. The download goes on where it stopped if "
        "both URLs lead to the same file. Default: the dataset's URL.",
        json_schema_extra={"format": "uri"},
    )
