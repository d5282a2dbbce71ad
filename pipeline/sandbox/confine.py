"""Confine a process before it opens an untrusted file. docs/sandbox.md describes what each layer stops.

A child calls `confine` once, after all imports and before a decoder starts its first thread: the confinement applies to
the calling thread and to threads started later, and to no other.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.sandbox import imports, landlock, seccomp

NICENESS = 10
"""Added to a child's niceness by default: it uses all cores, and services that answer requests on the same machine go
first."""

OPEN_FILES = 256
"""Most open descriptors: a build needs about ten, and libvips a few for each thread."""

CPU_GRACE = 10
"""CPU seconds between the signal at the limit, SIGXCPU, and SIGKILL, which cannot be ignored."""

KEPT = ("LD_LIBRARY_PATH", "PATH", "TZ")
"""Variables of the worker's environment that a child receives."""

SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
"""Places of the system's libraries, some of which are loaded late, such as modules of libvips."""

MACHINE_FACTS = ("/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo", "/dev/null", "/dev/urandom")
"""Files that the C library and the decoders read, for instance to learn the number and kind of cores."""

PROBE_LIMIT = 30.0
"""Most seconds of a probe; it needs a twentieth of a second."""

_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522


class Layer(NamedTuple):
    """One part of the sandbox.

    Parameters
    ----------
    name: what it restricts, and by which means.
    lacking: why it is not active; empty if it is.
    """

    name: str
    lacking: str = ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a confined process may still do.

    Parameters
    ----------
    read: files, and folders with all their content, that it may read besides the libraries of Python and the system.
    write: folders that it may read, and in which it may change files.
    memory: bytes of address space; None for no limit.
    cpu: CPU seconds of all its threads together; None for no limit. See also `allow_cpu`.
    most_cpu: CPU seconds to which `allow_cpu` may raise the limit. Default: `cpu`.
    file: most bytes of a file that it writes; None for no limit.
    niceness: added to that of the process.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    memory: int | None = None
    cpu: int | None = None
    most_cpu: int | None = None
    file: int | None = None
    niceness: int = NICENESS


def environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Return the complete environment of a child. Most of the worker's environment is left out: it has passwords.

    Parameters
    ----------
    folder: for the child's temporary files.
    more: further variables for the child, such as pipeline.formats.libvips.environment.
    """
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8", "TMPDIR": str(folder)} | dict(more)


def confine(allowance: Allowance) -> tuple[Layer, ...]:
    """Confine this process permanently to what is allowed. Layers that the kernel lacks are left out.

    From then on, an import of a module that is not of the standard library ends the process, whatever the kernel has.

    Returns
    -------
    The layers. Those that are not active say why.

    Raises
    ------
    RuntimeError: if another thread is running, which would not be confined.
    OSError: if a layer cannot be activated although the kernel has it.
    """
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208  as quick as can be: no Path is wanted
    if threads != 1:
        raise RuntimeError(f"{threads} threads are running: only the calling one would be confined")
    os.nice(allowance.niceness)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_AS, allowance.memory)
    _limit(resource.RLIMIT_CPU, allowance.cpu, allowance.most_cpu or allowance.cpu, grace=CPU_GRACE)
    _limit(resource.RLIMIT_FSIZE, allowance.file)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    _drop_capabilities(libc)
    layers = (Layer("limits"), Layer("no new privileges"), *_landlock(allowance), _seccomp())
    imports.refuse()
    return layers


def probe() -> tuple[Layer, ...]:
    """Confine a separate process that does nothing else, and return its layers: those that work on this machine."""
    try:
        said = subprocess.run(
            (sys.executable, "-I", "-m", "pipeline.sandbox.confine"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=PROBE_LIMIT,
        )
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or b""
        return (Layer("sandbox", f"it cannot be set up: {error} {words.decode(errors='replace')[-500:].strip()}"),)
    return tuple(Layer(*layer) for layer in json.loads(said.stdout))


def by_name(layers: tuple[Layer, ...]) -> dict[str, str]:
    """Return the layers for programs: each is "ok", or says why it is not active."""
    return {layer.name: layer.lacking or "ok" for layer in layers}


def announce(logger: logging.Logger, layers: tuple[Layer, ...]) -> None:
    """Log the active layers when a worker starts, and a warning about missing ones."""
    lacking = [f"{layer.name}: {layer.lacking}" for layer in layers if layer.lacking]
    if lacking:
        logger.warning("the sandbox lacks %s. See docs/sandbox.md", "; ".join(lacking))
    logger.info("the sandbox enforces %s", ", ".join(layer.name for layer in layers if not layer.lacking) or "nothing")


def allow_cpu(seconds: int) -> None:
    """Set this process's CPU seconds, once its work is known, to at most those of its confinement.

    A process that ignores the signal at the limit is killed CPU_GRACE seconds later.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = seconds if hard == resource.RLIM_INFINITY else min(seconds, hard - CPU_GRACE)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + CPU_GRACE))


def limit_file(size: int) -> None:
    """Limit the files that this process writes from now on to `size` bytes."""
    _limit(resource.RLIMIT_FSIZE, size)


def _limit(kind: int, value: int | None, most: int | None = None, *, grace: int = 0) -> None:
    """Set a limit, but never above the current one.

    Parameters
    ----------
    most: value to which the process may raise the limit. Default: `value`.
    grace: between the signal at the limit and the kill.
    """
    if value is None:
        return
    hard = max(value, most or 0) + grace
    present = resource.getrlimit(kind)[1]
    if present != resource.RLIM_INFINITY:
        hard = min(hard, present)
    resource.setrlimit(kind, (min(value, hard), hard))


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up the privileges of a worker that runs as root, such as to raise limits and to open any file."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    if libc.capset(ctypes.byref(header), ctypes.byref(none)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _landlock(allowance: Allowance) -> tuple[Layer, Layer, Layer]:
    files, tcp, signals = "files (Landlock)", "TCP (Landlock)", "signals (Landlock)"
    try:
        abi = landlock.restrict((*_libraries(), *allowance.read), allowance.write)
    except OSError as error:
        if error.errno not in landlock.LACKING:
            raise
        why = landlock.LACKING[error.errno]
        return Layer(files, why), Layer(tcp, why), Layer(signals, why)
    return (
        Layer(files),
        Layer(tcp, "" if abi >= 4 else f"this kernel's Landlock is of ABI {abi}: TCP needs 4 (Linux 6.7)"),
        Layer(signals, "" if abi >= 6 else f"this kernel's Landlock is of ABI {abi}: signals need 6 (Linux 6.12)"),
    )


def _seccomp() -> Layer:
    name = "system calls (seccomp)"
    try:
        seccomp.restrict()
    except seccomp.UnknownMachine as error:
        return Layer(name, str(error))
    except OSError as error:
        if error.errno not in seccomp.LACKING:
            raise
        return Layer(name, seccomp.LACKING[error.errno])
    return Layer(name)


def _libraries() -> tuple[Path, ...]:
    """Return the places of libraries. The project's own folder is not among them, since the storage may lie in it."""
    roots = tuple(f"{root}/lib" for root in {sys.prefix, sys.base_prefix})
    imports = (path for path in sys.path if path.startswith(roots))
    return tuple(Path(path) for path in (*imports, *SYSTEM_LIBRARIES, *MACHINE_FACTS))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(confine(Allowance())))
