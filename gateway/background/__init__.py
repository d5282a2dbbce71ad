"""Background work: the relay, the janitor, and what restarts them when they fail.

Imports `pipeline`. The rest of the gateway, and `tilewright up`, import what is listed here.
"""

from gateway.background.janitor import Janitor
from gateway.background.relay import Relay
from gateway.background.supervisor import Background

__all__ = [
    "Background",
    "Janitor",
    "Relay",
]
