"""The routers of the API, in the order in which OpenAPI lists their routes."""

from __future__ import annotations

from gateway.api import datasets, health, inspections, preview

ROUTERS = (datasets.router, preview.router, inspections.router, health.router)
