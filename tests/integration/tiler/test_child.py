"""The child process: what it says, what it may do, and when it ends."""

from __future__ import annotations

import ast
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pyvips

from pipeline.formats import budget
from pipeline.sandbox import child as sandbox_child
from pipeline.sandbox import confine as sandbox
from pipeline.sandbox.parent import Child
from tests.support.images import pictures
from tiler import child as tiler_child
from tiler import confined_decoding
from tiler.job import JOBS, REPORTS, Built, Failed, Job, Opened, Progress, Report
from tiler.parent import COMMAND, environment

PATIENCE = 60
"""Seconds after which a test of this file gives up; an idle machine needs less than one."""


def make_job(source: Path, scratch: Path, **changes: Any) -> Job:
    return Job(str(source), str(scratch), "t" * 64, "s" * 64, 256, 2**31, "8.18.3")._replace(**changes)


def run_child(job: Job) -> tuple[list[Report], subprocess.CompletedProcess[bytes]]:
    """A whole job; standard input is given a moment's more life than the child by communicate()."""
    with subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(Path(job.scratch), 0),
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(JOBS.encode(job))
        child.stdin.flush()
        lines = child.stdout.readlines()
        errors = child.stderr.read()
        code = child.wait(PATIENCE)
    return [REPORTS.decode(line) for line in lines], subprocess.CompletedProcess(COMMAND, code, b"", errors)


@pytest.fixture
def slow_job(tmp_path: Path) -> Job:
    """A job that takes many seconds on any machine, made quickly: a plain picture of a gigapixel."""
    source = tmp_path / "large.png"
    pyvips.Image.black(32768, 32768, bands=3).copy(interpretation="srgb").write_to_file(str(source), compression=1)
    return make_job(source, tmp_path)


def test_the_child_builds_and_says_what_it_built(tmp_path: Path) -> None:
    # Given a job
    job = make_job(pictures.jpeg(tmp_path / "source.jpg", 3000, 2000), tmp_path)
    # When a child does it
    reports, ended = run_child(job)
    # Then it ends well, after rising progress and one result
    assert ended.returncode == 0, ended.stderr
    opened, *progress, built = reports
    assert opened == Opened("jpeg", 3000, 2000, 1)
    assert isinstance(built, Built)
    assert (built.width, built.height, built.extension, built.tile_count) == (3000, 2000, "jpg", 137)
    moved = [report for report in progress if isinstance(report, Progress)]
    assert len(moved) == len(progress) > 0
    assert [report.percent for report in moved] == sorted(report.percent for report in moved)
    assert all(0 <= report.tiles_done <= report.tiles_total == 137 for report in moved)
    assert (tmp_path / "pyramid.json").exists()


def test_a_source_whose_damage_is_accepted_has_the_cpu_time_of_one_tiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a cut file, and a child that does not confine the test's own process
    whole = pictures.save(pictures.scene(300, 200), tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    limits, reports = list[int](), list[Report]()
    monkeypatch.setattr(confined_decoding, "confine", lambda *_: None)
    monkeypatch.setattr(sandbox, "allow_cpu", limits.append)
    monkeypatch.setattr(sandbox, "limit_file", lambda _: None)
    monkeypatch.setattr(sandbox_child, "say", lambda line: reports.append(REPORTS.decode(line)))
    # When it is tiled strictly, and again from what is left
    for accept, times in ((False, 1), (True, 2)):
        limits.clear()
        job = make_job(tmp_path / "cut.png", tmp_path, accept_damage=accept)
        outcome = tiler_child._outcome(job)
        assert isinstance(outcome, Built) is accept
        # Then all of it has the same limit
        assert limits == [int(budget.FREE_SECONDS + 60_000 * budget.MOST_PIXEL_SECONDS)] * times


def test_the_child_names_what_is_wrong_with_the_source(tmp_path: Path) -> None:
    source = tmp_path / "page"
    source.write_text("<!DOCTYPE html><title>404</title>")
    reports, ended = run_child(make_job(source, tmp_path))
    assert ended.returncode == 0
    assert [type(report) for report in reports] == [Failed]
    assert isinstance(reports[0], Failed)
    assert reports[0].code == "not_an_image"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        ("a.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4 +X 4\n" + bytes(64)),
        ("a.csv", b"\x001,2,3\n"),
    ],
)
def test_loaders_that_are_not_trusted_are_blocked(name: str, content: bytes, tmp_path: Path) -> None:
    # Given a file that libvips would read by itself
    (tmp_path / name).write_bytes(content)
    reports, _ = run_child(make_job(tmp_path / name, tmp_path))
    assert isinstance(reports[-1], Failed)
    assert reports[-1].code == "unsupported_format"


def test_a_libvips_with_known_holes_opens_nothing(tmp_path: Path) -> None:
    job = make_job(pictures.jpeg(tmp_path / "source.jpg"), tmp_path, min_libvips="99.0.0")
    reports, ended = run_child(job)
    assert reports == []
    assert ended.returncode == 1
    assert b"is older than 99.0.0, the least version for untrusted files" in ended.stderr


