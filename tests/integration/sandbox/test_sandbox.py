"""Each layer of the sandbox, in a real process that tries what it may not; and what is said where a layer is not."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.sandbox import confine as sandbox
from pipeline.sandbox import landlock, seccomp
from pipeline.sandbox.confine import Layer

PATIENCE = 60
"""Seconds that a process of these tests may take; it needs a tenth of one."""

ATTEMPTS = """
import ctypes, errno, fcntl, json, os, pathlib, resource, signal, socket, subprocess, sys, threading
from pathlib import Path

from pipeline.sandbox import landlock, confine as sandbox, seccomp

libc = ctypes.CDLL(None, use_errno=True)


def system_call(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *arguments) < 0:
        raise OSError(ctypes.get_errno(), "system call")


def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""


def python(code: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs code in a clean interpreter, as a child is started."""
    return subprocess.run(
        [sys.executable, "-I", "-c", ATTEMPTS + code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=check,
        text=True,
        timeout=PATIENCE,
    )


def attempt(restriction: str, tries: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Restricts a process, then has it try; gives by name how each attempt ended: "done" or the errno."""
    lines = [f"said[{name!r}] = outcome(lambda: {code})" for name, code in tries.items()]
    code = "\n".join([restriction, "said = {}", *lines, "print(json.dumps(said))"])
    said: dict[str, Any] = json.loads(python(code, *arguments).stdout)
    return said


def landlock_abi() -> int:
    """Of this machine's kernel; 0 where there is none."""
    try:
        return landlock.abi()
    except OSError:
        return 0


def lacking(name: str) -> str:
    """What the report of this machine says of a layer."""
    return {layer.name: layer.lacking for layer in sandbox.probe()}[name]


def test_a_process_opens_no_file_but_those_it_was_allowed(tmp_path: Path) -> None:
    # Given a file and a folder that are allowed, and all else
    (tmp_path / "source").write_text("of a stranger")
    (tmp_path / "other").write_text("of another stranger")
    (tmp_path / "scratch").mkdir()
    restriction = (
        "source, other, scratch = (Path(name) for name in sys.argv[1:])\n"
        "landlock.restrict([source, Path('/no/such/library')], [scratch])"
    )
    allowed = {
        "read the source": "source.read_bytes()",
        "write to scratch": "(scratch / 'a').write_bytes(b'x' * 9)",
        "read from scratch": "(scratch / 'a').read_bytes()",
        "cut it short": "os.truncate(scratch / 'a', 3)",
        "rename it": "(scratch / 'a').rename(scratch / 'b')",
        "remove it": "(scratch / 'b').unlink()",
    }
    refused = {
        "write to the source": "source.write_bytes(b'')",
        "remove the source": "source.unlink()",
        "read another source": "other.read_bytes()",
        "list the folder": "os.listdir(other.parent)",
        "list the root": "os.listdir('/')",
        "read the users": "Path('/etc/passwd').read_bytes()",
        "read the parent's secrets": "Path(f'/proc/{os.getppid()}/environ').read_bytes()",
        "make a file beside": "(other.parent / 'new').touch()",
        "make a folder": "(scratch / 'b').mkdir()",
        "make a link": "(scratch / 'link').symlink_to(other)",
        "make a pipe": "os.mkfifo(scratch / 'pipe')",
        "run a program": "os.execv(sys.executable, [sys.executable, '-c', 'print(1)'])",
    }
    names = [str(tmp_path / name) for name in ("source", "other", "scratch")]
    if landlock_abi():
        # When it tries, then it does what it is allowed and no more
        said = attempt(restriction, allowed | refused, *names)
        assert said == dict.fromkeys(allowed, "done") | dict.fromkeys(refused, "EACCES")
        assert (tmp_path / "source").read_text() == "of a stranger"
        assert lacking("files (Landlock)") == ""
    else:
        # Or, where the kernel has none of it, the report says so
        assert "Landlock" in lacking("files (Landlock)")


def test_a_hard_link_out_of_the_allowed_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("of another stranger")
    (tmp_path / "scratch").mkdir()
    if landlock_abi():
        tries = {"link": "os.link(sys.argv[1], sys.argv[2] + '/link')"}
        said = attempt(
            "landlock.restrict([], [Path(sys.argv[2])])", tries, str(tmp_path / "other"), str(tmp_path / "scratch")
        )
        assert said["link"] in {"EACCES", "EXDEV"}
    else:
        assert "Landlock" in lacking("files (Landlock)")


def test_a_process_has_no_tcp_by_landlock_alone() -> None:
    tries = {
        "connect": "socket.create_connection(('127.0.0.1', 9))",
        "listen": "socket.create_server(('127.0.0.1', 0))",
    }
    if landlock_abi() >= 4:
        assert attempt("landlock.restrict([], [])", tries) == {"connect": "EACCES", "listen": "EACCES"}
        assert lacking("TCP (Landlock)") == ""
    else:
        assert lacking("TCP (Landlock)") != ""


def test_a_process_signals_nobody_but_itself_by_landlock_alone() -> None:
    tries = {"its parent": "os.kill(os.getppid(), 0)", "itself": "os.kill(os.getpid(), 0)"}
    if landlock_abi() >= 6:
        assert attempt("landlock.restrict([], [])", tries) == {"its parent": "EPERM", "itself": "done"}
        assert lacking("signals (Landlock)") == ""
    else:
        assert lacking("signals (Landlock)") != ""


SECCOMP = "libc.prctl(38, 1, 0, 0, 0)\nseccomp.restrict()"


def test_a_process_makes_no_system_call_that_a_decoder_does_not_need() -> None:
    refused = {
        "a socket": "socket.socket()",
        "a Unix socket": "socket.socket(socket.AF_UNIX)",
        "a pair of sockets": "socket.socketpair()",
        "another program": "os.execv('/bin/true', ['true'])",
        "another process": "os.fork()",
        "a child": "subprocess.run(['/bin/true'])",
        "a session": "os.setsid()",
        "a group": "os.setpgid(0, 0)",
        "a signal to its parent": "os.kill(os.getppid(), 0)",
        "a signal to all": "os.kill(-1, 0)",
        "its parent's limits": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        "its parent's priority": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "its parent's handle": "os.pidfd_open(os.getppid())",
        "its parent's cores": "os.sched_setaffinity(os.getppid(), {0})",
        "its parent's turn": "os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0))",
        "a signal by a pipe": "fcntl.fcntl(0, 8, os.getppid())",
        "a signal of its choice": "fcntl.fcntl(0, 10, signal.SIGKILL)",
        "memory that nobody counts": "os.memfd_create('hidden')",
        "a folder": "os.mkdir('/tmp/folder-of-a-decoder')",
        "a pipe's pages": "system_call(275 if x86 else 76, 0, 0, 0, 0, 0, 0)",
        "the mode of a file": "os.chmod('/', 0o777)",
        "the owner of a file": "os.chown('/', 0, 0)",
        "the times of a file": "os.utime('/')",
        "an attribute of a file": "os.setxattr('/', 'user.a', b'')",
        "a link": "os.symlink('/etc/passwd', '/tmp/link')",
        "a hard link": "os.link('/etc/passwd', '/tmp/link')",
        "another root": "os.chroot('/')",
        "a life after its parent's": "system_call(157 if x86 else 167, 1, 0, 0, 0, 0)",
        "tracing": "system_call(101 if x86 else 117, 16, os.getppid(), 0, 0)",
        "another's memory": "system_call(310 if x86 else 270, os.getppid(), 0, 0, 0, 0, 0)",
        "a mount": "system_call(165 if x86 else 40, 0, 0, 0, 0, 0)",
        "a namespace": "system_call(272 if x86 else 97, 0x10000000)",
        "io_uring": "system_call(425, 1, 0)",
        "bpf": "system_call(321 if x86 else 280, 0, 0, 0)",
        "a key": "system_call(250 if x86 else 219, 0, 0)",
        "userfaultfd": "system_call(323 if x86 else 282, 1)",
        "perf": "system_call(298 if x86 else 241, 0, 0, -1, -1, 0)",
        "file handles": "system_call(304 if x86 else 265, 0, 0, 0)",
    }
    done = {
        "a signal to itself": "os.kill(os.getpid(), 0)",
        "a flag of a file": "fcntl.fcntl(0, fcntl.F_SETFD, fcntl.fcntl(0, fcntl.F_GETFD))",
        "a thread": "threading.Thread(target=int).start()",
        "a lower limit": "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
        "a file": "Path('/etc/passwd').read_bytes()",
    }
    if platform.machine() in seccomp.MACHINES and lacking("system calls (seccomp)") == "":
        said = attempt(f"x86 = {platform.machine() == 'x86_64'}\n{SECCOMP}", refused | done)
        assert said == dict.fromkeys(refused, "EPERM") | dict.fromkeys(done, "done")
    else:
        assert lacking("system calls (seccomp)") != ""


def test_threads_are_bound_like_the_one_that_started_them() -> None:
    code = (
        "sandbox.confine(sandbox.Allowance())\n"
        "said = []\n"
        "tries = [lambda: socket.socket(), lambda: os.listdir('/')]\n"
        "thread = threading.Thread(target=lambda: said.extend(map(outcome, tries)))\n"
        "thread.start(); thread.join(); print(json.dumps(said))"
    )
    layers = {layer.name: layer.lacking for layer in sandbox.probe()}
    files = "done" if layers["files (Landlock)"] else "EACCES"
    calls = "EPERM" if not layers["system calls (seccomp)"] else "EACCES" if not layers["TCP (Landlock)"] else "done"
    assert json.loads(python(code).stdout) == [calls, files]


def test_a_process_that_has_threads_already_is_not_confined_by_halves() -> None:
    code = "threading.Thread(target=threading.Event().wait, daemon=True).start()\nsandbox.confine(sandbox.Allowance())"
    ended = python(code, check=False)
    assert ended.returncode == 1
    assert "2 threads are running: only the calling one would be confined" in ended.stderr


def test_a_process_may_still_end_itself_as_a_crash_does() -> None:
    # abort() sends a signal; it must not be taken for one to another process.
    assert python("sandbox.confine(sandbox.Allowance())\nos.abort()", check=False).returncode == -signal.SIGABRT


def test_a_process_is_last_in_line_and_has_few_files_no_core_dump_and_no_privilege() -> None:
    # Given what a process says of itself, by a file that it has opened before
    code = (
        "status = open('/proc/self/status'); before = os.nice(0)\n"
        "sandbox.confine(sandbox.Allowance(memory=2**31, cpu=1000, file=2**20))\n"
        "kinds = 'CORE NOFILE AS CPU FSIZE'.split()\n"
        "limits = {kind: resource.getrlimit(getattr(resource, 'RLIMIT_' + kind)) for kind in kinds}\n"
        "print(json.dumps([os.getpriority(os.PRIO_PROCESS, 0) - min(19, before + 10), limits, status.read()]))"
    )
    nicer, limits, status = json.loads(python(code).stdout)
    # Then it has what it is meant to have, also where this test runs as root
    assert nicer == 0
    assert limits == {
        "CORE": [0, 0],
        "NOFILE": [256, 256],
        "AS": [2**31, 2**31],
        "CPU": [1000, 1000 + sandbox.CPU_GRACE],
        "FSIZE": [2**20, 2**20],
    }
    fields = dict(line.split(":\t") for line in status.splitlines())
    assert fields["NoNewPrivs"] == "1"
    assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}


