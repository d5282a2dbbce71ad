"""Make any region of a pyramid, in any size, from stored tiles: docs/decisions/0034-regions-are-joined-from-tiles.md.

`planning` chooses the tiles, `pool` has the confined children that join them, `child` is such a child, and `joining`
its work. Imports `pipeline.pyramids` and `pipeline.sandbox`. Everyone else imports what is listed here: only child
processes load a decoder.
"""

from pipeline.regions.planning import MOST_EDGE, Plan, Region, most_tiles, plan
from pipeline.regions.pool import Busy, Pool, Spoiled, Stats
from pipeline.regions.protocol import QUALITIES, Job

__all__ = [
    "MOST_EDGE",
    "QUALITIES",
    "Busy",
    "Job",
    "Plan",
    "Pool",
    "Region",
    "Spoiled",
    "Stats",
    "most_tiles",
    "plan",
]
