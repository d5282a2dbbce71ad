"""The whole system in one process: `tilewright up`, its broker in memory, its lock.

Imports every service.
"""

from tilewright.embedded.launch import LaunchedStack, StackDied, launch, launched
from tilewright.embedded.up import UpOptions, run

__all__ = [
    "LaunchedStack",
    "StackDied",
    "UpOptions",
    "launch",
    "launched",
    "run",
]
