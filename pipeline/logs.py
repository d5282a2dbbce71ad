"""Logging for all services: to standard error, as text or as one JSON object a line, with secrets masked."""

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
"""The id of the request at work in this context; empty outside of requests. Stands in every line logged there."""

MASK = "***"

_CREDENTIALS = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/?#@]+@", re.IGNORECASE)
_SIGNATURES = re.compile(
    r"(?P<name>[?&](?:[\w-]*(?:signature|credential|token|secret|password)|sig|key|api_?key|access_?key)=)[^&\s\"']+",
    re.IGNORECASE,
)

logger = logging.getLogger(__name__)

QUIET = {
    # Each failed connection is told in many lines and tracebacks; the relay and the workers say it in one.
    "pika": logging.CRITICAL,
    # A line for each of its own starts and stops, which the services log in their own words.
    "uvicorn.error": logging.WARNING,
}
"""Loggers of other packages, and the least level that is taken from them."""


def mask(text: str) -> str:
    """Hide user names and passwords in URLs, and the values of query parameters that sign a URL."""
    return _SIGNATURES.sub(rf"\g<name>{MASK}", _CREDENTIALS.sub(rf"\g<scheme>{MASK}@", text))


class TextFormatter(logging.Formatter):
    """`time level service logger: message [request_id]`, for people."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        # What a stranger's file or server said may be in it: no line of its own, and nothing that a terminal obeys.
        message = visible(record.getMessage()).replace("\n", "\n  ")
        line = f"{_time(record)} {record.levelname:7} {self._service} {record.name}: {message}"
        if request := request_id.get():
            line += f" [{request}]"
        if trace := _traceback(record):
            line += f"\n{visible(trace)}"
        return mask(line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, service, logger, message; request_id and traceback where there are any."""

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
    """Tells which lines of a kind are to be logged: one in a while, with the number of those that were left out.

    Parameters
    ----------
    seconds: between two lines of a kind.
    clock: monotonic seconds.
    """

    MOST = 1000
    """Kinds that are remembered."""

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}

    def left_out(self, kind: str) -> int | None:
        """Give how many lines of this kind were left out since the last one; None where this one is to be, too."""
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
    """Have this process log as its settings say. Replaces what was configured before.

    Parameters
    ----------
    service: the name that stands in each line, such as "gateway".
    stream: where to; by default standard error, since standard output belongs to results.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service) if settings.log_json else TextFormatter(service))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    threading.excepthook = _log_ended_thread


def _log_ended_thread(ended: threading.ExceptHookArgs) -> None:
    """Python itself writes a bare traceback, which no search for a service's lines finds."""
    if ended.exc_type is SystemExit:
        return
    name = ended.thread.name if ended.thread else "unknown"
    error = (ended.exc_type, ended.exc_value or ended.exc_type(), ended.exc_traceback)
    logger.critical("the thread %s has ended by an error", name, exc_info=error)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return record.exc_text or ""
