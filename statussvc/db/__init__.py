"""The database: its connections, the claim on it, its rows, and all SQL.

Imports `pipeline`, and of statussvc only what is pure: `lifecycle`, `enums` and `policy`. The rest of statussvc imports
what is listed here: Database, which runs functions in transactions; such functions, by module; the rows they return.
"""

from statussvc.db.claim import LOST, InUse
from statussvc.db.database import Database
from statussvc.db.repository import (
    catalogue,
    changes,
    garbage,
    holds,
    identity,
    inspections,
    labels,
    lost_builds,
    outbox,
    places,
    purge,
    refreshes,
    reusable,
    search,
    stages,
    turns,
    user_actions,
    versions,
)
from statussvc.db.repository.catalogue import KeyReused
from statussvc.db.repository.outbox import WakeUp
from statussvc.db.repository.transitions import Reply
from statussvc.db.rows import (
    CatalogueEntry,
    Counts,
    DatasetRow,
    Facts,
    Failure,
    Preview,
    PyramidRow,
    RefreshEnd,
    Rewritten,
    RunRow,
    SourceInfo,
    VersionRow,
    as_json,
    shown_id,
)
from statussvc.db.tables import HOST

__all__ = [
    "HOST",
    "LOST",
    "CatalogueEntry",
    "Counts",
    "Database",
    "DatasetRow",
    "Facts",
    "Failure",
    "InUse",
    "KeyReused",
    "Preview",
    "PyramidRow",
    "RefreshEnd",
    "Reply",
    "Rewritten",
    "RunRow",
    "SourceInfo",
    "VersionRow",
    "WakeUp",
    "as_json",
    "catalogue",
    "changes",
    "garbage",
    "holds",
    "identity",
    "inspections",
    "labels",
    "lost_builds",
    "outbox",
    "places",
    "purge",
    "refreshes",
    "reusable",
    "search",
    "shown_id",
    "stages",
    "turns",
    "user_actions",
    "versions",
]
