"""Schemas of problems, the API's error responses (RFC 9457), for OpenAPI."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from gateway.http.schema_fields import absent

State = Literal["QUEUED", "DOWNLOADING", "DOWNLOADED", "TILING", "READY", "FAILED", "CANCELLED"]


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    detail: str = Field(description="A sentence for people.")
    pointer: str | SkipJsonSchema[None] = absent("JSON pointer (RFC 6901) into the body.")
    parameter: str | SkipJsonSchema[None] = absent("Name of a query or path parameter.")
    header: str | SkipJsonSchema[None] = absent("Name of a header.")


class Problem(BaseModel):
    """Why a request failed (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="URL of the code's documentation.")
    title: str = Field(description="What the code means.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, and what to do.")
    instance: str = Field(description="Path of the request.")
    code: str = Field(description="Stable error code; all codes are listed at /docs/errors.")
    request_id: str = Field(description="The same id as in X-Request-ID and in the gateway's log.")
    success: Literal[False]
    errors: list[FieldProblem] | SkipJsonSchema[None] = absent("On 422: what is wrong with which part of the request.")
    state: State | SkipJsonSchema[None] = absent("On 409: the dataset's current state.")
