"""Schemas of IIIF documents for OpenAPI. The specifications say more, so other fields are allowed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Collection(BaseModel):
    """A collection of the IIIF Presentation API 3.0."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "@context": "http://iiif.io/api/presentation/3/context.json",
                    "id": "https://images.example.org/iiif/collections/all?category=maps",
                    "type": "Collection",
                    "label": {"en": ["Category: maps"]},
                    "items": [
                        {
                            "id": "https://images.example.org/iiif/custom_908561d2/manifest.json",
                            "type": "Manifest",
                            "label": {"none": ["Blue Marble"]},
                            "thumbnail": [
                                {
                                    "id": "https://images.example.org/tiles/custom_908561d2/thumbnail.jpg",
                                    "type": "Image",
                                    "format": "image/jpeg",
                                    "width": 512,
                                    "height": 256,
                                }
                            ],
                        }
                    ],
                }
            ]
        },
    )

    context: str = Field(alias="@context")
    id: str = Field(description="Its address.")
    type: Literal["Collection"]
    label: dict[str, list[str]]
    items: list[dict[str, Any]] = Field(description="Manifests, and the collection of the older ones.")
