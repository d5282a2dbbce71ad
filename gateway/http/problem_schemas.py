"""The shapes of the problems that errors are answered with (RFC 9457), as OpenAPI shows them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from gateway.http.schema_fields import absent

State = Literal["QUEUED", "DOWNLOADING", "DOWNLOADED", "TILING", "READY", "FAILED", "CANCELLED"]


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    detail: str = Field(description="A sentence for a person.")
    pointer: str | SkipJsonSchema[None] = absent("JSON pointer (RFC 6901) into the body.")
    parameter: str | SkipJsonSchema[None] = absent("Name in the query or the path.")
    header: str | SkipJsonSchema[None] = absent("Name of a header.")


class Problem(BaseModel):
    """Why a request could not be answered (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Opens the documentation of the code.")
    title: str = Field(description="What the code means.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened and what to do.")
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(description="Stable; the table of all codes is at /docs/errors.")
    request_id: str = Field(description="As in X-Request-ID and in the gateway's log.")
    success: Literal[False]
    errors: list[FieldProblem] | SkipJsonSchema[None] = absent("On 422: what is wrong where.")
    state: State | SkipJsonSchema[None] = absent("On 409: where the dataset stands now.")
