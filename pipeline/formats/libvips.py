"""Check the version of libvips, restrict its loaders, and set its limits, before it opens an untrusted file.

This module does not load libvips: a child process does, and passes the pyvips module.
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
"""Loaders that libvips' authors fuzz and trust; all others are blocked."""


ARENAS = 4
"""Arenas of glibc's allocator. Each takes 64 MiB of address space, and the default is eight for each core."""

SPARE_BYTES = 512 << 20
"""Address space that is not used as memory: code, arenas, stacks of a fixed number of threads."""

THREAD_BYTES = 32 << 20
"""Address space for each of libvips' threads: three stacks of 8 MiB, since decoders start their own threads."""

_THREADS = "VIPS_CONCURRENCY"


UNTRUSTED_LOADERS = {"svg": "VipsForeignLoadSvg"}
"""Untrusted loaders that an operator may allow, by format: see pipeline.formats.settings."""


class UnsafeLibvips(Exception):
    """Raised if libvips is older than the least version that may open untrusted files."""


def version(pyvips: ModuleType) -> tuple[int, ...]:
    """Return the version of the loaded libvips, such as (8, 18, 7)."""
    return tuple(pyvips.version(part) for part in range(3))


def require(pyvips: ModuleType, least_version: str) -> None:
    """Raise UnsafeLibvips if libvips is older than `least_version`, such as "8.18.3"."""
    found = version(pyvips)
    if found < tuple(int(part) for part in least_version.split(".")):
        text = ".".join(map(str, found))
        raise UnsafeLibvips(f"libvips {text} is older than {least_version}, the least version for untrusted files")


def block_loaders(pyvips: ModuleType, allowed: Iterable[str] = ()) -> None:
    """Block all loaders of libvips except the trusted ones, and those of UNTRUSTED_LOADERS in `allowed`."""
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in (*TRUSTED_LOADERS, *(UNTRUSTED_LOADERS[name] for name in allowed)):
        pyvips.operation_block_set(loader, False)


def address_space(memory: int, mapped: int) -> int:
    """Return the address space, in bytes (RLIMIT_AS), for a process that may use `memory` bytes.

    Parameters
    ----------
    mapped: bytes of the files that it maps. They need addresses, but use only memory that is free anyway.
    """
    threads = int(os.environ.get(_THREADS, "0")) or len(os.sched_getaffinity(0))
    return memory + mapped + SPARE_BYTES + threads * THREAD_BYTES


def environment(threads: int) -> dict[str, str]:
    """Return the environment variables for libvips in a child process.

    Parameters
    ----------
    threads: of libvips; 0 for one a core.
    """
    return {
        "VIPS_BLOCK_UNTRUSTED": "1",
        "MALLOC_ARENA_MAX": str(ARENAS),
        _THREADS: str(threads),
        "VIPS_WARNING": "1",  # any value silences warnings: a damaged file can cause thousands
    }
