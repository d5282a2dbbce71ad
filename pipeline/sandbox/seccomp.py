"""Filter system calls: those that a decoder never needs fail with EPERM.

See the kernel's Documentation/userspace-api/seccomp_filter.rst. The filter applies permanently to the calling thread
and to threads started later. The process must have set no_new_privs before. It is a deny list, since the calls of
libvips, its decoders and the C library differ between versions; files are restricted by Landlock. No library is used:
libseccomp is not installed everywhere, and the program is simple, with one comparison for each call.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_PR_SET_PDEATHSIG = 1
_CLONE_THREAD = 0x00010000

LACKING = {
    errno.EINVAL: "this kernel has no seccomp filters",
    errno.ENOSYS: "this kernel has no seccomp filters",
    errno.EPERM: "the container forbids further seccomp filters",
    errno.EACCES: "the container forbids further seccomp filters",
}
"""Why there are no filters, by errno."""


class UnknownMachine(Exception):
    """Raised if this architecture's numbers of system calls are not in DENIED."""


class Machine(NamedTuple):
    """An architecture: its column in DENIED, its audit number, and the first number of a second set of calls."""

    column: int
    audit: int
    other_numbers: int | None


MACHINES = {
    "x86_64": Machine(0, 0xC000003E, 0x40000000),  # the x32 ABI
    "aarch64": Machine(1, 0xC00000B7, None),
}

DENIED: dict[str, tuple[int | None, int | None]] = {
    # The network.
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    # Other programs and processes, and an escape from the group that the parent kills.
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # Other processes' memory, descriptors, signals and priorities.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgctl": (71, 187),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # Memory outside of the limited address space.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # Thousands of nested folders, which would break their later removal.
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    # Not restricted by Landlock: links that might mislead the parent, and attributes of files.
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "link": (86, None),
    "linkat": (265, 37),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "file_setattr": (469, 469),
    # File systems and namespaces.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "fanotify_init": (300, 262),
    # Parts of the kernel with past vulnerabilities that unprivileged processes could exploit.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "splice": (275, 76),
    "tee": (276, 77),
    "vmsplice": (278, 75),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    # The machine: the kernel refuses these to unprivileged processes, and this filter to a worker that runs as root.
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "iopl": (172, None),
    "ioperm": (173, None),
}
"""The numbers of each call on x86_64 and aarch64, from the kernel's tables; None if there is no such call."""

_CLONE = (56, 220)
_CLONE3 = (435, 435)
_KILL = (62, 129)
_TGKILL = (234, 131)
_PRLIMIT = (302, 261)
_PRCTL = (157, 167)
_FCNTL = (72, 25)

_SIGNALLING = (8, 10, 15)
"""Commands of fcntl that make the kernel send signals: F_SETOWN, F_SETSIG and F_SETOWN_EX (fcntl.h)."""

# From linux/filter.h: load a word; jump if equal, if greater or equal, if any bit is set; return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
"""Offsets within struct seccomp_data. For an argument it is the lower half, since these machines are little-endian."""

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("then", ctypes.c_uint8), ("other", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def restrict() -> None:
    """Deny this thread, and threads it starts, the calls in DENIED, new processes, and signals to other processes.

    Raises
    ------
    UnknownMachine: if this machine is neither x86_64 nor aarch64.
    OSError: if the kernel does not accept the filter; LACKING explains its errno.
    """
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        raise UnknownMachine(f"the system calls of {os.uname().machine} are not known")
    instructions = [_Instruction(*parts) for parts in _instructions(machine, os.getpid())]
    array = (_Instruction * len(instructions))(*instructions)
    program = _Program(len(instructions), array)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


def _instructions(machine: Machine, pid: int) -> Iterator[tuple[int, int, int, int]]:
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    yield (_LOAD, 0, 0, _ARCHITECTURE)
    yield (_EQUAL, 1, 0, machine.audit)
    yield refuse
    yield (_LOAD, 0, 0, _NUMBER)
    if machine.other_numbers is not None:
        yield (_AT_LEAST, 0, 1, machine.other_numbers)
        yield refuse
    for numbers in DENIED.values():
        number = numbers[machine.column]
        if number is not None:
            yield (_EQUAL, 0, 1, number)
            yield refuse
    # The flags of clone3 lie in memory, where a filter cannot read them. On ENOSYS the C library uses clone instead,
    # whose flags are checked: only threads are allowed.
    yield (_EQUAL, 0, 1, _CLONE3[machine.column])
    yield (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)
    for number, test in (
        (_CLONE[machine.column], (_ANY_BIT, 0, 1, _CLONE_THREAD)),
        # A process may send signals to itself: abort() does.
        (_KILL[machine.column], (_EQUAL, 0, 1, pid)),
        (_TGKILL[machine.column], (_EQUAL, 0, 1, pid)),
        (_PRLIMIT[machine.column], (_EQUAL, 0, 1, 0)),
    ):
        yield (_EQUAL, 0, 4, number)
        yield (_LOAD, 0, 0, _FIRST_ARGUMENT)
        yield test
        yield allow
        yield refuse
    for number, argument, values in (
        (_PRCTL[machine.column], _FIRST_ARGUMENT, (_PR_SET_PDEATHSIG,)),
        (_FCNTL[machine.column], _SECOND_ARGUMENT, _SIGNALLING),
    ):
        yield (_EQUAL, 0, 2 + 2 * len(values), number)
        yield (_LOAD, 0, 0, argument)
        for value in values:
            yield (_EQUAL, 0, 1, value)
            yield refuse
        yield allow
    yield allow
