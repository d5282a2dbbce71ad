"""The exclusive lock on a data directory: two stacks on one would end each other's runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.errors import TilewrightError
from pipeline.file_lock import Held, Holder, holding, holding_folder

LOCK_NAME = "tilewright.embedded.lock"


class DirectoryInUse(TilewrightError):
    """Raised when another process holds the data directory."""


class DirectoryUnusable(TilewrightError):
    """Raised when the data directory cannot be made or written to."""


@contextmanager
def exclusive(directory: Path) -> Iterator[Holder]:
    """Holds a data directory, which is made where it is missing; gives who held it before.

    Raises DirectoryInUse, which names the directory and its holder, and DirectoryUnusable.
    """
    with ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            last = stack.enter_context(holding(directory / LOCK_NAME))
            # Its file may be deleted while it is held.
            stack.enter_context(holding_folder(directory))
        except Held as error:
            holder: Holder = error.args[0]
            raise DirectoryInUse(
                f"The data directory {directory} is in use by process {holder.process or 'unknown'}. "
                "Stop that one, or name another directory with --data."
            ) from error
        except OSError as error:
            raise DirectoryUnusable(
                f"The data directory {directory} cannot be written to ({error.strerror}). Name another one with --data."
            ) from error
        yield last
