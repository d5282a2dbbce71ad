"""The whole system in one process: `tilewright up`, its broker in memory, and the lock of its data directory.

This package may import every service. The commands import what is listed here.
"""

from tilewright.embedded.launched_stack import LaunchedStack, StackDied, launch, launched
from tilewright.embedded.up import UpOptions, run

__all__ = [
    "LaunchedStack",
    "StackDied",
    "UpOptions",
    "launch",
    "launched",
    "run",
]
