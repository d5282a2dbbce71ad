"""A thread that runs as long as the gateway. Failed work is logged, shown on /readyz, and restarted.

gateway.background.supervisor does the same for asyncio tasks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gateway.background.backoff import Backoff
from gateway.background.supervisor import FIRST_PAUSE, LONGEST_PAUSE, STEADY

STOP_PATIENCE = 2.0
"""Seconds that stop() waits for the thread. A broken connection or storage may block it longer; it is a daemon."""

logger = logging.getLogger(__name__)


class RestartedThread:
    """A thread that restarts its work.

    The work waits on `wake` for the next round, and returns once `stopping` is set.

    Parameters
    ----------
    name: name of the thread, used in the log and on /readyz.
    work: returns only once `stopping` is set.
    """

    def __init__(self, name: str, work: Callable[[], None], first_pause: float = FIRST_PAUSE) -> None:
        self._name = name
        self._work = work
        self._backoff = Backoff(first_pause, LONGEST_PAUSE)
        self.wake = threading.Event()
        self.stopping = threading.Event()
        self._failure = ""
        self._began_at = time.monotonic()
        # A daemon, so that the process can exit while its broker or its storage hangs.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def failure(self) -> str:
        """What failed, until the work has run for STEADY again; else empty. Thread-safe."""
        return self._failure if time.monotonic() - self._began_at < STEADY else ""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def poke(self) -> None:
        """Have the work begin its next round now. Returns at once. Thread-safe."""
        self.wake.set()

    def stop(self) -> None:
        """Stop the work, restart nothing more, and wait up to STOP_PATIENCE for the thread to end."""
        self.stopping.set()
        self.wake.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_PATIENCE)

    def _run(self) -> None:
        while not self.stopping.is_set():
            self._began_at = time.monotonic()
            try:
                self._work()
                how = "ended"
            except BaseException as error:  # noqa: BLE001  # SystemExit too: nothing else would restart the work
                how = f"failed ({type(error).__name__})"
                trace: BaseException | None = error
            else:
                trace = None
            if self.stopping.is_set():
                return
            logger.critical("%s %s; restarting it", self._name, how, exc_info=trace)
            if time.monotonic() - self._began_at > STEADY:
                self._backoff.reset()
            self._began_at = time.monotonic()
            self._failure = f"{self._name} {how}; it is restarted."
            self.stopping.wait(self._backoff.next())
