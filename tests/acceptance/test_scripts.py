"""The shell test and the demo, as a user runs them."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.acceptance.conftest import COMMAND_LIMIT, ENVIRONMENT
from tests.support.network.sources import SourceServer
from tilewright.embedded import LaunchedStack

SCRIPT = Path(__file__).parents[1] / "test_async_dataset.sh"


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT,
        check=False,
        env=ENVIRONMENT | environment,
        cwd=os.sep,  # from anywhere
    )


def test_the_shell_test_starts_a_stack_of_its_own_and_passes() -> None:
    done = run(SCRIPT)
    assert done.returncode == 0, done.stdout + done.stderr
    phases = re.findall(r"^(?:queued|processing|ready) (\w*)", done.stdout, re.MULTILINE)
    assert "generating_tiles" in phases
    assert "PASSED: custom_" in done.stdout


def test_the_shell_test_passes_against_a_running_stack(stack: LaunchedStack, sources: SourceServer) -> None:
    done = run(SCRIPT, stack.url, SOURCE_URL=sources.url("/map.jpg"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{stack.url}/view/custom_" in done.stdout


def test_the_shell_test_fails_where_the_contract_is_broken(stack: LaunchedStack, sources: SourceServer) -> None:
    done = run(SCRIPT, stack.url, SOURCE_URL=sources.url("/truncated.jpg"))
    assert done.returncode == 1
    assert "FAILED: the dataset failed" in done.stderr


def test_the_demo_does_the_main_job_and_ends_where_nobody_looks() -> None:
    done = run(sys.executable, "-m", "tilewright.commands.demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Where the time went" in done.stdout
    assert re.search(r"^  generating tiles +\d+\.\d\d s", done.stdout, re.MULTILINE)
    assert re.search(r"^Look at it: http://127\.0\.0\.1:\d+/view/custom_[0-9a-f]+$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(("sign", "exit_code"), [(signal.SIGINT, 0), (signal.SIGHUP, 128 + signal.SIGHUP)])
def test_the_demo_on_a_terminal_keeps_serving_until_ctrl_c_or_the_terminals_end(
    sign: signal.Signals, exit_code: int
) -> None:
    # Given a demo whose standard output is a terminal
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "tilewright.commands.demo"],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    ) as demo:
        os.close(terminal)
        with os.fdopen(controller, encoding="utf-8", errors="replace") as screen:
            # When it shows the link, then that is there to look at
            link = next(line.removeprefix("Look at it: ").strip() for line in screen if line.startswith("Look at it: "))
            assert "Ctrl-C" in screen.readline()
            assert requests.get(link, timeout=60).status_code == 200

            # And that ends it, and its server
            demo.send_signal(sign)
            assert demo.wait(COMMAND_LIMIT) == exit_code
    with pytest.raises(requests.ConnectionError):
        requests.get(link, timeout=60)
