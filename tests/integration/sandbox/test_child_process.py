"""Any confined child and its parent: what they say to each other, the child's limits, its end explained."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.sandbox import parent
from pipeline.sandbox.parent import Child, explain_end
from tests.support.rigs.waiting import until

ANSWERING = """
import json
from pipeline.sandbox import child
job = json.loads(child.first_line())
child.watch_life_line()
for offset, length in job["ranges"]:
    child.say(json.dumps([offset, length]).encode() + b"\\n")
    child.say(child.receive(length).hex().encode() + b"\\n")
child.end()
"""
"""A child that asks its parent for bytes, as one does that is to look at the head of a source."""


TALKING = "import select\nwhile True: print('on', flush=True); select.select([], [], [], 0.01)"


def start(
    code: str,
    folder: Path,
    job: bytes = b"{}\n",
    /,
    *,
    watch: Callable[[], None] = lambda: None,
    total: float | None = None,
    silence: float | None = None,
) -> Child:
    return Child(
        (sys.executable, "-I", "-c", code),
        job,
        folder=folder,
        environment=os.environ,
        total=total,
        silence=silence,
        watch=watch,
    )


def test_a_child_may_ask_for_bytes_as_often_as_it_needs(tmp_path: Path) -> None:
    # Given a source, and a child that wants three of its pieces
    source = bytes(range(256)) * 100
    heard = []
    with start(ANSWERING, tmp_path, b'{"ranges": [[0, 4], [20000, 3000], [255, 2]]}\n') as child:
        # When its parent answers each question
        for line in child.lines():
            heard.append(line.decode().strip())
            if line.startswith(b"["):
                offset, length = map(int, line.strip(b"[]\n").split(b","))
                child.send(source[offset : offset + length])
    # Then it has got just these bytes, and ends well
    assert heard[1::2] == [source[0:4].hex(), source[20000:23000].hex(), source[255:257].hex()]
    assert child.exit_code == 0


def test_a_child_that_waits_for_an_answer_ends_with_its_life_line(tmp_path: Path) -> None:
    with start(ANSWERING, tmp_path, b'{"ranges": [[0, 4]]}\n') as child:
        lines = child.lines()
        assert next(lines) == b"[0, 4]\n"
        # When the other end of its standard input is gone, then it ends by itself
        child.close_life_line()
        assert list(lines) == []
    assert child.exit_code == 1


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"total": 0.2, "silence": None}, "The decoder took longer than 0.2 seconds."),
        ({"total": None, "silence": 0.2}, "The decoder made no progress for 0.2 seconds."),
        ({"total": 600.0, "silence": 0.2}, "The decoder made no progress for 0.2 seconds."),
        ({"total": 0.2, "silence": 600.0}, "The decoder took longer than 0.2 seconds."),
    ],
)
@pytest.mark.parametrize(
    "code",
    [
        "import threading; threading.Event().wait()",
        "import os, threading; os.close(1); threading.Event().wait()",
        "import signal, threading; signal.signal(signal.SIGTERM, signal.SIG_IGN); threading.Event().wait()",
    ],
)
def test_a_child_that_hangs_is_killed_when_a_limit_is_over(
    limits: dict[str, float | None], message: str, code: str, tmp_path: Path
) -> None:
    with (
        pytest.raises(StageError) as caught,
        start(code, tmp_path, total=limits["total"], silence=limits["silence"]) as child,
    ):
        list(child.lines())
    assert (caught.value.code, caught.value.message) == ("stalled", message)
    assert child.exit_code == -9


def test_a_child_that_talks_on_is_killed_when_its_time_is_over(tmp_path: Path) -> None:
    with (
        pytest.raises(StageError) as caught,
        start(TALKING, tmp_path, total=0.3) as child,
    ):
        assert set(child.lines()) == {b"on\n"}
    assert caught.value.code == "stalled"


@pytest.mark.parametrize("code", [TALKING, "import threading; threading.Event().wait()"])
def test_a_child_is_watched_whether_it_talks_or_not(code: str, tmp_path: Path) -> None:
    # Given a watch that has had enough at its third look
    looks: list[int] = []

    def watch() -> None:
        looks.append(len(looks))
        if len(looks) == 3:
            raise StageError("out_of_disk", "The disk is full.")

    # When the child goes on and on, then it is ended by that
    with pytest.raises(StageError, match="The disk is full"), start(code, tmp_path, watch=watch) as child:
        list(child.lines())
    assert (looks, child.exit_code) == ([0, 1, 2], -9)


def test_what_a_child_says_without_end_is_not_kept(tmp_path: Path) -> None:
    code = "import sys\nwhile True: sys.stdout.write('x' * 4096)"
    with pytest.raises(ValueError, match="a line without an end"), start(code, tmp_path) as child:
        list(child.lines())


def test_a_child_that_talks_without_pause_is_ended(tmp_path: Path) -> None:
    # Given a child that was taken over, and has its parent read lines instead of doing anything else
    with pytest.raises(ValueError, match="more than 1000 lines"), start("while True: print('on')", tmp_path) as child:
        list(child.lines())
    assert child.exit_code == -9


def test_the_last_words_are_few_however_many_there_were(tmp_path: Path) -> None:
    with start("import sys; sys.stderr.write('x' * 10**6 + 'the end'); sys.exit(3)", tmp_path) as child:
        assert list(child.lines()) == []
    assert child.exit_code == 3
    assert len(child.last_words) == parent.LOG_TAIL
    assert child.last_words.endswith("xthe end")


@pytest.mark.parametrize(
    ("exit_code", "last_words", "code"),
    [
        (-9, "", "out_of_memory"),
        (-11, "", "decoder_crashed"),
        (-6, "free(): invalid pointer", "decoder_crashed"),
        (-6, "terminate called after throwing an instance of 'std::bad_alloc'", "out_of_memory"),
        (-5, "GLib-ERROR **: ../glib/gmem.c:137: failed to allocate 4294836224 bytes", "out_of_memory"),
        (-24, "", "decoder_too_slow"),
        (-25, "", "out_of_disk"),
        (-40, "", "decoder_crashed"),
    ],
)
def test_the_signal_that_ended_a_child_says_why(exit_code: int, last_words: str, code: str) -> None:
    error = explain_end(exit_code, last_words)
    assert isinstance(error, StageError)
    assert error.code == code


def test_a_child_that_is_killed_for_its_work_is_not_one_that_lacks_memory(tmp_path: Path) -> None:
    # Given a child that ignores the signal for "all is used", and is killed a second later
    code = (
        "import resource, signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass"
    )
    with start(code, tmp_path) as child:
        assert list(child.lines()) == []
    # Then its work is named, which no retry makes less
    error = child.death()
    assert child.exit_code == -9
    assert isinstance(error, StageError)
    assert (error.code, error.retryable) == ("decoder_too_slow", False)


def test_a_child_that_is_killed_with_work_to_spare_lacks_memory(tmp_path: Path) -> None:
    code = (
        "import os, resource, signal; resource.setrlimit(resource.RLIMIT_CPU, (50, 60)); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    with start(code, tmp_path) as child:
        assert list(child.lines()) == []
    error = child.death()
    assert isinstance(error, StageError)
    assert error.code == "out_of_memory"


def test_the_work_of_a_child_counts_and_its_sleep_does_not(tmp_path: Path) -> None:
    with start("print('on', flush=True)\nwhile True: pass", tmp_path) as child:
        assert next(child.lines()) == b"on\n"
        until(lambda: child.worked() > 0.5, "a child at work")
        # When it is stopped, then it works no more
        os.kill(child.pid, signal.SIGSTOP)
        until(lambda: "T" in Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2][:3], "a stopped child")
        worked = child.worked()
        assert child.worked() == worked
    # And once it is gone, it has worked as long as it did
    assert child.worked() == child.worked() >= worked


def test_an_end_by_itself_is_nobodys_fault_but_ours() -> None:
    assert isinstance(explain_end(1, "Traceback"), RuntimeError)
