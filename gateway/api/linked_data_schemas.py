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


class Reference(BaseModel):
    """The address and the type of another document."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: str


class OrderedCollection(BaseModel):
    """The stream of changes by the IIIF Change Discovery API 1.0."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "@context": "http://iiif.io/api/discovery/1/context.json",
                    "id": "https://images.example.org/iiif/activity/all-changes",
                    "type": "OrderedCollection",
                    "first": {
                        "id": "https://images.example.org/iiif/activity/page-0",
                        "type": "OrderedCollectionPage",
                    },
                    "last": {
                        "id": "https://images.example.org/iiif/activity/page-12",
                        "type": "OrderedCollectionPage",
                    },
                }
            ]
        },
    )

    context: str = Field(alias="@context")
    id: str = Field(description="Its address.")
    type: Literal["OrderedCollection"]
    first: Reference = Field(description="The page with the oldest changes.")
    last: Reference = Field(description="The page with the newest changes.")


class OrderedCollectionPage(BaseModel):
    """A page of changes by the IIIF Change Discovery API 1.0."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "@context": "http://iiif.io/api/discovery/1/context.json",
                    "id": "https://images.example.org/iiif/activity/page-12",
                    "type": "OrderedCollectionPage",
                    "partOf": {
                        "id": "https://images.example.org/iiif/activity/all-changes",
                        "type": "OrderedCollection",
                    },
                    "prev": {
                        "id": "https://images.example.org/iiif/activity/page-11",
                        "type": "OrderedCollectionPage",
                    },
                    "orderedItems": [
                        {
                            "type": "Create",
                            "object": {
                                "id": "https://images.example.org/iiif/custom_908561d2/manifest.json",
                                "type": "Manifest",
                                "seeAlso": [
                                    {
                                        "id": "https://images.example.org/api/datasets/custom_908561d2",
                                        "type": "Dataset",
                                        "format": "application/json",
                                    }
                                ],
                            },
                            "endTime": "2026-03-01T12:00:41.250Z",
                            "startTime": "2026-03-01T12:00:03.112Z",
                        }
                    ],
                }
            ]
        },
    )

    context: str = Field(alias="@context")
    id: str = Field(description="Its address.")
    type: Literal["OrderedCollectionPage"]
    part_of: Reference = Field(alias="partOf")
    prev: Reference | None = Field(None, description="The next older page; absent on the first one.")
    next: Reference | None = Field(None, description="The next newer page; absent on the last one.")
    ordered_items: list[dict[str, Any]] = Field(alias="orderedItems", description="Activities, oldest first.")