def test_a_limit_is_never_raised(tmp_path: Path) -> None:
    code = (
        "resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))\n"
        "sandbox.confine(sandbox.Allowance(memory=2**40))\n"
        "said = [resource.getrlimit(resource.RLIMIT_AS)]\n"
        "try: resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))\n"
        "except ValueError as error: said.append(str(error))\n"
        "print(json.dumps(said))"
    )
    assert json.loads(python(code).stdout) == [[2**32, 2**32], "not allowed to raise maximum limit"]


def test_more_memory_than_is_allowed_is_refused() -> None:
    code = (
        "sandbox.confine(sandbox.Allowance(memory=2**29))\ntry: bytearray(2**29)\nexcept MemoryError: print('refused')"
    )
    assert python(code).stdout == "refused\n"


def test_a_file_larger_than_is_allowed_is_refused(tmp_path: Path) -> None:
    said = attempt(
        "sandbox.confine(sandbox.Allowance(write=(Path(sys.argv[1]),), file=1000))",
        {
            "just as large": "(Path(sys.argv[1]) / 'a').write_bytes(bytes(1000))",
            "larger": "(Path(sys.argv[1]) / 'b').write_bytes(bytes(1001))",
        },
        str(tmp_path),
    )
    assert said == {"just as large": "done", "larger": "EFBIG"}


