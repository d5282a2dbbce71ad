"""Schemas of inspections in the REST API, each with an example."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from gateway.api.request_schemas import Member
from gateway.api.schemas import REWRITTEN_FIELD, Error, Rewritten, SourceInfo
from gateway.http import absent

InspectionStatus = Literal["queued", "processing", "ready", "failed"]

_REPORT: dict[str, Any] = {
    "source": {"format": "tiff", "width": 43200, "height": 21600, "pages": 1},
    "page": 0,
    "bytes": 2799360478,
    "content_type": "image/tiff",
    "ranges": True,
    "tile_size": 256,
    "levels": 17,
    "tiles": 19309,
    "max_zoom": 8,
    "memory_bytes": 244056064,
    "fetched_bytes": 91614,
    "refused": None,
}


_STACK: dict[str, Any] = {
    "channels": [
        {"number": 0, "name": "DAPI", "colour": "#0000ff"},
        {"number": 1, "name": "GFP", "colour": None},
    ],
    "channel_count": 2,
    "z_count": 12,
    "t_count": 1,
    "z_step": "0.5 µm",
    "t_step": "",
    "z_labels": [],
    "t_labels": [],
}


class StackChannel(BaseModel):
    """A channel of a stack."""

    number: int = Field(description="Number of the channel, from 0.")
    name: str = Field(description="Its name; may be empty.")
    colour: str | None = Field(description="Its colour, such as `#0000ff`; null if the file states none.")


class Stack(BaseModel):
    """The channels, depth (z) and time (t) that a microscope's file describes."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STACK]})

    channels: list[StackChannel] = Field(description="At most 100 channels; `channels` of a dataset chooses some.")
    channel_count: int = Field(description="Number of all channels.")
    z_count: int = Field(description="Number of planes in depth.")
    t_count: int = Field(description="Number of planes in time.")
    z_step: str = Field(description="Distance of two planes in depth, such as `0.5 µm`; may be empty.")
    t_step: str = Field(description="Distance of two planes in time, such as `2 s`; may be empty.")
    z_labels: list[str] = Field(description="Positions or names of the planes in depth, at most 100; may be empty.")
    t_labels: list[str] = Field(description="Positions or names of the planes in time, at most 100; may be empty.")


class NewInspection(BaseModel):
    """The source to inspect. Unknown fields are ignored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": "https://example.org/blue-marble.tif"},
                {"url": "https://example.org/maps.zip", "member": "maps/1850.tif"},
            ]
        }
    )

    url: str = Field(
        pattern=r"^[^\x00]*$",
        description="URL of the image: http or https, a public address, without a password.",
        json_schema_extra={"format": "uri"},
    )
    member: Member | None = Field(
        default="",
        description="Name of the image in a ZIP archive that has several. `report.refused` lists them.",
    )


class InspectionCreated(BaseModel):
    """The inspection was accepted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "inspection_id": "inspect_a1b2c3d4",
                    "status": "processing",
                    "message": "Inspecting the source",
                    "inspection_url": "/api/inspections/inspect_a1b2c3d4",
                }
            ]
        }
    )

    success: Literal[True]
    inspection_id: str = Field(description="`inspect_` and eight or more lower-case hex digits.")
    status: Literal["processing"]
    message: str
    inspection_url: str = Field(description="URL to poll for the report.")


class Report(BaseModel):
    """What a source is according to its header, and how it would be tiled with default options."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REPORT]})

    source: SourceInfo | None = Field(
        description="null if the source is not an image, or if only the whole file can show what it is."
    )
    page: int | None = Field(
        description="The page that `source` describes, from 0: the main picture, which a dataset without `page` shows. "
        "null if the size is unknown."
    )
    bytes: int | None = Field(description="Length of the file; null if the server does not say.")
    content_type: str = Field(description="The server's Content-Type. Shown only; the file's bytes decide.")
    ranges: bool = Field(description="Whether the server supports range requests.")
    tile_size: int = Field(description="Edge in pixels of the tiles that are counted.")
    levels: int | None = Field(description="Number of Deep Zoom levels; null if the size is unknown.")
    tiles: int | None = Field(description="Number of Deep Zoom tiles; null if the size is unknown.")
    max_zoom: int | None = Field(description="Highest XYZ zoom; null if the size is unknown.")
    memory_bytes: int | None = Field(
        description="Upper bound on the memory for tiling, in bytes, from the header; null if the size is unknown."
    )
    fetched_bytes: int = Field(description="Bytes of the file that the inspection fetched.")
    refused: Error | None = Field(description="Why a dataset with this source would fail; null if no reason is known.")
    rewritten: Rewritten | SkipJsonSchema[None] = absent(REWRITTEN_FIELD)
    stack: Stack | SkipJsonSchema[None] = absent(
        "The stack that the page belongs to, by OME-XML or ImageJ; left out if the file describes none."
    )


class Inspection(BaseModel):
    """An inspection of a source, and its result. Kept for a day."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "inspection_id": "inspect_a1b2c3d4",
                    "url": "https://example.org/blue-marble.tif",
                    "status": "ready",
                    "created_at": "2024-05-01T12:00:00.000Z",
                    "finished_at": "2024-05-01T12:00:00.400Z",
                    "report": _REPORT,
                    "error": None,
                }
            ]
        }
    )

    inspection_id: str
    url: str
    status: InspectionStatus
    created_at: str
    finished_at: str | None = Field(description="When the inspection ended.")
    report: Report | None = Field(description="Set when `status` is `ready`.")
    error: Error | None = Field(description="Why the inspection failed; set when `status` is `failed`.")
