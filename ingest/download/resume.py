"""Resume records: which bytes a run has downloaded, so that the dataset's next run need not fetch them again.

    scratch/<run_id>/source               the file, with gaps
    scratch/<run_id>/source.json          the resume record: which bytes are on disk, and their version
    scratch/<run_id>/earlier-<n>, .json   the same from earlier runs, until it has been copied

A later run never writes into an earlier run's file, because the earlier run may only be paused and may go on writing.
Instead it hard-links the file into its own folder, and copies the recorded bytes, which no run writes any more.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.download.byte_ranges import Range, Ranges
from ingest.http import Version
from pipeline.errors import StageError, StorageError
from pipeline.storage import sync

EARLIER = "earlier-"

NOTES = ".json"

ASKED_ANEW = 64 * 1024
"""Bytes at the end of a complete file that are fetched again, to learn whether the server still has this version."""

COPIED_AT_ONCE = 64 * 1024**2
"""Bytes per copy. Between two copies a cancellation takes effect and progress is reported. A quarter of a second on a
slow disk."""

INTERVAL = 2.0
"""Seconds between two records, and so the most that is downloaded again after a worker is killed. Shorter downloads
need no record."""

SAMPLES, SAMPLE = 8, 16 * 1024
"""Number and bytes of the samples by which another URL's file is compared: other scans differ nearly everywhere."""

EXPIRED = "source_expired"
"""Code of a failure after which a person can give a new URL for the rest."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResumeRecord:
    """Which bytes of one version of a file are on disk."""

    url: str
    length: int
    version: Version
    there: tuple[Range, ...]

    def write(self, path: Path) -> None:
        """Replace the record at `path`, atomically and durably."""
        fields = {
            "url": self.url,
            "length": self.length,
            "etag": self.version.etag,
            "last_modified": self.version.last_modified,
            "there": self.there,
        }
        draft = path.with_suffix(".new")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(fields, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> ResumeRecord | None:
        """Return the record at `path`; None if it cannot be read, as after a crash of the machine."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            length = int(fields["length"])
            there = Ranges((int(first), int(end)) for first, end in fields["there"] if 0 <= first < end <= length)
            version = Version(str(fields["etag"]), str(fields["last_modified"]))
            return cls(str(fields["url"]), length, version, tuple(there))
        except (OSError, ValueError, TypeError, KeyError):
            return None


class EarlierDownload:
    """What earlier runs have downloaded of one version of a file: the recorded ranges, and the files that hold them.

    Attributes
    ----------
    record: the version, its length, and all downloaded bytes; None if there are none.
    is_elsewhere: whether some of them were downloaded from another URL.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        found = [(path, record) for path in self._notes() if (record := ResumeRecord.read(path))]
        # Those of this URL first, because the others have to be compared.
        found.sort(key=lambda pair: (pair[1].url != url, -Ranges(pair[1].there).bytes))
        self.record: ResumeRecord | None = None
        self.is_elsewhere = False
        self._pieces: list[tuple[Path, Range]] = []
        for notes, record in found:
            if self._add(notes.with_suffix(""), record):
                self.is_elsewhere = self.is_elsewhere or record.url != url
        self._leave_out_end()

    @classmethod
    def adopt(cls, earlier: Path, folder: Path, url: str) -> EarlierDownload:
        """Take over an earlier run's download by hard-linking its files into this run's folder.

        Whatever cannot be linked is downloaded again.
        """
        for number, notes in enumerate(sorted(earlier.glob(f"*{NOTES}"))):
            name = f"{EARLIER}{number}"
            record = ResumeRecord.read(notes)
            if record is None or not record.there:
                continue
            with suppress(OSError):
                os.link(notes.with_suffix(""), folder / name)
                # The record is copied, not linked, because the earlier run may be paused and still add to its own.
                record.write(folder / f"{name}{NOTES}")
        return cls(folder, url)

    def __bool__(self) -> bool:
        return self.record is not None

    def samples(self) -> Iterator[tuple[int, bytes]]:
        """Yield some of the downloaded bytes, each time others, with their positions. Raises StorageError."""
        for path, (first, end) in random.choices(  # noqa: S311  finds files by chance, hides nothing
            self._pieces, [end - first for _, (first, end) in self._pieces], k=SAMPLES
        ):
            at = random.randint(first, max(first, end - SAMPLE))  # noqa: S311
            try:
                with path.open("rb") as file:
                    file.seek(at)
                    yield at, file.read(min(SAMPLE, end - at))
            except OSError as error:
                raise StorageError(f"{path}: {error.strerror or error}") from error

    def copy(self, descriptor: int) -> Iterator[Range]:
        """Copy the downloaded bytes into a file, and yield each range after it was copied. Raises OSError."""
        for path, (first, end) in self._pieces:
            source = os.open(path, os.O_RDONLY)
            done = first
            try:
                while done < end:
                    count = _copy(source, descriptor, done, min(end - done, COPIED_AT_ONCE))
                    yield done, done + count
                    done += count
            finally:
                os.close(source)

    def discard(self) -> None:
        """Remove this run's links to the earlier files, once they are copied or of no use."""
        for notes in self._notes():
            notes.unlink(missing_ok=True)
            notes.with_suffix("").unlink(missing_ok=True)
        self.record, self._pieces = None, []

    def _notes(self) -> list[Path]:
        return list(self._folder.glob(f"{EARLIER}*{NOTES}"))

    def _leave_out_end(self) -> None:
        record = self.record
        if record is None or Ranges(record.there).bytes < record.length:
            return
        most = max(0, record.length - ASKED_ANEW)
        self._pieces = [(file, (first, min(end, most))) for file, (first, end) in self._pieces if first < most]
        self.record = replace(record, there=((0, most),)) if most else None

    def _add(self, file: Path, record: ResumeRecord) -> bool:
        """Add what a file holds. Return whether that is of the same version."""
        chosen = self.record or record
        if not record.there or (record.length, record.version) != (chosen.length, chosen.version):
            return False
        if not _is_at_least(file, record.there[-1][1]):
            return False
        known, new = Ranges(self.record.there if self.record is not None else ()), Ranges(record.there)
        for first, end in known:
            new.remove(first, end)
        self._pieces = sorted([*self._pieces, *((file, one) for one in new)], key=lambda piece: piece[1])
        self.record = ResumeRecord(record.url, record.length, record.version, tuple(Ranges((*known, *new))))
        return True


