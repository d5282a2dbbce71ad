"""The routers of the API, in the order in which OpenAPI lists their routes."""

from __future__ import annotations

from gateway.api import activity, collections, datasets, health, inspections, preview, refreshes

ROUTERS = (
    datasets.router,
    refreshes.router,
    preview.router,
    inspections.router,
    collections.router,
    activity.router,
    health.router,
)

IIIF_PATHS = (*collections.PREFIXES, activity.PREFIX)
"""How the paths below /iiif/ begin that these routers handle."""
