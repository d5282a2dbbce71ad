"""A thread that runs as long as the gateway: logged and begun anew when its work fails, and told on /readyz meanwhile.

What gateway.background.supervisor is for tasks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gateway.background.supervisor import FIRST_PAUSE, LONGEST_PAUSE, STEADY

logger = logging.getLogger(__name__)


class KeptThread:
    """One thread.

    Parameters
    ----------
    name: of the thread, in the log and on /readyz.
    work: returns only where it was told to stop.
    """

    def __init__(self, name: str, work: Callable[[], None], first_pause: float = FIRST_PAUSE) -> None:
        self._name = name
        self._work = work
        self._first_pause = first_pause
        self._stopping = threading.Event()
        self._failure = ""
        self._began_at = time.monotonic()
        # A daemon: a process must be able to end although its broker or its storage hangs.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def failure(self) -> str:
        """A sentence, where the work has failed and not run for STEADY since; else empty. From any thread."""
        return self._failure if time.monotonic() - self._began_at < STEADY else ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, patience: float) -> None:
        """Begin nothing anew, and wait so many seconds for what runs; to tell it is the caller's."""
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
            except BaseException as error:  # noqa: BLE001  # also SystemExit: nobody else would go on with the work
                how = f"failed ({type(error).__name__})"
                trace: BaseException | None = error
            else:
                trace = None
            if self._stopping.is_set():
                return
            logger.critical("%s %s, and is started anew", self._name, how, exc_info=trace)
            if time.monotonic() - self._began_at > STEADY:
                pause = self._first_pause
            self._began_at = time.monotonic()
            self._failure = f"{self._name} {how}; it is started anew."
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
