"""The REST API: routes for datasets and inspections, their JSON, OpenAPI, and health checks.

Imports `gateway.rpc`, `gateway.http`, `gateway.storage`, `gateway.background`, the settings and `pipeline`. The app
imports what is listed here.
"""

from gateway.api.context import Context, Publisher, Sweeper
from gateway.api.openapi import cached_document
from gateway.api.routers import ROUTERS
from gateway.api.status_app import StatusApp

__all__ = [
    "ROUTERS",
    "Context",
    "Publisher",
    "StatusApp",
    "Sweeper",
    "cached_document",
]
