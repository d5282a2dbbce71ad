"""The exclusive lock on a data directory: two stacks that share one would end each other's runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.errors import TilewrightError
from pipeline.file_lock import Held, Holder, holding, holding_folder

LOCK_NAME = "tilewright.embedded.lock"


class DirectoryInUse(TilewrightError):
    """Raised when another process uses the data directory."""


class DirectoryUnusable(TilewrightError):
    """Raised when the data directory cannot be created or written to."""


@contextmanager
def exclusive(directory: Path) -> Iterator[Holder]:
    """Lock a data directory, which is created if it is missing, and yield its previous holder.

    Raises
    ------
    DirectoryInUse: with a message that names the directory and its holder.
    DirectoryUnusable
    """
    with ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            last = stack.enter_context(holding(directory / LOCK_NAME))
            # The lock's file may be deleted while it is held, so lock the directory itself, too.
            stack.enter_context(holding_folder(directory))
        except Held as error:
            holder: Holder = error.args[0]
            raise DirectoryInUse(
                f"The data directory {directory} is in use by process {holder.process or 'unknown'}. "
                "Stop that process, or give another directory with --data."
            ) from error
        except OSError as error:
            raise DirectoryUnusable(
                f"The data directory {directory} cannot be written to ({error.strerror}). Give another one with --data."
            ) from error
        yield last
