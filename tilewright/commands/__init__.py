"""The commands of `tilewright`, and what they print.

This package may import the client, `tilewright.embedded`, and the services whose work a command does itself. The rest
of tilewright starts it by what is listed here.
"""

from tilewright.commands.cli import main

__all__ = [
    "main",
]