def test_more_work_than_is_allowed_ends_the_process() -> None:
    ended = python("sandbox.confine(sandbox.Allowance(cpu=1))\nwhile True: pass", check=False)
    assert ended.returncode == -signal.SIGXCPU


def test_work_goes_on_to_the_hard_limit_only_where_the_signal_is_ignored() -> None:
    code = (
        "sandbox.CPU_GRACE = 1\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
        "sandbox.confine(sandbox.Allowance(cpu=1))\nwhile True: pass"
    )
    assert python(code, check=False).returncode == -signal.SIGKILL


def test_work_that_is_allowed_later_has_a_hard_limit_of_its_own() -> None:
    # Given a process that may be allowed much, once it is known what it is to do, and ignores that this is used up
    code = (
        "sandbox.CPU_GRACE = 1\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
        "sandbox.confine(sandbox.Allowance(cpu=60, most_cpu=10_000))\nsandbox.allow_cpu(1)\n"
        "print(*resource.getrlimit(resource.RLIMIT_CPU), flush=True)\nwhile True: pass"
    )
    # When it is allowed a second, then it gets no more than that and the grace
    ended = python(code, check=False)
    assert (ended.stdout, ended.returncode) == ("1 2\n", -signal.SIGKILL)


def test_the_interpreters_own_modules_may_be_loaded_late() -> None:
    assert python("sandbox.confine(sandbox.Allowance())\nimport decimal, sqlite3; print('loaded')").stdout == "loaded\n"


