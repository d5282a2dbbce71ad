"""The whole system in one process: `tilewright up`, its broker in memory, and the lock of its data directory.

This package may import every service.
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
