"""What watches the child: progress through, stops through, deaths explained, nothing left behind."""

from __future__ import annotations

import os
import select
import shutil
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StageError, Stopped
from pipeline.formats import budget
from pipeline.pyramids.geometry import DESCRIPTION, FILES, FULL, INDEX, SZI, THUMBNAIL, Format
from pipeline.run import Run
from pipeline.sandbox.confine import CPU_GRACE
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.images import pictures
from tiler.build.pyramid import build as build_here
from tiler.decode import open_picture, reader_of
from tiler.job import REPORTS, Built, Failed, Job, Opened, Previewed, Progress, Report
from tiler.parent import build
from tiler.progress import Meter


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
import tiler.child, tiler.decode
def do(source, **_):
    exec(sys.argv[1])
tiler.decode.open_picture = do
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
            "for _ in range(3): (one := threading.Thread(target=exec, args=('while True: pass',))).start()\none.join()",
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


def test_a_decoder_may_work_as_long_as_its_file_is_worth(run: Run, job: Job) -> None:
    # Given a job of a worker that has hours, and a picture of a few kilobytes
    path = pictures.jpeg(Path(job.source), 3000, 2000)
    code = "import resource; print(*resource.getrlimit(resource.RLIMIT_CPU), file=open('limit', 'w')); 1 / 0"
    with pytest.raises(StageError):
        build(run, job._replace(work_seconds=10_000), threads=0, command=(sys.executable, "-I", "-c", TAKEN_OVER, code))
    # Then what it may work follows from these, and soon behind it comes what cannot be ignored
    allowed = budget.seconds(6_000_000, path.stat().st_size, Format.PNG)
    assert budget.FREE_SECONDS < allowed < 2 * budget.FREE_SECONDS
    limits = (Path(job.scratch) / "limit").read_text().split()
    assert [int(limit) for limit in limits] == [allowed, allowed + CPU_GRACE]


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit(0)",
        "sys.exit(3)",
        "print('no report', flush=True); time.sleep(600)",
        "print('x' * 10**6, flush=True); time.sleep(600)",
        "os.write(1, " + repr(REPORTS.encode(Built(1, 1, "jpg", 1, 1))) + "); sys.exit(3)",
    ],
)
def test_an_end_without_a_proper_outcome_is_an_error_of_ours(code: str, run: Run, job: Job) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        build(run, job, threads=0, command=python(code))
    assert_nothing_is_left(job)


def test_a_failure_counts_even_if_the_child_dies_after_it(run: Run, job: Job) -> None:
    said = REPORTS.encode(Failed("image_corrupt", "The image file is damaged."))
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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built]:
    """A sound build of a small picture, and what its child said of it."""
    folder = tmp_path_factory.mktemp("made")
    job = Job(str(folder / "source.jpg"), str(folder), "t" * 64, "s" * 64, 256, 10**9, "8.18.3")
    pictures.jpeg(Path(job.source), 700, 301)
    meter = Meter(lambda *_: None)
    return folder, build_here(open_picture(reader_of(Path(job.source)), meter=meter), job, meter)


def leave(made: tuple[Path, Built], job: Job) -> Built:
    """Lays the build's files where a child of this job would have left them."""
    folder, built = made
    for name in FILES:
        shutil.copy(folder / name, job.scratch)
    return built


def saying(*reports: Report | bytes) -> tuple[str, ...]:
    """A child that says just this and ends well."""
    lines = [report if isinstance(report, bytes) else REPORTS.encode(report) for report in reports]
    return python(f"os.write(1, {b''.join(lines)!r})")


@pytest.mark.parametrize(
    "lie",
    [
        Opened("gopher", 10, 10, 1),
        Opened("png", 0, 10, 1),
        Opened("png", 10, 2**31, 1),
        Opened("png", 10, 10, -1),
        Previewed(5000, 10),
        Progress(-1, 10, 1.0),
        Progress(1, 2**40, 1.0),
        Progress(1, 10, float("nan")),
        Progress(1, 10, float("inf")),
        Progress(1, 10, 101.0),
        Progress(2**63, 10, 1.0),
        Progress(1, 10**4000, 1.0),
        Progress(True, 10, 1.0),
        Built(-1, 10, "jpg", 1, 1),
        Built(2**31, 10, "jpg", 1, 1),
        Failed("no_such_code", "…"),
        Failed("image_corrupt", "x" * 10_000),
        Failed("image_corrupt", "half a character: \ud800"),
        b"[" * 50_000 + b"\n",
        b'{"progress": {"tiles_done": "1", "tiles_total": 2, "percent": 3}}\n',
        b'{"failed": {"code": ["image_corrupt"], "message": "a list for a code"}}\n',
    ],
)
def test_what_cannot_be_true_is_passed_on_to_nobody(
    lie: Report | bytes, run: Run, job: Job, made: tuple[Path, Built]
) -> None:
    # Given a child that was taken over, says what cannot be, and then builds as if nothing were
    built = leave(made, job)
    # Then its word does not count, and nothing of it is reported
    with pytest.raises(ValueError, match=r"the child sent an impossible report|not a report"):
        build(run, job, threads=0, command=saying(lie, built))
    beat = run.snapshot()[0]
    assert (beat.HasField("source"), beat.HasField("preview"), beat.progress.tiles_done) == (False, False, 0)


def entry(folder: Path, position: int, offset: int, length: int, part: int) -> None:
    data = bytearray((folder / INDEX).read_bytes())
    struct.pack_into("<QII", data, 16 + 16 * position, offset, length, part)
    (folder / INDEX).write_bytes(data)


