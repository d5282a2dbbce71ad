"""`tilewright doctor`: checks that everything needed is installed, and says what to do about what is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.formats import libvips
from pipeline.sandbox import confine as sandbox
from pipeline.texts import amount
from tiler import readable
from tiler.settings import TilerSettings
from tilewright.client import Client, Problem, Unreachable
from tilewright.output import print_line

DISK_LEAST = 10 * 10**9
"""Bytes. A gigapixel JPEG with its tiles takes one or two of these ten gigabytes."""

MARKS = {"ok": "ok", "warning": "!", "error": "x"}


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at and found.

    Parameters
    ----------
    level: "ok", "warning" (it works, but look at it) or "error" (it will not work).
    advice: what to do; empty where nothing is.
    """

    name: str
    level: str
    found: str
    advice: str = ""

    @property
    def ok(self) -> bool:
        return self.level != "error"

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "level": self.level, "found": self.found, "advice": self.advice}


def examine(data: Path, server: str) -> list[Check]:
    """Looks at everything, whatever an earlier check found. Changes nothing."""
    return [
        *_libvips(TilerSettings().min_libvips),
        _formats(),
        _sandbox(),
        _data_directory(data),
        _disk(data),
        _server(server),
    ]


def print_report(checks: list[Check]) -> None:
    """A line a check, and below it what to do."""
    for check in checks:
        print_line(f"[{MARKS[check.level]:^2}] {check.name}: {check.found}")
        if check.advice:
            print_line(f"     {check.advice}")


def _libvips(floor: str) -> Iterator[Check]:
    try:
        import pyvips  # noqa: PLC0415  what cannot be loaded is to be reported
    except (ImportError, OSError) as error:
        yield Check("libvips", "error", f"cannot be loaded ({error})", "Install it: pip install 'pyvips[binary]'")
        return
    text = ".".join(map(str, libvips.version(pyvips)))
    try:
        libvips.require(pyvips, floor)
    except libvips.UnsafeLibvips:
        advice = "Older ones can be taken over by a crafted file. Upgrade: pip install -U pyvips-binary"
        yield Check("libvips", "error", f"{text}, below the floor of {floor}", advice)
    else:
        yield Check("libvips", "ok", f"{text} (at least {floor} is needed)")


def _formats() -> Check:
    try:
        found = readable.readable()
    except readable.Unasked as error:
        return Check("formats", "error", f"nothing can be read ({error})", "See above.")
    lacking = [name for name, read in found.items() if not read]
    text = f"reads {', '.join(name for name, read in found.items() if read)}"
    if lacking:
        text += f"; not {', '.join(lacking)}"
    if lacking:
        advice = "This build of libvips lacks them; pyvips-binary and pi-heif together read all."
        return Check("formats", "warning", text, advice)
    return Check("formats", "ok", text)


def _sandbox() -> Check:
    layers = sandbox.probe()
    lacking = [f"{layer.name}: {layer.lacking}" for layer in layers if layer.lacking]
    if lacking:
        advice = "It works without, but a hole in a decoder would reach further: docs/sandbox.md says how far."
        return Check("sandbox", "warning", f"not in force: {'; '.join(lacking)}", advice)
    return Check("sandbox", "ok", f"in force: {', '.join(layer.name for layer in layers)}")


def _data_directory(data: Path) -> Check:
    where = _nearest(data)
    if not where.is_dir():
        return Check("data directory", "error", f"{where} is not a directory", "Name another one with --data.")
    if not os.access(where, os.W_OK | os.X_OK):
        return Check("data directory", "error", f"{where} cannot be written to", "Name another one with --data.")
    if where == data:
        return Check("data directory", "ok", f"{data.resolve()}")
    return Check("data directory", "ok", f"{data.resolve()}, made by the first start")


def _disk(data: Path) -> Check:
    free, reserve = shutil.disk_usage(_nearest(data)).free, TilerSettings().disk_reserve_bytes
    found = f"{amount(free)} free"
    if free < reserve:
        found += f", and jobs leave {amount(reserve)} free: each fails as out_of_disk"
        return Check("disk", "error", found, "Free space, or lower TILEWRIGHT_DISK_RESERVE_BYTES.")
    if free < DISK_LEAST:
        return Check("disk", "warning", found, "A large picture and its tiles need some gigabytes.")
    return Check("disk", "ok", found)


def _server(server: str) -> Check:
    client = Client(server)
    try:
        client.ready()
    except Unreachable as error:
        # No error: this is what is seen before the first start.
        return Check("server", "warning", "not ready" if error.answered else "not running", str(error))
    except Problem as problem:
        return Check("server", "warning", f"{server} answered {problem.status}", "Check the address.")
    finally:
        client.close()
    return Check("server", "ok", f"{server} is ready")


def _nearest(path: Path) -> Path:
    """The path, or the nearest above it that is there."""
    return next(place for place in (path, *path.resolve().parents) if place.exists())
