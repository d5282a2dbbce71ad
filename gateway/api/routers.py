"""The routers of the API, in the order in which OpenAPI lists their routes."""

from __future__ import annotations

from gateway.api import collections, datasets, health, inspections, preview

ROUTERS = (datasets.router, preview.router, inspections.router, collections.router, health.router)

IIIF_PATHS = collections.PREFIXES
"""How the paths below /iiif/ begin that these routers handle."""
