"""Collect the warnings and errors of decoders while they decode.

libvips and its decoders write warnings to GLib's log. They write errors to one buffer for the whole process, which any
later call may empty. So each decoding is watched separately: `heard` surrounds the single call that decodes.
While libvips saves tiles by suffix, it closes the buffer for microseconds at a time (`vips_error_freeze`), and errors
in that time are lost. For images whose damage shows in the buffer only, see `tiler.decode.reader.Reader.is_quiet`.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyvips

from tiler.decode.decoder_warnings import PASSING

MOST = 200
"""Most warnings kept from one decoding, not counting harmless ones: a damaged file can cause thousands."""

BUFFER_FULL = 10_000
"""Bytes in libvips' buffer from which on errors may have been cut off; it holds 10,240."""

_DOMAIN = b"VIPS"
_LEVELS = 1 << 1 | 1 << 3 | 1 << 4
"""GLib's G_LOG_FLAG_FATAL, G_LOG_LEVEL_CRITICAL and G_LOG_LEVEL_WARNING."""


class _Log:
    """Keeps the warnings that libvips writes to GLib's log, from any of its threads."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._callback = pyvips.ffi.callback("GLogFunc", self._hear, onerror=self._fail)
        remove = pyvips.glib_lib.g_log_remove_handler
        # GLib calls the handler that was set last.
        number = pyvips.glib_lib.g_log_set_handler(_DOMAIN, _LEVELS, self._callback, pyvips.ffi.NULL)
        atexit.register(remove, _DOMAIN, number)

    def _hear(self, _domain: Any, _level: int, message: Any, _data: Any) -> None:
        if len(self.lines) < MOST:
            said = pyvips.ffi.string(message).decode(errors="replace").strip()
            # Harmless warnings must not use up the room of those that count.
            if not PASSING.search(said):
                self.lines.append(said)

    def _fail(self, *_: object) -> None:
        self.lines.append("a warning of a decoder was lost")


@cache
def _log() -> _Log:
    return _Log()


def listen() -> None:
    """Start to collect libvips' warnings. Call it before the process is confined: it needs executable memory."""
    _log()


class Words:
    """The warnings and errors of one decoding, one line each; empty until the decoding is over."""

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self.errors: list[str] = []


@contextmanager
def heard() -> Iterator[Words]:
    """Collect the warnings and errors of the decoders within this context.

    The call that decodes has to be the last one within it: even reading an attribute of a pyvips.Image empties the
    error buffer.
    """
    log = _log()
    words = Words()
    log.lines.clear()
    pyvips.vips_lib.vips_error_clear()
    yield words
    errors = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer())
    words.errors = errors.decode(errors="replace").splitlines()
    if len(errors) >= BUFFER_FULL:
        words.errors.append("further errors were cut off")
    words.remarks = list(log.lines)
