"""The filter of system calls: its numbers against the kernel's lists, and its program run for every call there is.

No machine has both architectures, so the program is run here by a small interpreter of the kernel's language for it
(Documentation/networking/filter.rst), as far as the filter uses it.
"""

from __future__ import annotations

import errno
import struct
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.sandbox import seccomp

LISTS = Path(__file__).parents[1] / "data/system-calls.txt"

ME = 4242
"""The filtered process."""

ALLOWED = "allowed"

LARGEST_PROGRAM = 4096
"""Instructions that the kernel takes (BPF_MAXINSNS)."""

THREAD = 0x003D0F00
"""Flags by which the C library's pthread_create calls clone; CLONE_THREAD is among them."""

PROCESS = 0x01200011
"""Flags by which its fork does."""

DEFINED = ["x86_64", "aarch64"]


def numbers_of(machine: str) -> dict[str, int]:
    """The kernel's own numbers by name."""
    rows = [line.split() for line in LISTS.read_text().splitlines() if not line.startswith("#")]
    column = 1 + seccomp.MACHINES[machine].column
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


class Call(NamedTuple):
    """A system call as the kernel shows it to a filter: struct seccomp_data, little-endian."""

    number: int
    audit: int
    arguments: tuple[int, ...] = ()

    @property
    def data(self) -> bytes:
        arguments = [value % 2**64 for value in (*self.arguments, *(0,) * 6)[:6]]
        return struct.pack("<IIQ6Q", self.number % 2**32, self.audit, 0x7F0000001234, *arguments)


def run(program: list[tuple[int, int, int, int]], call: Call) -> str:
    """Runs a filter's program; gives the verdict: "allowed", or the errno that the call is answered with."""
    accumulator, at = 0, 0
    while True:
        code, then, other, k = program[at]
        at += 1
        match code:
            case 0x20:  # BPF_LD | BPF_W | BPF_ABS
                assert k % 4 == 0
                (accumulator,) = struct.unpack_from("<I", call.data, k)
            case 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
                at += then if accumulator == k else other
            case 0x35:  # BPF_JMP | BPF_JGE | BPF_K
                at += then if accumulator >= k else other
            case 0x45:  # BPF_JMP | BPF_JSET | BPF_K
                at += then if accumulator & k else other
            case 0x06:  # BPF_RET | BPF_K
                return verdict(k)
            case _:
                raise AssertionError(f"no instruction {code:#x}")


def verdict(value: int) -> str:
    """What a returned value means (linux/seccomp.h): allow, or an errno in its lower half."""
    if value == 0x7FFF0000:
        return ALLOWED
    assert value >> 16 == 0x0005
    return errno.errorcode[value & 0xFFFF]


@pytest.fixture(params=DEFINED)
def machine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def program(machine: str) -> list[tuple[int, int, int, int]]:
    return list(seccomp._instructions(seccomp.MACHINES[machine], ME))


def test_every_number_is_the_kernels(machine: str) -> None:
    listed = numbers_of(machine)
    column = seccomp.MACHINES[machine].column
    special = {
        "clone": seccomp._CLONE,
        "clone3": seccomp._CLONE3,
        "kill": seccomp._KILL,
        "tgkill": seccomp._TGKILL,
        "prlimit64": seccomp._PRLIMIT,
        "prctl": seccomp._PRCTL,
        "fcntl": seccomp._FCNTL,
    }
    named = {name: numbers[column] for name, numbers in (seccomp.DENIED | special).items()}
    assert {name: (number, listed.get(name)) for name, number in named.items() if number != listed.get(name)} == {}


def test_the_audit_numbers_are_the_kernels() -> None:
    # linux/audit.h: the ELF machine (62, 183), 64 bits, little-endian.
    assert seccomp.MACHINES["x86_64"].audit == 62 | 0x80000000 | 0x40000000
    assert seccomp.MACHINES["aarch64"].audit == 183 | 0x80000000 | 0x40000000


