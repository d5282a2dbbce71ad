"""What is taken from a process before it opens a stranger's file. docs/sandbox.md says what each layer stops.

A kind of child calls `confine` once, after it has imported all that it needs and before a decoder starts its first
thread: what binds a process binds the calling thread and those that it starts later, and no other.
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

from pipeline.sandbox import landlock, seccomp

NICENESS = 10
"""Added to the child's: it takes all cores, and whoever answers a request on the same machine goes first."""

OPEN_FILES = 256
"""Descriptors: a build needs about ten, and libvips a few for each thread."""

CPU_GRACE = 10
"""Seconds of work between the signal that says that all is used, and the one that cannot be ignored."""

KEPT = ("LD_LIBRARY_PATH", "PATH", "TZ")
"""What a child gets of its worker's environment."""

SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
"""Where the system keeps code that may be loaded late, such as a part of libvips."""

MACHINE_FACTS = ("/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo", "/dev/null", "/dev/urandom")
"""What the C library and the decoders ask for: how many cores there are, and of what kind."""

PROBE_LIMIT = 30.0
"""Seconds that a probe may take; it needs a twentieth of one."""

_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522


class Layer(NamedTuple):
    """One part of the sandbox.

    Parameters
    ----------
    name: what it holds, and by what.
    lacking: why it is not in force; empty where it is.
    """

    name: str
    lacking: str = ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a confined process may still do.

    Parameters
    ----------
    read: files and folders that it may read, with all in them, besides the interpreter's and the system's libraries.
    write: folders that it may read, and change files in.
    memory: bytes of address space; None for no limit.
    cpu: seconds of all its threads' work together; None for no limit. See also `allow_cpu`.
    most_cpu: seconds that `allow_cpu` may give it in the end; by default those of `cpu`.
    file: bytes of the largest file it may write; None for no limit.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    memory: int | None = None
    cpu: int | None = None
    most_cpu: int | None = None
    file: int | None = None


def environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Give the whole environment of a child: nothing of the worker's own, which holds passwords.

    Parameters
    ----------
    folder: for the child's temporary files.
    more: variables of this kind of child, such as pipeline.formats.libvips.environment.
    """
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8", "TMPDIR": str(folder)} | dict(more)


def confine(allowance: Allowance) -> tuple[Layer, ...]:
    """Leave this process what is allowed it, for good. What the kernel has not got is left out.

    Returns
    -------
    The layers, with why they are not in force.

    Raises
    ------
    RuntimeError: where a second thread is running, which would stay free.
    OSError: where a layer that is there cannot be put in force.
    """
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208  as quick as can be: no Path is wanted
    if threads != 1:
        raise RuntimeError(f"{threads} threads are running: only the one that calls would be confined")
    os.nice(NICENESS)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_AS, allowance.memory)
    _limit(resource.RLIMIT_CPU, allowance.cpu, allowance.most_cpu or allowance.cpu, grace=CPU_GRACE)
    _limit(resource.RLIMIT_FSIZE, allowance.file)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    _drop_capabilities(libc)
    return (Layer("limits"), Layer("no new privileges"), *_landlock(allowance), _seccomp())


def probe() -> tuple[Layer, ...]:
    """Confine a process that does nothing else, and give its layers: what holds on this machine, here and now."""
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
    """Give the layers as a program reads them: each is "ok", or why it is not in force."""
    return {layer.name: layer.lacking or "ok" for layer in layers}


def announce(logger: logging.Logger, layers: tuple[Layer, ...]) -> None:
    """Log what is in force, once a worker; a warning where something is not."""
    lacking = [f"{layer.name}: {layer.lacking}" for layer in layers if layer.lacking]
    if lacking:
        logger.warning("the sandbox lacks %s. See docs/sandbox.md", "; ".join(lacking))
    logger.info("the sandbox holds %s", ", ".join(layer.name for layer in layers if not layer.lacking) or "nothing")


def allow_cpu(seconds: int) -> None:
    """Give this process so much work in all, once it is known what it is to do; at most what it was confined to.

    For good: who ignores the signal that says so is killed CPU_GRACE seconds later.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = seconds if hard == resource.RLIM_INFINITY else min(seconds, hard - CPU_GRACE)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + CPU_GRACE))


def limit_file(size: int) -> None:
    """Let this process write no larger file from now on, in bytes."""
    _limit(resource.RLIMIT_FSIZE, size)


def _limit(kind: int, value: int | None, most: int | None = None, *, grace: int = 0) -> None:
    """Set a limit that is never above the one in force.

    Parameters
    ----------
    most: what the process may raise it to; by default `value`.
    grace: between the signal that says that all is used, and the one that cannot be ignored.
    """
    if value is None:
        return
    hard = max(value, most or 0) + grace
    present = resource.getrlimit(kind)[1]
    if present != resource.RLIM_INFINITY:
        hard = min(hard, present)
    resource.setrlimit(kind, (min(value, hard), hard))


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up what a worker that runs as root has over others: to raise limits, and to open any file."""
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
    """Where code may be loaded from late. The project's own folder is not among it: the storage may lie in it."""
    roots = tuple(f"{root}/lib" for root in {sys.prefix, sys.base_prefix})
    imports = (path for path in sys.path if path.startswith(roots))
    return tuple(Path(path) for path in (*imports, *SYSTEM_LIBRARIES, *MACHINE_FACTS))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(confine(Allowance())))
