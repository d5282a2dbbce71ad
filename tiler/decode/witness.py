"""What decoders say while they decode, heard when they say it.

libvips and its decoders speak in two ways: remarks go to GLib's log, and errors to a buffer, one for the process, that
any later call may empty. So a decoding is watched by itself: `Witness` stands around the one call that evaluates it.
libvips' saver of tiles by suffix closes the buffer for some microseconds (`vips_error_freeze`), in which an error
leaves no trace: where only the buffer tells of damage, see `tiler.decode.reader.Reader.is_quiet`.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyvips

from tiler.decode.remarks import PASSING

MOST = 200
"""Remarks kept of one decoding, of those that may count: a damaged file can give thousands."""

BUFFER_FULL = 10_000
"""Bytes in libvips' buffer, of 10,240, at which there may have been more."""

_DOMAIN = b"VIPS"
_LEVELS = 1 << 1 | 1 << 3 | 1 << 4
"""GLib's G_LOG_FLAG_FATAL, G_LOG_LEVEL_CRITICAL and G_LOG_LEVEL_WARNING."""


class _Log:
    """Keeps what libvips says to GLib's log; its threads say it, and any of them may be a foreign one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._callback = pyvips.ffi.callback("GLogFunc", self._hear, onerror=self._fail)
        remove = pyvips.glib_lib.g_log_remove_handler
        # The handler that was set last is the one that is asked.
        number = pyvips.glib_lib.g_log_set_handler(_DOMAIN, _LEVELS, self._callback, pyvips.ffi.NULL)
        atexit.register(remove, _DOMAIN, number)

    def _hear(self, _domain: Any, _level: int, message: Any, _data: Any) -> None:
        if len(self.lines) < MOST:
            said = pyvips.ffi.string(message).decode(errors="replace").strip()
            # What counts must find room, whatever else is said before it.
            if not PASSING.search(said):
                self.lines.append(said)

    def _fail(self, *_: object) -> None:
        self.lines.append("a decoder's remark was lost")


@cache
def _log() -> _Log:
    return _Log()


def listen() -> None:
    """Hear libvips' log from now on. Before the process is confined: a callback takes memory that may be executed."""
    _log()


class Words:
    """What was said during one decoding, line by line; empty until it is over."""

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self.errors: list[str] = []


@contextmanager
def heard() -> Iterator[Words]:
    """Hear what decoders say within.

    The last thing done within has to be the call that decodes: to look up an attribute of a pyvips.Image empties the
    buffer.
    """
    log = _log()
    words = Words()
    log.lines.clear()
    pyvips.vips_lib.vips_error_clear()
    yield words
    errors = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer())
    words.errors = errors.decode(errors="replace").splitlines()
    if len(errors) >= BUFFER_FULL:
        words.errors.append("more was said than is kept")
    words.remarks = list(log.lines)