@pytest.mark.parametrize("module", ["tiler.job", "pyvips", "no_such_package"])
def test_a_module_that_would_be_loaded_late_ends_the_process_and_is_named(module: str) -> None:
    code = f"""
sandbox.confine(sandbox.Allowance())
try:
    import {module}
except BaseException:
    print("a handler that takes it for a fault of the file")
"""
    ended = python(code, check=False)
    assert (ended.stdout, ended.returncode) == ("", 1)
    assert f"{module.partition('.')[0]}" in ended.stderr.splitlines()[-1]
    assert "imported after the process was confined" in ended.stderr


@pytest.mark.parametrize("number", sorted(landlock.LACKING))
def test_a_kernel_without_landlock_is_done_without(number: int) -> None:
    # Given a kernel that answers as one without Landlock does
    code = (
        f"def none(*_): raise OSError({number}, 'none')\n"
        "landlock._call = none\nprint(json.dumps(sandbox.confine(sandbox.Allowance())))"
    )
    # When a process is confined, then it goes on, and says so
    layers = dict(json.loads(python(code).stdout))
    assert {layers[name] for name in layers if "Landlock" in name} == {landlock.LACKING[number]}
    assert layers["limits"] == ""


@pytest.mark.parametrize(("abi", "tcp", "signals"), [(1, 4, 6), (3, 4, 6), (4, 0, 6), (5, 0, 6), (6, 0, 0), (9, 0, 0)])
def test_an_older_landlock_is_used_as_far_as_it_goes(abi: int, tcp: int, signals: int) -> None:
    # Given a kernel of an ABI, played by one that keeps what it is asked for
    code = (
        f"handled = []\n"
        "def call(number, *arguments):\n"
        f"    if number == 444 and arguments[0] is None: return {abi}\n"
        "    if number == 444:\n"
        "        asked = arguments[0]._obj\n"
        "        handled.extend([asked.handled_access_fs, asked.handled_access_net, asked.scoped])\n"
        "        return os.open('/', os.O_PATH)\n"
        "    return 0\n"
        "landlock._call = call\nlayers = sandbox.confine(sandbox.Allowance())\nprint(json.dumps([handled, layers]))"
    )
    handled, layers = json.loads(python(code).stdout)
    # Then nothing is asked of it that it does not know, and what it has not got is said
    rights = {1: 13, 3: 15, 4: 15}.get(abi, 16)
    assert handled == [2**rights - 1, 0 if tcp else 3, 0 if signals else 3]
    said = dict(layers)
    assert said["files (Landlock)"] == ""
    assert ("TCP needs 4" in said["TCP (Landlock)"]) == bool(tcp)
    assert ("signals need 6" in said["signals (Landlock)"]) == bool(signals)


