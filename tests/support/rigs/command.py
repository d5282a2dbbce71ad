"""The command line, run in the process of a test."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from tilewright.commands.cli import main


class Ended(NamedTuple):
    """How the command ended, and what it printed."""

    code: int
    out: str
    err: str


def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """Run `tilewright` with arguments."""
    monkeypatch.setattr(sys, "argv", ["tilewright", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    code = ended.value.code
    return Ended(code if isinstance(code, int) else 0, captured.out, captured.err)
