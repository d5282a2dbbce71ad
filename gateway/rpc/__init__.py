"""Rpcs to statussvc: deadlines, concurrency and rate.

Imports `gateway.http` and `pipeline`. The rest of the gateway imports what is listed here.
"""

from gateway.rpc.calls import ask
from gateway.rpc.gate import Busy, Gate, GatedRpcs, RefuseCrowd
from gateway.rpc.pacing import Pacing
from gateway.rpc.searches import Searches
from gateway.rpc.waits import wait_for_inspection, wait_until_final

__all__ = [
    "Busy",
    "Gate",
    "GatedRpcs",
    "Pacing",
    "RefuseCrowd",
    "Searches",
    "ask",
    "wait_for_inspection",
    "wait_until_final",
]
