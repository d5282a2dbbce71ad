"""Kills or freezes a service at a named point, from outside: Python imports this module when the service starts.

The services know nothing of it. POINTS has for each point a module and a function of it, which is wrapped when the
module is imported. A tiler's child is started isolated and reads no PYTHONPATH, so what starts it is wrapped, too.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

VARIABLE = "TEST_FAULT"
"""POINT:FILE. The process that first reaches POINT makes FILE, which tells the test so, and is killed."""

SIGNAL_VARIABLE = "TEST_FAULT_SIGNAL"
"""What the process gets in place of SIGKILL: SIGSTOP freezes it until a test sends SIGCONT."""

POINT, _, FILE = os.environ.get(VARIABLE, "").partition(":")
SIGNAL = os.environ.get(SIGNAL_VARIABLE, "SIGKILL")

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def reach(file: str, number: str) -> None:
    """Kills (or freezes) this process, unless one was before."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return
    # To this thread: a signal to the process may be another thread's to take, and this one would run on a little.
    signal.pthread_kill(threading.get_ident(), signal.Signals[number])


def before(condition: Callable[..., bool] = lambda *_, **__: True) -> Wrap:
    """Hits the process before a call whose arguments are so."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if condition(*args, **kwargs):
                reach(FILE, SIGNAL)
            return function(*args, **kwargs)

        return wrapped

    return wrap


def after(condition: Callable[..., bool] = lambda *_, **__: True) -> Wrap:
    """Hits the process after a call, where the result (a coroutine's own) and the arguments are so."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                return awaited(result, args)
            if condition(result, *args):
                reach(FILE, SIGNAL)
            return result

        async def awaited(result: Any, args: tuple[Any, ...]) -> Any:
            result = await result
            if condition(result, *args):
                reach(FILE, SIGNAL)
            return result

        return wrapped

    return wrap


def before_commit(write: Callable[..., Any]) -> Callable[..., Any]:
    """Hits statussvc when a transaction is made, and not committed."""

    @functools.wraps(write)
    async def wrapped(database: Any, function: Callable[..., Any]) -> Any:
        return await write(database, after()(function))

    return wrapped


def in_child(command: Callable[..., Any]) -> Callable[..., Any]:
    """Has a tiler's child hit by itself when it reports progress: by its own code, behind a line that makes it so."""
    code = (
        "import runpy, sys; sys.argv[1:] = []\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from pipeline.sandbox import child, confine\n"
        f"source = Path({__file__!r}).read_text()\n"
        "hook = {'__name__': 'hook', '__file__': ''}\n"
        "exec(compile(source, 'hook', 'exec'), hook)\n"
        "say, restrict = child.say, confine._landlock\n"
        "def hit(line):\n"
        f"    b'progress' in line and hook['reach']({FILE!r}, {SIGNAL!r})\n"
        "    say(line)\n"
        "child.say = hit\n"
        f"wider = (Path({FILE!r}).parent,)\n"
        "confine._landlock = lambda allowed: restrict(replace(allowed, write=(*allowed.write, *wider)))\n"
    )

    @functools.wraps(command)
    def wrapped(module: str) -> tuple[str, ...]:
        run = f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        # Its name is an argument as well, so that it can be found among the processes.
        return (sys.executable, "-I", "-c", code + run, module)

    return wrapped


def _is_create(_: object, request: object) -> bool:
    return type(request).__name__ == "CreateDatasetRequest"


def _is_granted(begun: Any, *_: object) -> bool:
    return bool(begun.WhichOneof("result") == "grant")


POINTS: dict[str, tuple[str, str, Wrap]] = {
    "gateway_before_create": ("gateway.api.datasets", "ask", before(_is_create)),
    "gateway_after_create": ("gateway.api.datasets", "ask", after(lambda _, *args: _is_create(*args))),
    "relay_before_publish": ("gateway.background.relay", "publish", before()),
    "relay_after_publish": ("gateway.background.relay", "publish", after()),
    "ingest_after_begin": ("pipeline.status", "StatusClient.begin_stage", after(_is_granted)),
    "ingest_mid_download": ("ingest.actor", "_report", before(lambda _, done, total: 0 < done != total)),
    "ingest_before_store": ("pipeline.storage.directory", "DirectoryStorage.put_file", before()),
    "ingest_before_complete": ("pipeline.status", "StatusClient.complete_stage", before()),
    "ingest_after_complete": ("ingest.actor", "_hand_on", before()),
    "ingest_after_publish": ("pipeline.status", "StatusClient.confirm_published", before()),
    "tiler_after_begin": ("pipeline.status", "StatusClient.begin_stage", after(_is_granted)),
    "tiler_mid_build": (
        "tiler.child_checks",
        "require_plausible",
        after(lambda _, report, *__: type(report).__name__ == "Progress"),
    ),
    "tiler_child_mid_build": ("pipeline.sandbox.parent", "command", in_child),
    "tiler_mid_store": ("pipeline.storage.directory", "DirectoryStorage.put_file", after()),
    "tiler_before_complete": ("pipeline.status", "StatusClient.complete_stage", before()),
    "tiler_after_complete": ("tiler.actor", "run_stage", after()),
    "statussvc_before_commit": ("statussvc.db.database", "Database.write", before_commit),
    "statussvc_after_commit": ("statussvc.db.database", "Database.write", after()),
    "statussvc_in_purge": ("statussvc.db.repository.purge", "delete", before(lambda table: table.name == "datasets")),
}
"""By name: the module, what is wrapped in it, and how."""


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module as the others do, and wraps a function of it once it is loaded."""

    def __init__(self, module: str, place: str, wrap: Wrap) -> None:
        self._module, self._place, self._wrap = module, place, wrap

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        spec: importlib.machinery.ModuleSpec | None = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_and_wrap(module: ModuleType) -> None:
            load(module)
            *outer, last = self._place.split(".")
            owner = functools.reduce(getattr, outer, module)
            setattr(owner, last, self._wrap(getattr(owner, last)))

        spec.loader.exec_module = load_and_wrap  # type: ignore[method-assign]
        return spec


if POINT:
    sys.meta_path.insert(0, _Finder(*POINTS[POINT]))
