"""Rpcs to statussvc: deadlines, concurrency and rate.

Imports `pipeline`. The rest of the gateway imports what is listed here.
"""

from gateway.rpc.calls import ask, wait_until_final
from gateway.rpc.gate import Busy, Gate, GatedRpcs, RefuseCrowd
from gateway.rpc.pacing import Pacing
from gateway.rpc.searches import Searches

__all__ = [
    "Busy",
    "Gate",
    "GatedRpcs",
    "Pacing",
    "RefuseCrowd",
    "Searches",
    "ask",
    "wait_until_final",
]