@pytest.mark.parametrize("number", sorted(seccomp.LACKING))
def test_a_kernel_without_filters_is_done_without(number: int) -> None:
    code = (
        f"def none(): raise OSError({number}, 'none')\n"
        "seccomp.restrict = none\nprint(json.dumps(sandbox.confine(sandbox.Allowance())))"
    )
    assert dict(json.loads(python(code).stdout))["system calls (seccomp)"] == seccomp.LACKING[number]


def test_a_machine_whose_system_calls_are_not_known_is_done_without() -> None:
    code = "seccomp.MACHINES.clear()\nprint(json.dumps(sandbox.confine(sandbox.Allowance())))"
    said = dict(json.loads(python(code).stdout))["system calls (seccomp)"]
    assert said == f"the system calls of {platform.machine()} are not known"


@pytest.mark.parametrize("module", ["landlock", "seccomp"])
def test_a_layer_that_fails_for_another_reason_lets_nothing_run(module: str) -> None:
    code = (
        f"def broken(*_): raise OSError({errno.ENOMEM}, 'no room')\n"
        f"{module}.restrict = broken\nsandbox.confine(sandbox.Allowance())"
    )
    ended = python(code, check=False)
    assert ended.returncode == 1
    assert "no room" in ended.stderr


def test_the_numbers_of_system_calls_are_those_of_this_machines_headers() -> None:
    # Given the numbers by which the filter knows the calls, when each is held against the others
    for machine in seccomp.MACHINES.values():
        numbers = [pair[machine.column] for pair in seccomp.DENIED.values() if pair[machine.column] is not None]
        # Then none stands for two, and none is one that every process needs: read, write, mmap, exit, futex
        assert len(numbers) == len(set(numbers))
    needed = ({0, 1, 9, 60, 202}, {63, 64, 222, 93, 98})
    for machine in seccomp.MACHINES.values():
        assert needed[machine.column].isdisjoint(pair[machine.column] for pair in seccomp.DENIED.values())


def test_the_report_of_this_machine_names_every_layer() -> None:
    names = [layer.name for layer in sandbox.probe()]
    assert names == [
        "limits",
        "no new privileges",
        "files (Landlock)",
        "TCP (Landlock)",
        "signals (Landlock)",
        "system calls (seccomp)",
    ]


def test_a_probe_that_fails_is_a_sandbox_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (layer,) = sandbox.probe()
    assert layer.name == "sandbox"
    assert "cannot be set up" in layer.lacking


def test_a_worker_warns_once_of_what_is_lacking(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tiler.worker")
    with caplog.at_level(logging.INFO):
        sandbox.announce(logger, (Layer("limits"), Layer("files", "no such thing"), Layer("calls", "nor this")))
    (warning, info) = caplog.records
    assert (warning.levelname, info.levelname) == ("WARNING", "INFO")
    assert warning.getMessage() == ("the sandbox lacks files: no such thing; calls: nor this. See docs/sandbox.md")
    assert info.getMessage() == "the sandbox enforces limits"


def test_setting_it_all_up_leaves_a_process_its_open_files(tmp_path: Path) -> None:
    # What was opened before stays open: the child's pipes are.
    (tmp_path / "open").write_text("still here")
    code = "file = open(sys.argv[1]); sandbox.confine(sandbox.Allowance()); print(file.read())"
    assert python(code, str(tmp_path / "open")).stdout == "still here\n"


def test_this_test_itself_is_not_confined() -> None:
    # A guard for the tests above: what they try is not refused anyhow.
    assert Path("/etc/passwd").read_bytes()
    assert os.listdir("/")  # noqa: PTH208  what they try is this very call
    os.kill(os.getppid(), 0)
    assert resource.getrlimit(resource.RLIMIT_CORE)[1] != 0 or os.getuid() != 0