def test_the_kernel_would_take_the_program(program: list[tuple[int, int, int, int]]) -> None:
    # Given its rules: not too long, ending in a return, and no jump beyond its end
    assert len(program) <= LARGEST_PROGRAM
    assert program[-1][0] == 0x06
    for at, (code, then, other, _) in enumerate(program):
        assert 0 <= then <= 255
        assert 0 <= other <= 255
        if code not in (0x20, 0x06):
            assert at + 1 + max(then, other) < len(program)


def test_each_call_is_denied_or_allowed_as_the_table_says(
    machine: str, program: list[tuple[int, int, int, int]]
) -> None:
    audit = seccomp.MACHINES[machine].audit
    said = {name: run(program, Call(number, audit)) for name, number in numbers_of(machine).items()}
    # Arguments that are all zero: no thread, a signal to the whole group, its own limits, no option.
    expected = dict.fromkeys(said, ALLOWED) | {name: "EPERM" for name in seccomp.DENIED if name in said}
    expected |= {"clone": "EPERM", "clone3": "ENOSYS", "kill": "EPERM", "tgkill": "EPERM"}
    assert said == expected


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("clone", (THREAD,), ALLOWED),
        ("clone", (PROCESS,), "EPERM"),
        ("clone", (0,), "EPERM"),
        ("kill", (ME, 6), ALLOWED),
        ("kill", (ME + 1, 9), "EPERM"),
        ("kill", (0, 9), "EPERM"),
        ("kill", (-1, 9), "EPERM"),
        ("kill", (-ME, 9), "EPERM"),
        ("tgkill", (ME, ME + 7, 6), ALLOWED),
        ("tgkill", (ME + 1, ME + 1, 6), "EPERM"),
        ("prlimit64", (0, 9), ALLOWED),
        ("prlimit64", (ME + 1, 9), "EPERM"),
        ("prctl", (15,), ALLOWED),  # PR_SET_NAME
        ("prctl", (1, 0), "EPERM"),  # PR_SET_PDEATHSIG
        ("prctl", (1 | 1 << 32, 0), "EPERM"),
        ("fcntl", (3, 1, ME), ALLOWED),  # F_GETFD
        ("fcntl", (3, 3), ALLOWED),  # F_GETFL
        ("fcntl", (3, 1030, 3), ALLOWED),  # F_DUPFD_CLOEXEC
        ("fcntl", (3, 8, 1), "EPERM"),  # F_SETOWN
        ("fcntl", (3, 10, 9), "EPERM"),  # F_SETSIG
        ("fcntl", (3, 15, 0), "EPERM"),  # F_SETOWN_EX
    ],
)
def test_what_depends_on_arguments_is_told_by_them(
    name: str, arguments: tuple[int, ...], expected: str, machine: str, program: list[tuple[int, int, int, int]]
) -> None:
    call = Call(numbers_of(machine)[name], seccomp.MACHINES[machine].audit, arguments)
    assert run(program, call) == expected


@pytest.mark.parametrize("number", [0, 1, 20, 39, 63, 64, 172, 400, 1000])
def test_no_call_passes_by_the_numbers_of_another_architecture(
    number: int, machine: str, program: list[tuple[int, int, int, int]]
) -> None:
    # Given 32-bit calls on the same machine (i386, arm), the other machine's, and one that there is not
    others = [0x40000003, 0x40000028, 0, *(seccomp.MACHINES[name].audit for name in DEFINED if name != machine)]
    assert {run(program, Call(number, audit)) for audit in others} == {"EPERM"}


def test_no_call_passes_by_the_second_set_of_numbers_of_x86() -> None:
    machine = seccomp.MACHINES["x86_64"]
    program = list(seccomp._instructions(machine, ME))
    x32 = [run(program, Call(0x40000000 | number, machine.audit)) for number in (*range(512), 520, 547)]
    assert {*x32, run(program, Call(-1, machine.audit))} == {"EPERM"}
