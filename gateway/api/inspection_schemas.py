"""The shapes of inspections in the REST contract, with an example of each."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.api.schemas import Error, SourceInfo

InspectionStatus = Literal["queued", "processing", "ready", "failed"]

_REPORT: dict[str, Any] = {
    "source": {"format": "tiff", "width": 43200, "height": 21600, "pages": 1},
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


class NewInspection(BaseModel):
    """What is to be looked at. Unknown fields are ignored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "https://example.org/blue-marble.tif"}]})

    url: str = Field(
        pattern=r"^[^\x00]*$",
        description="Where the image is: http or https, public, without a password.",
        json_schema_extra={"format": "uri"},
    )


class InspectionCreated(BaseModel):
    """The inspection is accepted; a worker looks from now on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "inspection_id": "inspect_a1b2c3d4",
                    "status": "processing",
                    "message": "Looking at the source",
                    "inspection_url": "/api/inspections/inspect_a1b2c3d4",
                }
            ]
        }
    )

    success: Literal[True]
    inspection_id: str = Field(description="`inspect_` and eight or more lower-case hex digits.")
    status: Literal["processing"]
    message: str
    inspection_url: str = Field(description="Where the report will be.")


class Report(BaseModel):
    """What a source is, by its header, and what would become of it with the usual options."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REPORT]})

    source: SourceInfo | None = Field(description="null where it is no image, or its header cannot be read alone.")
    bytes: int | None = Field(description="Length of the file; null where the server does not say.")
    content_type: str = Field(description="What the server calls it; nothing depends on that.")
    ranges: bool = Field(description="Whether the server gives parts of the file.")
    tile_size: int = Field(description="Edge in pixels of the tiles that are counted.")
    levels: int | None = Field(description="Deep Zoom levels to come; null where the size is unknown.")
    tiles: int | None = Field(description="Deep Zoom tiles to come.")
    max_zoom: int | None = Field(description="Highest XYZ zoom to come.")
    memory_bytes: int | None = Field(description="Bytes of memory that tiling takes at most, by the header.")
    fetched_bytes: int = Field(description="Bytes of the file that the inspection itself fetched.")
    refused: Error | None = Field(description="Why a dataset of this source would fail; null where nothing is known.")


class Inspection(BaseModel):
    """A look at a source, and what came of it. Kept for a day."""

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
    finished_at: str | None = Field(description="When it came to its end.")
    report: Report | None = Field(description="Set when it is ready.")
    error: Error | None = Field(description="Why the source could not be looked at; set when it has failed.")
