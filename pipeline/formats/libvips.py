"""Which libvips may open a stranger's file, and with which of its loaders.

Nothing here loads libvips: a kind of child does, and passes the module.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import ModuleType

TRUSTED_LOADERS = (
    "VipsForeignLoadJpeg",
    "VipsForeignLoadPng",
    "VipsForeignLoadWebp",
    "VipsForeignLoadNsgif",
    "VipsForeignLoadTiff",
    "VipsForeignLoadHeif",
)
"""Those that libvips' authors fuzz and trust; all others are blocked."""


ARENAS = 4
"""Of glibc's allocator, each of which takes 64 MiB of addresses: by default there would be eight for each core."""

SPARE_BYTES = 512 << 20
"""Addresses that are no memory: code, arenas, the stacks of threads whose number does not depend on the machine."""

THREAD_BYTES = 32 << 20
"""Addresses for each of libvips' threads: three stacks of 8 MiB, since decoders start threads of their own."""

_THREADS = "VIPS_CONCURRENCY"


UNTRUSTED_LOADERS = {"svg": "VipsForeignLoadSvg"}
"""Those that an operator may allow all the same, by the format's name: see pipeline.formats.settings."""


class UnsafeLibvips(Exception):
    """Raised when libvips is older than the least version that may open a stranger's file."""


def version(pyvips: ModuleType) -> tuple[int, ...]:
    """Of the loaded libvips, such as (8, 18, 7)."""
    return tuple(pyvips.version(part) for part in range(3))


def require(pyvips: ModuleType, least_version: str) -> None:
    """Raise UnsafeLibvips where libvips is older than `least_version`, such as "8.18.3"."""
    found = version(pyvips)
    if found < tuple(int(part) for part in least_version.split(".")):
        text = ".".join(map(str, found))
        raise UnsafeLibvips(f"libvips {text} is older than {least_version}, which strangers' files need")


def block_loaders(pyvips: ModuleType, allowed: Iterable[str] = ()) -> None:
    """Leave libvips only its trusted loaders, and those of UNTRUSTED_LOADERS that the operator allows."""
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in (*TRUSTED_LOADERS, *(UNTRUSTED_LOADERS[name] for name in allowed)):
        pyvips.operation_block_set(loader, False)


def address_space(memory: int, mapped: int) -> int:
    """Give the bytes of address space (RLIMIT_AS) of a process that may take `memory`.

    Parameters
    ----------
    mapped: bytes of the files that it maps: they take addresses, and memory only where there is some to spare.
    """
    threads = int(os.environ.get(_THREADS, "0")) or len(os.sched_getaffinity(0))
    return memory + mapped + SPARE_BYTES + threads * THREAD_BYTES


def environment(threads: int) -> dict[str, str]:
    """Give the variables that libvips reads, for a child's environment.

    Parameters
    ----------
    threads: of libvips; 0 for one a core.
    """
    return {
        "VIPS_BLOCK_UNTRUSTED": "1",
        "MALLOC_ARENA_MAX": str(ARENAS),
        _THREADS: str(threads),
        "VIPS_WARNING": "1",  # any value silences them: a damaged file can make thousands of warnings
    }
