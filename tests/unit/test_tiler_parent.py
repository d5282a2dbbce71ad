"""What watches the child: progress through, stops through, deaths explained, nothing left behind."""

from __future__ import annotations

import os
import select
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StageError, Stopped
from pipeline.run import Run
from protos.tilewright.status.v1 import status_pb2 as pb
from tests import pictures
from tiler.job import Built, Failed, Job, encode_report
from tiler.parent import build


@pytest.fixture
def run() -> Run:
    return Run("r" * 32, pb.WakeUp(dataset_id="custom_0123abcd", attempt=1, stage=pb.STAGE_TILER), pb.Grant())


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(str(tmp_path / "source.jpg"), str(tmp_path), "t" * 64, "s" * 64, 256, 10**9, "8.18.3")


def python(code: str) -> tuple[str, ...]:
    """A child that notes its process id in scratch and then does something that no good child does."""
    prefix = "import os, signal, sys, time, subprocess; open('pid', 'w').write(str(os.getpid()));"
    return (sys.executable, "-I", "-c", prefix + code)


def assert_nothing_is_left(job: Job) -> None:
    """Wait for the end of all processes of the child's group; an orphan is reaped by init, whenever it likes."""
    group = int((Path(job.scratch) / "pid").read_text())
    for process in processes_of_group(group):
        try:
            handle = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        try:
            assert select.select([handle], [], [], 60)[0] == [handle]
        finally:
            os.close(handle)


def processes_of_group(group: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group:
            found.append(int(status.parent.name))
    return found


def test_a_built_pyramid_and_its_progress_come_through(run: Run, job: Job) -> None:
    pictures.jpeg(Path(job.source), 3000, 2000)
    built = build(run, job, threads=0)
    assert (built.width, built.height, built.tile_count) == (3000, 2000, 137)
    progress = run.snapshot()[0].progress
    assert 0 <= progress.tiles_done <= progress.tiles_total == 137
    assert 0 < progress.stage_percent <= 100


def test_a_failure_comes_through_with_its_code(run: Run, job: Job) -> None:
    whole = pictures.jpeg(Path(job.source)).read_bytes()
    Path(job.source).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StageError) as caught:
        build(run, job, threads=0)
    assert caught.value.code == "image_truncated"


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"])
def test_a_crash_is_the_decoders(name: str, run: Run, job: Job) -> None:
    with pytest.raises(StageError, match=name) as caught:
        build(run, job, threads=0, command=python(f"os.kill(os.getpid(), signal.{name})"))
    assert caught.value.code == "decoder_crashed"
    assert_nothing_is_left(job)


def test_a_kill_that_nobody_here_sent_is_a_lack_of_memory(run: Run, job: Job) -> None:
    with pytest.raises(StageError) as caught:
        build(run, job, threads=0, command=python("os.kill(os.getpid(), signal.SIGKILL)"))
    assert caught.value.code == "out_of_memory"


TAKEN_OVER = """
import sys, threading, time
import tiler.child, tiler.pixels
def do(source, **_):
    exec(sys.argv[1])
tiler.pixels.open_picture = do
tiler.child.main()
"""