def test_the_child_imports_no_service() -> None:
    # Given all that the child loads
    code = "import sys, tiler.child, tiler.build.pyramid, tiler.failures; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, check=True, text=True, timeout=PATIENCE
    ).stdout.split()
    # Then the slow and the powerful are not among it
    assert "pyvips" in loaded
    assert {"grpc", "google.protobuf", "pydantic", "dramatiq", "pika", "numpy", "requests", "ssl"}.isdisjoint(loaded)


def test_the_environment_holds_nothing_of_the_workers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_RABBITMQ_URL", "amqp://tilewright:secret@rabbitmq/")
    monkeypatch.setenv("PATH", "/usr/bin")
    made = environment(Path("/scratch/run"), 3)
    assert "secret" not in str(made)
    assert (made["TMPDIR"], made["VIPS_CONCURRENCY"], made["PATH"]) == ("/scratch/run", "3", "/usr/bin")


ATTACK = """
import os, signal, socket, subprocess, sys
from pathlib import Path
import tiler.child, tiler.decode
from pipeline.errors import StageError

def attack(source, **_):
    path, said = source.path, {}
    for name, attempt in {
        "its source": lambda: path.read_bytes(),
        "its scratch": lambda: Path("mine").write_bytes(b"x"),
        "another source": lambda: (path.parent.parent / "other/1").read_bytes(),
        "another run": lambda: (Path.cwd().parent / "r2/pyramid.szi").write_bytes(b"x"),
        "the database": lambda: (path.parents[3] / "tilewright.sqlite3").read_bytes(),
        "the worker's secrets": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "the source itself": lambda: path.write_bytes(b"x"),
        "a link": lambda: Path("pyramid.szi").symlink_to("/etc/passwd"),
        "the network": lambda: socket.create_connection(("127.0.0.1", 9)),
        "a program": lambda: subprocess.run([sys.executable, "-c", "0"]),
        "the worker": lambda: os.kill(os.getppid(), signal.SIGSTOP),
        "an escape": lambda: os.setsid(),
    }.items():
        try:
            attempt()
            said[name] = "done"
        except PermissionError:
            said[name] = "refused"
    raise StageError("image_corrupt", repr(said))

tiler.decode.open_picture = attack
tiler.child.main()
"""


def test_code_that_takes_the_decoder_over_gets_nowhere(tmp_path: Path) -> None:
    # Given a data directory with what others have sent, and a decoder that a file has taken over
    for name in ("storage/sources/mine/1", "storage/sources/other/1", "storage/scratch/r2/x", "tilewright.sqlite3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"data")
    scratch = tmp_path / "storage/scratch/r1"
    scratch.mkdir()
    job = make_job(tmp_path / "storage/sources/mine/1", scratch)
    pictures.jpeg(tmp_path / "source.jpg").replace(job.source)
    # When it tries what an attacker would
    command = (sys.executable, "-I", "-c", ATTACK)
    with Child(command, JOBS.encode(job), folder=scratch, environment=environment(scratch, 0)) as child:
        *_, report = (REPORTS.decode(line) for line in child.lines())
    # Then it is refused all that the kernel has a layer for, and does only what it is there for
    assert isinstance(report, Failed)
    said = ast.literal_eval(report.message)
    lacking = {layer.name for layer in sandbox.probe() if layer.lacking}
    holds = {
        "files (Landlock)": {
            "another source", "another run", "the database", "the worker's secrets", "the source itself", "a link"
        },
        "system calls (seccomp)": {"the network", "a program", "the worker", "an escape", "a link"},
    }  # fmt: skip
    refused = set().union(*(tries for layer, tries in holds.items() if layer not in lacking))
    assert {name for name in refused if said[name] != "refused"} == set()
    assert (said["its source"], said["its scratch"]) == ("done", "done")


def test_the_child_ends_when_its_life_line_ends(slow_job: Job) -> None:
    # Given a child at work
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(Path(slow_job.scratch), 0)
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(JOBS.encode(slow_job))
        child.stdin.flush()
        assert b"opened" in child.stdout.readline()
        assert b"progress" in child.stdout.readline()
        # When its standard input ends
        child.stdin.close()
        # Then so does the child, without a result
        rest = child.stdout.read()
        assert child.wait(PATIENCE) == 1
        assert b"built" not in rest


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    ends = (*os.pipe(), *os.pipe())
    yield ends
    for end in ends:
        os.close(end)


def test_the_child_ends_with_its_parent_also_where_its_life_line_is_held_open(
    slow_job: Job, pipes: tuple[int, int, int, int]
) -> None:
    # Given a parent whose child's standard input is held open by this test
    job_out, job_in, said_out, said_in = pipes
    code = (
        "import subprocess, sys; stdin, stdout = map(int, sys.argv[1:3]);"
        "child = subprocess.Popen(sys.argv[3:], stdin=stdin, stdout=stdout, start_new_session=True);"
        "print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code, str(job_out), str(said_in), *COMMAND],
        stdout=subprocess.PIPE,
        pass_fds=(job_out, said_in),
        env=environment(Path(slow_job.scratch), 0),
    ) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            os.write(job_in, JOBS.encode(slow_job))
            assert b"opened" in os.read(said_out, 4096)
            # When the parent is killed
            parent.send_signal(signal.SIGKILL)
            # Then the child is gone, too
            assert select.select([child], [], [], PATIENCE)[0] == [child]
        finally:
            os.close(child)
