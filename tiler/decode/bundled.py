"""Load shared libraries that are bundled in Python packages, to call functions that the packages do not offer."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path


class NoLibrary(ImportError):
    """Raised if a library, or a version of it that can be used, is missing."""


Functions = Mapping[str, tuple[type | None, ...]]
"""For each name: the type of the result, then the types of the arguments."""


def load(name: str, package: str, module: str, library: str, functions: Functions) -> ctypes.CDLL:
    """Load a library and declare its functions. Must be called before the process is confined.

    Parameters
    ----------
    name, package: of the library and of what it comes with, for people.
    module: of the package. The library lies beside the module, or beside the package's folder.
    library: its folder and the beginning of its name, such as "pillow.libs/libavif".

    Raises
    ------
    NoLibrary: if there is no such library.
    AttributeError: if the library does not export a function.
    """
    found = find_spec(module)
    beside = Path(found.origin).parent if found and found.origin else Path()
    folder = beside if found is None or found.submodule_search_locations is None else beside.parent
    for path in sorted(folder.glob(f"{library}*")):
        loaded = ctypes.CDLL(str(path))
        for function_name, (result, *arguments) in functions.items():
            function = getattr(loaded, function_name)
            function.restype, function.argtypes = result, arguments
        return loaded
    raise NoLibrary(f"{name}, which comes with {package}, is missing")
