"""The REST API: routes for datasets, inspections and IIIF collections, their JSON, OpenAPI, and health checks.

Imports `gateway.rpc`, `gateway.http`, `gateway.storage`, `gateway.background`, the settings and `pipeline`. The app
imports what is listed here.
"""

from gateway.api.context import Context, Publisher, Sweeper
from gateway.api.openapi import cached_document
from gateway.api.routers import IIIF_PATHS, ROUTERS
from gateway.api.status_app import StatusApp

__all__ = [
    "IIIF_PATHS",
    "ROUTERS",
    "Context",
    "Publisher",
    "StatusApp",
    "Sweeper",
    "cached_document",
]
