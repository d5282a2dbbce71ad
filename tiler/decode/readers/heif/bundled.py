"""Libraries that come inside of Python packages, for what their packages do not offer."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

Functions = Mapping[str, tuple[type | None, ...]]
"""By name: the type of the result, then those of the arguments."""


def load(module: str, library: str, functions: Functions) -> ctypes.CDLL:
    """Give a library with its functions declared. Call it before the process is confined.

    Parameters
    ----------
    module: of the package; the library lies beside it, or beside the package's folder.
    library: its folder and the beginning of its name, such as "pillow.libs/libavif".

    Raises
    ------
    FileNotFoundError: where it is not there.
    AttributeError: where it has not got a function.
    """
    found = find_spec(module)
    beside = Path(found.origin).parent if found and found.origin else Path()
    folder = beside if found is None or found.submodule_search_locations is None else beside.parent
    for path in sorted(folder.glob(f"{library}*")):
        loaded = ctypes.CDLL(str(path))
        for name, (result, *arguments) in functions.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
        return loaded
    raise FileNotFoundError(library)