def swell(folder: Path, name: str) -> None:
    os.truncate(folder / name, 200 << 20)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def put_a_folder(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()


def entry_of_all(folder: Path) -> None:
    swell(folder, SZI)
    entry(folder, 3, 0, 100 << 20, 0)


def put_a_link(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to("/etc/passwd")


def put_a_pipe(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)


LEFT: list[tuple[str, Callable[[Path], object], str]] = [
    ("a tile of four gigabytes", lambda path: entry(path, 3, 0, 2**32 - 1, 0), "an invalid entry"),
    ("a tile as long as the archive", entry_of_all, "an invalid entry"),
    ("a tile behind the archive", lambda path: entry(path, 3, 2**40, 10, 0), "an invalid entry"),
    ("a tile without bytes", lambda path: entry(path, 3, 0, 0, 0), "an invalid entry"),
    ("a tile in a part that there is not", lambda path: entry(path, 3, 0, 10, 7), "an invalid entry"),
    ("an index cut short", lambda path: os.truncate(path / INDEX, 100), "left a tiles.idx of 100 bytes"),
    ("an index of nothing", lambda path: zero(path / INDEX), "an invalid tiles.idx"),
    ("a vast full.jpg", lambda path: swell(path, FULL), "left a full.jpg of 209715200 bytes"),
    ("a vast description", lambda path: swell(path, DESCRIPTION), "left a pyramid.json of 209715200 bytes"),
    ("a link", lambda path: put_a_link(path, INDEX), "no regular file as tiles.idx"),
    ("a folder", lambda path: put_a_folder(path, SZI), "no regular file as pyramid.szi"),
    ("a pipe", lambda path: put_a_pipe(path, THUMBNAIL), "no regular file as thumbnail.jpg"),
    ("nothing", lambda path: (path / FULL).unlink(), "left no full.jpg"),
]


@pytest.mark.parametrize(("harm", "finding"), [case[1:] for case in LEFT], ids=[case[0] for case in LEFT])
def test_what_would_harm_who_serves_it_is_not_published(
    harm: Callable[[Path], object], finding: str, run: Run, job: Job, made: tuple[Path, Built]
) -> None:
    # Given a child that says it has built, and has left something else
    built = leave(made, job)
    harm(Path(job.scratch))
    sizes = [path.lstat().st_size for name in FILES if (path := Path(job.scratch) / name).is_file()]
    # When it has ended, also where it says the right size, then its word does not count
    with pytest.raises(ValueError, match=finding):
        build(run, job, threads=0, command=saying(built._replace(size=sum(sizes))))


@pytest.mark.parametrize(
    "change",
    [
        *({"width": 5000}, {"height": -3}, {"extension": "gif"}, {"tile_count": 4}, {"size": 5}),
        *({"pixel_size": (1.0, -1.0), "pixel_unit": "m"}, {"pixel_size": (1.0, 1.0), "pixel_unit": "light year"}),
        *({"pixel_unit": "m"}, {"pixel_size": (1.0,), "pixel_unit": "m"}, {"crs": "EPSG:4326"}),
        *({"transform": (0.0,) * 6}, {"transform": (1.0, 0.0, 0.0, 0.0, 1.0)}, {"geo_points": (1.0,) * 5}),
        *({"transform": (1.0, 0.0, 1e13, 0.0, 1.0, 0.0)}, {"geo_points": (1.0,) * 404}),
        {"transform": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), "crs": "x" * 8001},
        {"transform": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), "crs": "a\nb"},
    ],
)
def test_a_build_that_is_not_the_one_told_of_is_not_published(
    change: dict[str, Any], run: Run, job: Job, made: tuple[Path, Built]
) -> None:
    built = leave(made, job)
    # Given what is right, it is published; and otherwise not
    assert build(run, job, threads=0, command=saying(built)) == built
    with pytest.raises(ValueError, match="the child"):
        build(run, job, threads=0, command=saying(built._replace(**change)))
    with pytest.raises(ValueError, match="the child sent an impossible report"):
        build(run, job._replace(tile_format="png"), threads=0, command=saying(built))


def test_a_child_that_says_nothing_is_ended_when_the_disk_is_full(run: Run, job: Job) -> None:
    # Given a child that writes and says nothing, and a disk that is full once it has begun
    def check_room() -> None:
        if (Path(job.scratch) / "much").exists():
            raise StageError("out_of_disk", "The storage is too full.")

    command = python("open('much', 'w').close(); time.sleep(600)")
    # Then it is ended, not waited for
    with pytest.raises(StageError) as caught:
        build(run, job, threads=0, command=command, check_room=check_room)
    assert caught.value.code == "out_of_disk"
    assert_nothing_is_left(job)


def test_a_child_that_makes_files_without_end_is_ended(run: Run, job: Job) -> None:
    command = python("[open(f'f{n}', 'w').close() for n in range(1000)]; time.sleep(600)")
    with pytest.raises(ValueError, match="made more than 200 files"):
        build(run, job, threads=0, command=command)
    assert_nothing_is_left(job)


def test_a_run_that_was_stopped_before_starts_nothing_that_lasts(run: Run, job: Job) -> None:
    pictures.jpeg(Path(job.source))
    run.stop("cancelled")
    with pytest.raises(Stopped):
        build(run, job, threads=0)


def test_what_a_child_leaves_behind_dies_with_it(run: Run, job: Job, made: tuple[Path, Built]) -> None:
    # Given a child that starts a process of its own, which keeps the output open no longer than the child
    built = leave(made, job)
    said = REPORTS.encode(built)
    code = (
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], stdout=subprocess.DEVNULL);"
        f"os.write(1, {said!r})"
    )
    # When it has done its work
    assert build(run, job, threads=0, command=python(code)) == built
    # Then the other process ends, too
    assert_nothing_is_left(job)
