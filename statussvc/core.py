"""What both gRPC services and the background tasks share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from statussvc.db import Database
from statussvc.leases import Leases
from statussvc.policy import Policy
from statussvc.watch import Hub


@dataclass(frozen=True, slots=True)
class Core:
    """The database, the runs at work, the watchers and the policy.

    Parameters
    ----------
    now: the wall clock in seconds since the epoch, for rows.
    require_room: raises StatusUnavailable where nothing new can be accepted; called in the database's thread.
    """

    database: Database
    leases: Leases
    hub: Hub
    policy: Policy
    now: Callable[[], float] = time.time
    require_room: Callable[[], None] = lambda: None
