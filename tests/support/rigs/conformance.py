"""Where the programs are that others wrote to judge by: a folder of their own, apart from what the project runs on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "conformance"
"""Made by `make oracles` from requirements-conformance.lock."""

LIMIT = 120.0
"""Seconds that one of them may take: only one that hangs does."""


def run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python with those packages, and none of ours."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        input=stdin,
        env=os.environ | {"PYTHONPATH": str(FOLDER), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
