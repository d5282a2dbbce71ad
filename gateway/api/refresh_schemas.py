"""Schemas of the responses about refreshes and versions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from gateway.api.own_text_schemas import example
from gateway.http import absent

RefreshState = Literal["queued", "downloading", "generating_tiles", "unchanged", "changed", "failed", "cancelled"]

REFRESH_FIELD = "The refresh that is at work, or the last one that ended; left out if there was none."

_AT_WORK: dict[str, Any] = {
    "state": "downloading",
    "message": "Downloading… 34 %",
    "percent": 17.0,
    "requested_at": "2024-06-01T12:00:00.000Z",
}
_TILE_ID = "6f1ed002ab5595859014ebf0951522d9c1a2b3c4d5e6f708192a3b4c5d6e7f80"
_VERSION: dict[str, Any] = {
    "tile_id": _TILE_ID,
    "present": True,
    "pyramid_version": 10,
    "width": 43200,
    "height": 21600,
    "bytes": 301989888,
    "dzi": f"/tiles/{_TILE_ID}.dzi",
    "xyz": f"/tiles/{_TILE_ID}/{{z}}/{{x}}/{{y}}.jpg",
    "thumbnail": f"/tiles/{_TILE_ID}/thumbnail.jpg",
    "source": {"sha256": "9f" * 32, "bytes": 123456789, "last_modified": "Wed, 01 May 2024 09:00:00 GMT"},
    "created_at": "2024-05-01T12:01:30.250Z",
    "replaced_at": None,
    "kept_until": None,
}


class RefreshError(BaseModel):
    """Why a refresh could not use the source."""

    code: str = Field(description="Stable error code; all codes are listed at /docs/errors.")
    message: str = Field(description="What happened, and what to do, as a sentence for people.")


class Refresh(BaseModel):
    """A refresh: the source is fetched again while the dataset shows its present tiles."""

    model_config = example(_AT_WORK)

    state: RefreshState = Field(
        description="The first three are at work. `unchanged`: the source is the same, and nothing was done. "
        "`changed`: the dataset shows new tiles. `failed`: the dataset shows what it showed before."
    )
    message: str = Field(description="What is being done, or what came of it, as a sentence for people.")
    percent: float | SkipJsonSchema[None] = absent("Progress of the refresh; left out after its end, and if unknown.")
    requested_at: str
    finished_at: str | SkipJsonSchema[None] = absent("When it ended; left out before that.")
    error: RefreshError | SkipJsonSchema[None] = absent(
        "Why the source could not be used; left out if it could. With `changed`, the tiles were made of the file "
        "that was fetched before."
    )


class VersionSource(BaseModel):
    """The source that a version was made of."""

    sha256: str = Field(description="SHA-256 of its bytes, in hex.")
    bytes: int
    last_modified: str = Field(description="The Last-Modified that its server sent; empty if it sent none.")


class Version(BaseModel):
    """Tiles that the dataset shows, or has shown. Their addresses always show the same pixels."""

    model_config = example(_VERSION)

    tile_id: str
    present: bool = Field(description="Whether the dataset shows this version.")
    pyramid_version: int | None = Field(description="The pyramid version that made it; null if unknown.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    bytes: int = Field(description="Size of its files.")
    dzi: str
    xyz: str
    thumbnail: str
    source: VersionSource
    created_at: str | None = Field(description="Since when the dataset has shown it.")
    replaced_at: str | None = Field(description="When another version took its place.")
    kept_until: str | None = Field(
        description="When it may be removed; null for the present version, and for those that "
        "`TILEWRIGHT_KEEP_VERSIONS` keeps."
    )


class Versions(BaseModel):
    """The versions of a dataset that are kept, newest first."""

    model_config = example({"versions": [_VERSION]})

    versions: list[Version]