class ResumeNotes:
    """Writes the resume record of a download every INTERVAL, and once more if the download fails.

    Parameters
    ----------
    path: path of the record.
    descriptor: descriptor of the downloaded file.
    record: returns the current record.
    lost: called, from any thread, if bytes of the file did not reach the disk. The whole download is lost then.
    """

    def __init__(
        self, path: Path, descriptor: int, record: Callable[[], ResumeRecord], lost: Callable[[OSError], None]
    ) -> None:
        self._path = path
        self._descriptor = descriptor
        self._record = record
        self._lost = lost
        self._is_lost = False
        self._noted = 0
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ingest-notes", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if kind is not None and can_go_on(error):
            self.note()

    def note(self) -> None:
        """Sync the file to disk, then write the record. A record that cannot be written is only logged."""
        with self._one_at_a_time:
            if self._is_lost:
                return
            # Taken before the sync: bytes that arrive during it are not recorded.
            record = self._record()
            count = Ranges(record.there).bytes
            if count == self._noted:
                return
            try:
                sync(self._descriptor)
            except OSError as error:
                # The kernel reports such an error only once: later syncs of this file would succeed.
                self._is_lost = True
                self._lost(error)
                return
            try:
                record.write(self._path)
                self._noted = count
            except OSError as error:
                logger.warning("%s: could not write the resume record: %s", self._path, error)

    def _work(self) -> None:
        while not self._ended.wait(INTERVAL):
            self.note()


def can_go_on(error: BaseException | None) -> bool:
    """Return whether a later run may resume a download that ended with an error."""
    return not isinstance(error, StageError) or error.retryable or error.code == EXPIRED


def left_behind(folder: Path) -> bool:
    """Return whether a run's folder holds a download that a later run can resume."""
    return any(folder.glob(f"*{NOTES}"))


def notes_of(file: Path) -> Path:
    """Return the path of a file's resume record."""
    return file.with_name(file.name + NOTES)


def _is_at_least(file: Path, count: int) -> bool:
    try:
        return file.stat().st_size >= count
    except OSError:
        return False


def _copy(source: int, target: int, first: int, count: int) -> int:
    """Copy up to `count` bytes, in the kernel if possible, so that the file system may share blocks.

    Returns the number of bytes copied.
    """
    try:
        copied = os.copy_file_range(source, target, count, first, first)
    except (OSError, AttributeError):
        copied = os.pwrite(target, os.pread(source, min(count, 1024**2), first), first)
    if not copied:
        raise OSError(f"the earlier file ends at {first}")
    return copied
