"""Refuse modules that a confined process would load too late.

A confined process cannot read the project's own folder, and a module that it can read may be any by then. So everything
is loaded before. Modules of Python's standard library are exempt: they lie where the process may read, and Python loads
some of them when they are needed.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress


class _Refusal:
    """A finder of modules that ends the process when it is asked for a module of the project or of a package."""

    def find_spec(self, name: str, *_: object) -> None:
        """Return None for a module of the standard library. Otherwise say what imports the module, and exit with 1.

        An exception would not do: a reader or libvips might take it for damage of the file.
        """
        if name.partition(".")[0] in sys.stdlib_module_names:
            return
        with suppress(OSError):
            traceback.print_stack()
            sys.stderr.write(f"{name} is imported after the process was confined: import it before\n")
            sys.stderr.flush()
        os._exit(1)


def refuse() -> None:
    """Refuse from now on to load any module that is not of the standard library, and was not loaded before."""
    sys.meta_path.insert(0, _Refusal())
