"""`tilewright doctor`: check that everything needed is installed, and say what to do if it is not."""

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
from tiler import readable_formats
from tiler.settings import TilerSettings
from tilewright.client import Client, Problem, Unreachable
from tilewright.output import print_line

DISK_LEAST = 10 * 10**9
"""Bytes of free space below which doctor warns. A gigapixel JPEG and its tiles take one or two gigabytes."""

MARKS = {"ok": "ok", "warning": "!", "error": "x"}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Parameters
    ----------
    level: "ok", "warning" (it works, but not as well as it could) or "error" (it will not work).
    advice: what to do; empty if nothing is to be done.
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
    """Run all checks, whatever an earlier one found. This changes nothing."""
    return [
        *_libvips(TilerSettings().min_libvips),
        _formats(),
        _sandbox(),
        _data_directory(data),
        _disk(data),
        _server(server),
    ]


def print_report(checks: list[Check]) -> None:
    """Print one line per check, and below it what to do."""
    for check in checks:
        print_line(f"[{MARKS[check.level]:^2}] {check.name}: {check.found}")
        if check.advice:
            print_line(f"     {check.advice}")


def _libvips(floor: str) -> Iterator[Check]:
    try:
        import pyvips  # noqa: PLC0415  a failing import has to be reported
    except (ImportError, OSError) as error:
        yield Check("libvips", "error", f"cannot be loaded ({error})", "Install it: pip install 'pyvips[binary]'")
        return
    text = ".".join(map(str, libvips.version(pyvips)))
    try:
        libvips.require(pyvips, floor)
    except libvips.UnsafeLibvips:
        advice = "A crafted file can take over an older libvips. Upgrade: pip install -U pyvips-binary"
        yield Check("libvips", "error", f"{text}, but at least {floor} is needed", advice)
    else:
        yield Check("libvips", "ok", f"{text} (at least {floor} is needed)")


def _formats() -> Check:
    try:
        found = readable_formats.readable()
    except readable_formats.Unasked as error:
        return Check("formats", "error", f"nothing can be read ({error})", "See above.")
    lacking = [name for name, read in found.items() if not read]
    text = f"reads {', '.join(name for name, read in found.items() if read)}"
    if lacking:
        text += f"; not {', '.join(lacking)}"
    if lacking:
        advice = "This libvips was built without them. pyvips-binary and pi-heif together read all formats."
        return Check("formats", "warning", text, advice)
    return Check("formats", "ok", text)


def _sandbox() -> Check:
    layers = sandbox.probe()
    lacking = [f"{layer.name}: {layer.lacking}" for layer in layers if layer.lacking]
    if lacking:
        advice = "Tilewright works without it, but a decoder that a file takes over could do more: see docs/sandbox.md."
        return Check("sandbox", "warning", f"not in force: {'; '.join(lacking)}", advice)
    return Check("sandbox", "ok", f"in force: {', '.join(layer.name for layer in layers)}")


def _data_directory(data: Path) -> Check:
    where = _nearest(data)
    if not where.is_dir():
        return Check("data directory", "error", f"{where} is not a directory", "Give another one with --data.")
    if not os.access(where, os.W_OK | os.X_OK):
        return Check("data directory", "error", f"{where} cannot be written to", "Give another one with --data.")
    if where == data:
        return Check("data directory", "ok", f"{data.resolve()}")
    return Check("data directory", "ok", f"{data.resolve()} (created at the first start)")


def _disk(data: Path) -> Check:
    free, reserve = shutil.disk_usage(_nearest(data)).free, TilerSettings().disk_reserve_bytes
    found = f"{amount(free)} free"
    if free < reserve:
        found += f", but jobs have to leave {amount(reserve)} free: all fail as out_of_disk"
        return Check("disk", "error", found, "Free space, or lower TILEWRIGHT_DISK_RESERVE_BYTES.")
    if free < DISK_LEAST:
        return Check("disk", "warning", found, "A large image and its tiles need some gigabytes.")
    return Check("disk", "ok", found)


def _server(server: str) -> Check:
    client = Client(server)
    try:
        client.ready()
    except Unreachable as error:
        # Only a warning: before the first start no server runs.
        return Check("server", "warning", "not ready" if error.answered else "not running", str(error))
    except Problem as problem:
        return Check("server", "warning", f"{server} answered {problem.status}", "Check the address.")
    finally:
        client.close()
    return Check("server", "ok", f"{server} is ready")


def _nearest(path: Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    return next(place for place in (path, *path.resolve().parents) if place.exists())