@pytest.mark.parametrize(
    ("code", "limits", "failure"),
    [
        # By Python, by libvips, and by a library that ends its process where it gets none.
        ("bytearray(10**10)", {"memory_bytes": 3 * 10**8}, "out_of_memory"),
        ("import pyvips; pyvips.Image.black(10**5, 10**5).copy_memory()", {"memory_bytes": 3 * 10**8}, "out_of_memory"),
        (
            "import os; os.write(2, b'GLib-ERROR: failed to allocate 9 bytes'); os.abort()",
            {"memory_bytes": 3 * 10**8},
            "out_of_memory",
        ),
        ("while True: pass", {"work_seconds": 1}, "decoder_too_slow"),
        (
            "for _ in range(3): threading.Thread(target=exec, args=('while True: pass',)).start()",
            {"work_seconds": 1},
            "decoder_too_slow",
        ),
        ("open('tiles', 'wb').write(bytes(200_000))", {"room": 100_000}, "out_of_disk"),
        ("import ctypes; ctypes.string_at(0)", {}, "decoder_crashed"),
    ],
)
def test_a_decoder_that_goes_beyond_a_limit_ends_by_its_code(
    code: str, limits: dict[str, Any], failure: str, run: Run, job: Job
) -> None:
    # Given a decoder that a file makes do what it should not
    pictures.jpeg(Path(job.source))
    command = (sys.executable, "-I", "-c", TAKEN_OVER, code)
    # When it is at work under its limits, then it ends, and the code says by which
    with pytest.raises(StageError) as caught:
        build(run, job._replace(**limits), threads=0, command=command)
    assert caught.value.code == failure


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit(0)",
        "sys.exit(3)",
        "print('no report', flush=True); time.sleep(600)",
        "print('x' * 10**6, flush=True); time.sleep(600)",
        "os.write(1, " + repr(encode_report(Built(1, 1, "jpg", 1, 1))) + "); sys.exit(3)",
    ],
)
def test_an_end_without_a_proper_outcome_is_an_error_of_ours(code: str, run: Run, job: Job) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        build(run, job, threads=0, command=python(code))
    assert_nothing_is_left(job)


def test_a_failure_counts_even_if_the_child_dies_after_it(run: Run, job: Job) -> None:
    said = encode_report(Failed("image_corrupt", "The image file is damaged."))
    with pytest.raises(StageError) as caught:
        build(run, job, threads=0, command=python(f"os.write(1, {said!r}); os.kill(os.getpid(), 9)"))
    assert caught.value.code == "image_corrupt"


@pytest.mark.parametrize(
    "code",
    [
        "print('ready', file=sys.stderr); time.sleep(600)",
        "os.close(1); time.sleep(600)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)",
    ],
)
def test_a_stop_reaches_a_child_that_does_anything(code: str, run: Run, job: Job, tmp_path: Path) -> None:
    # Given a child that would go on for ten minutes and says when it has begun
    os.mkfifo(tmp_path / "begun")
    command = python("open('begun', 'w').close();" + code)

    # When the run is told to stop from another thread
    def stop_once_begun() -> None:
        (tmp_path / "begun").read_text()
        run.stop("cancelled")

    stopper = threading.Thread(target=stop_once_begun)
    stopper.start()
    # Then the work ends as stopped, and nothing of it is left
    with pytest.raises(Stopped):
        build(run, job, threads=0, command=command)
    stopper.join()
    assert_nothing_is_left(job)


def test_a_link_that_a_child_left_is_not_published(run: Run, job: Job) -> None:
    # Given a child that says it has built, and has left a link to a file of others
    said = encode_report(Built(1, 1, "jpg", 1, 1))
    code = f"os.symlink('/etc/passwd', 'tiles.idx'); os.write(1, {said!r})"
    # When it has ended, then its word does not count
    with pytest.raises(RuntimeError, match=r"left a link as tiles\.idx"):
        build(run, job, threads=0, command=python(code))


def test_a_run_that_was_stopped_before_starts_nothing_that_lasts(run: Run, job: Job) -> None:
    pictures.jpeg(Path(job.source))
    run.stop("cancelled")
    with pytest.raises(Stopped):
        build(run, job, threads=0)


def test_what_a_child_leaves_behind_dies_with_it(run: Run, job: Job) -> None:
    # Given a child that starts a process of its own, which keeps the output open no longer than the child
    said = encode_report(Built(1, 1, "jpg", 1, 1))
    code = (
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], stdout=subprocess.DEVNULL);"
        f"os.write(1, {said!r})"
    )
    # When it has done its work
    assert build(run, job, threads=0, command=python(code)) == Built(1, 1, "jpg", 1, 1)
    # Then the other process ends, too
    assert_nothing_is_left(job)
