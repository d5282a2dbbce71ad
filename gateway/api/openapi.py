"""The OpenAPI document: FastAPI's, with our problem schema instead of its validation errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.http import Problem

DESCRIPTION = """\
Turns the URL of a gigapixel image into a deep-zoom tile pyramid.

`POST /api/datasets` with a name and a URL returns an id at once. Poll `GET /api/datasets/{id}/status` until `status` is
`ready` or `failed`. Once it is `ready`, `tile_info` has the URLs of the tiles, as Deep Zoom and as XYZ.

Every error is `application/problem+json` with a stable `code`: see [the table of codes](/docs/errors).
"""

_DEFINITION = "#/components/schemas/{model}"
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")


def cached_document(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return the function that FastAPI calls for the document, which is made at the first call."""
    return cache(lambda: document(app))


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an app's routes."""
    made = get_openapi(
        title="Tilewright",
        version=version("tilewright"),
        openapi_version="3.1.0",
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    components = made["components"]["schemas"]
    for name in _FASTAPIS_OWN:
        components.pop(name, None)
    for operations in made["paths"].values():
        for operation in operations.values():
            # FastAPI declares a 422 wherever there are parameters. If we declare none, the route never returns one.
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    problem = Problem.model_json_schema(ref_template=_DEFINITION)
    components |= problem.pop("$defs")
    components["Problem"] = problem
    return made
