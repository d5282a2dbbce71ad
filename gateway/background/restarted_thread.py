"""A thread that runs as long as the gateway. Failed work is logged, shown on /readyz, and restarted.

gateway.background.supervisor does the same for asyncio tasks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gateway.background.supervisor import FIRST_PAUSE, LONGEST_PAUSE, STEADY

logger = logging.getLogger(__name__)


class KeptThread:
    """A thread that restarts its work.

    Parameters
    ----------
    name: name of the thread, used in the log and on /readyz.
    work: returns only when it was told to stop.
    """

    def __init__(self, name: str, work: Callable[[], None], first_pause: float = FIRST_PAUSE) -> None:
        self._name = name
        self._work = work
        self._first_pause = first_pause
        self._stopping = threading.Event()
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

    def stop(self, patience: float) -> None:
        """Restart nothing more, and wait up to `patience` seconds. The caller has to tell the work to stop."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(patience)

    def _run(self) -> None:
        pause = self._first_pause
        while not self._stopping.is_set():
            self._began_at = time.monotonic()
            try:
                self._work()
                how = "ended"
            except BaseException as error:  # noqa: BLE001  # SystemExit too: nothing else would restart the work
                how = f"failed ({type(error).__name__})"
                trace: BaseException | None = error
            else:
                trace = None
            if self._stopping.is_set():
                return
            logger.critical("%s %s; restarting it", self._name, how, exc_info=trace)
            if time.monotonic() - self._began_at > STEADY:
                pause = self._first_pause
            self._began_at = time.monotonic()
            self._failure = f"{self._name} {how}; it is restarted."
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
