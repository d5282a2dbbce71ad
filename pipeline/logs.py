"""Logging of all services: to standard error, as text or as one JSON object a line, with secrets masked."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

from pipeline.settings import Settings
from pipeline.texts import visible

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the current request; empty outside of requests. Every line logged during a request contains it."""

MASK = "***"

_CREDENTIALS = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/?#@]+@", re.IGNORECASE)
_SIGNATURES = re.compile(
    r"(?P<name>[?&](?:[\w-]*(?:signature|credential|token|secret|password)|sig|key|api_?key|access_?key)=)[^&\s\"']+",
    re.IGNORECASE,
)

logger = logging.getLogger(__name__)

QUIET = {
    # pika logs many lines and tracebacks for each failed connection; the relay and the workers log one line.
    "pika": logging.CRITICAL,
    # uvicorn logs its starts and stops; the services log their own.
    "uvicorn.error": logging.WARNING,
}
"""Loggers of other packages, and the least level of their lines that are kept."""


def mask(text: str) -> str:
    """Hide user names and passwords in URLs, and the values of query parameters that sign a URL."""
    return _SIGNATURES.sub(rf"\g<name>{MASK}", _CREDENTIALS.sub(rf"\g<scheme>{MASK}@", text))


class TextFormatter(logging.Formatter):
    """`time level service logger: message [request_id]`, for people."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        # The message may quote an untrusted file or server: no additional lines, and no control characters.
        message = visible(record.getMessage()).replace("\n", "\n  ")
        line = f"{_time(record)} {record.levelname:7} {self._service} {record.name}: {message}"
        if request := request_id.get():
            line += f" [{request}]"
        if trace := _traceback(record):
            line += f"\n{visible(trace)}"
        return mask(line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, service, logger, message, and request_id and traceback if any."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": mask(record.getMessage()),
        }
        if request := request_id.get():
            line["request_id"] = request
        if trace := _traceback(record):
            line["traceback"] = mask(trace)
        return visible(json.dumps(line, ensure_ascii=False))


class Repeats:
    """Limits repeated lines: one line of each kind is logged in a period, and the others are counted.

    Parameters
    ----------
    seconds: length of the period.
    clock: returns monotonic seconds.
    """

    MOST = 1000
    """Most kinds that are remembered."""

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}

    def left_out(self, kind: str) -> int | None:
        """Return None to leave out this line; else how many lines of its kind were left out since the last one."""
        now = self._clock()
        logged_at, count = self._kinds.get(kind, (-math.inf, 0))
        if now - logged_at < self._seconds:
            self._kinds[kind] = (logged_at, count + 1)
            return None
        if len(self._kinds) >= self.MOST:
            self._kinds.clear()
        self._kinds[kind] = (now, 0)
        return count


def configure(settings: Settings, service: str, stream: TextIO | None = None) -> None:
    """Configure the logging of this process by its settings. Replaces any earlier configuration.

    Parameters
    ----------
    service: the name in each line, such as "gateway".
    stream: where to write. Default: standard error, since standard output is for results.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service) if settings.log_json else TextFormatter(service))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    threading.excepthook = _log_ended_thread


def _log_ended_thread(ended: threading.ExceptHookArgs) -> None:
    """Log the error that ended a thread. Python would write a bare traceback, which a search for log lines misses."""
    if ended.exc_type is SystemExit:
        return
    name = ended.thread.name if ended.thread else "unknown"
    error = (ended.exc_type, ended.exc_value or ended.exc_type(), ended.exc_traceback)
    logger.critical("the thread %s ended with an error", name, exc_info=error)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return record.exc_text or ""
