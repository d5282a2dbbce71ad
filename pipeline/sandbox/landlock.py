"""Restrict a process with Landlock: which files it may open, whether it may use TCP and signal other processes.

See the kernel's Documentation/userspace-api/landlock.rst. A ruleset lists the rights that it handles; all of them are
denied except where a rule allows them. It applies permanently to the calling thread and to threads started later. It
needs no privileges.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, the same on every architecture."""

_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE = 1 << 5
_MAKE_REG = 1 << 8
_TRUNCATE = 1 << 14

_FIRST_RIGHTS = (1 << 13) - 1
_RIGHTS_OF_ABI = {2: 1 << 13, 3: _TRUNCATE, 5: 1 << 15}
"""Rights that later ABIs added to those of the first: to move between folders, to truncate, ioctl on devices."""

_TCP = 0b11
"""The rights to bind and to connect, since ABI 4."""

_SCOPES = 0b11
"""Abstract Unix sockets of other processes, and signals to them, since ABI 6."""

_READING = _READ_FILE | _READ_DIR
_WRITING = _READING | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _REMOVE_FILE
"""The right to make folders, links, sockets, devices or pipes is not included: only regular files can be made."""

_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
"""The rights that a rule may allow for a file."""

LACKING = {
    errno.ENOSYS: "this kernel has no Landlock (it came with Linux 5.13)",
    errno.EOPNOTSUPP: "Landlock is switched off in this kernel (its boot parameter lsm=)",
    errno.EPERM: "the container forbids Landlock's system calls (Docker before version 23 does)",
}
"""Why there is no Landlock, by errno."""


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """Return the kernel's version of Landlock, 1 or more.

    Raises
    ------
    OSError: if there is none; LACKING explains its errno.
    """
    return _call(_CREATE_RULESET, None, 0, _VERSION)


def restrict(read: Iterable[Path], write: Iterable[Path]) -> int:
    """Deny this thread all other files and folders, and TCP and signals to other processes if the kernel supports it.

    Parameters
    ----------
    read: files, and folders with all their content, that may be read. Missing ones are ignored.
    write: folders in which files may be read, written, made and removed.

    Returns
    -------
    The kernel's ABI: TCP is denied since 4, signals since 6.

    Raises
    ------
    OSError: as abi(), or if a folder of `write` is missing.
    """
    version = abi()
    handled = _FIRST_RIGHTS | sum(right for least, right in _RIGHTS_OF_ABI.items() if version >= least)
    attributes = _Ruleset(handled, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    # An older kernel accepts a longer structure if its additional fields are zero.
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    try:
        for path in read:
            if path.exists():
                _allow(ruleset, path, handled & _READING)
        for path in write:
            _allow(ruleset, path, handled & _WRITING)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneath(rights if path.is_dir() else rights & _OF_A_FILE, descriptor)
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock's system call {number}")
    return result
