"""Links to pages about a file, and what they lead to: known hosts, IIIF, `og:image`. Pure functions, without I/O.

Imports `pipeline`. The rest of ingest imports what is listed here.
"""

from ingest.links.documents import (
    MOST_HTML,
    MOST_JSON,
    Document,
    from_json,
    from_page,
    is_iiif,
    looks_like,
    page_advice,
)
from ingest.links.table import Answer, Link, rewritten
from ingest.links.tilings import Tiling

__all__ = [
    "MOST_HTML",
    "MOST_JSON",
    "Answer",
    "Document",
    "Link",
    "Tiling",
    "from_json",
    "from_page",
    "is_iiif",
    "looks_like",
    "page_advice",
    "rewritten",
]
