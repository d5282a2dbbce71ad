"""Progress on a real terminal (a pseudo-terminal), and where there is none."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.support.rigs.rest import Answer, ScriptedGateway, scripted_gateway
from tilewright.display import duration

ID = "custom_0123abcd"
DOWNLOADING = {
    "dataset_id": ID,
    "status": "processing",
    "progress": "downloading",
    "message": "Downloading… 34 %",
    "stage_percent": 34.0,
    "bytes_downloaded": 34_000_000,
    "bytes_total": 100_000_000,
    "eta_seconds": 61.0,
}
TILING = {
    "dataset_id": ID,
    "status": "processing",
    "progress": "generating_tiles",
    "message": "Generating tiles… 50 %",
    "stage_percent": 50.0,
    "bytes_downloaded": 100_000_000,
    "bytes_total": 100_000_000,
    "tiles_done": 1200,
    "tiles_total": 2400,
}
READY = {"dataset_id": ID, "status": "ready", "tile_info": {"width": 10800, "height": 5400}}
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with scripted_gateway() as running:
        running.on(
            f"GET /api/datasets/{ID}/status",
            *(Answer(200, status, {"Retry-After": "0"}) for status in (DOWNLOADING, TILING, READY)),
        )
        running.on(f"GET /api/datasets/{ID}", Answer(200, {"dataset_id": ID, "status": "ready"}))
        yield running


def watch_on_a_terminal(gateway: ScriptedGateway, *arguments: str, **environment: str) -> tuple[str, str]:
    """Runs `tilewright watch` with standard error on a pseudo-terminal; gives what stood on output and on error."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tilewright", "watch", ID, "--server", gateway.url, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": "100", "LANG": "C.UTF-8", **environment},
    )
    os.close(terminal)
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                data = os.read(controller, 65536)
            except OSError:  # the terminal's last writer has ended
                return
            if not data:
                return
            seen.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    out, _ = process.communicate(timeout=60)
    reader.join()
    os.close(controller)
    assert process.returncode == 0
    return out.decode(), seen.decode()


def test_a_terminal_shows_a_bar_for_each_stage_with_its_counts(gateway: ScriptedGateway) -> None:
    # When a job is watched on a terminal
    out, err = watch_on_a_terminal(gateway)

    # Then both stages have a bar that ends full, and the result still stands on standard output alone
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err).replace("\r", "").splitlines()
    assert any(line.startswith("Downloading") and "100%" in line and "100 of 100 MB" in line for line in last)
    assert any(line.startswith("Generating tiles") and "100%" in line and "10,800 x 5,400" in line for line in last)
    assert COLOUR.search(err)
    assert out.startswith(f"dataset  {ID}\n")
    assert "\x1b" not in out


def test_no_color_takes_the_colours_and_leaves_the_bars(gateway: ScriptedGateway) -> None:
    _, err = watch_on_a_terminal(gateway, NO_COLOR="1")
    assert "100%" in err
    assert not COLOUR.search(err)


def test_a_dumb_terminal_gets_a_line_a_phase(gateway: ScriptedGateway) -> None:
    _, err = watch_on_a_terminal(gateway, TERM="dumb")
    assert err.splitlines() == [f"{ID}: Downloading…", f"{ID}: Generating tiles…", f"{ID}: Ready."]


def test_quiet_shows_nothing_on_a_terminal_either(gateway: ScriptedGateway) -> None:
    _, err = watch_on_a_terminal(gateway, "--quiet")
    assert err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
