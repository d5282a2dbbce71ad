"""Landlock, by its three system calls: which files a process may open, whether it may use TCP and signal others.

See the kernel's Documentation/userspace-api/landlock.rst. A ruleset names what it handles; all of that is forbidden but
for what a rule allows. It binds the calling thread and those that it starts later, for good. No privilege is needed.
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
"""What an ABI added to the first one's: moving between folders, truncating, ioctl on devices."""

_TCP = 0b11
"""To bind and to connect, from ABI 4."""

_SCOPES = 0b11
"""Abstract Unix sockets of others, and signals to them, from ABI 6."""

_READING = _READ_FILE | _READ_DIR
_WRITING = _READING | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _REMOVE_FILE
"""No folders, links, sockets, devices or pipes are among it: what a folder is left with are files."""

_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
"""The rights that a rule may give to what is no folder."""

LACKING = {
    errno.ENOSYS: "this kernel has no Landlock (it came with Linux 5.13)",
    errno.EOPNOTSUPP: "Landlock is switched off in this kernel (its boot parameter lsm=)",
    errno.EPERM: "the container forbids Landlock's system calls (Docker before version 23 does)",
}
"""By errno, what it means that there is none."""


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
    """Give the kernel's version of Landlock, 1 or more.

    Raises
    ------
    OSError: where there is none; LACKING says by its errno why.
    """
    return _call(_CREATE_RULESET, None, 0, _VERSION)


def restrict(read: Iterable[Path], write: Iterable[Path]) -> int:
    """Leave this thread only these files and folders, no TCP and no signals to others, as far as the kernel goes.

    Parameters
    ----------
    read: files and folders that may be read, with all in them. One that is absent is left out.
    write: folders in which files may be read, written, made and removed.

    Returns
    -------
    The kernel's ABI: TCP is forbidden from 4, signals from 6.

    Raises
    ------
    OSError: as abi(), or where a folder of `write` is absent.
    """
    version = abi()
    handled = _FIRST_RIGHTS | sum(right for least, right in _RIGHTS_OF_ABI.items() if version >= least)
    attributes = _Ruleset(handled, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    # An older kernel takes a longer structure whose further fields are zero.
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
