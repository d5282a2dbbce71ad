"""Download the file at a URL, with limits and checksums. Errors are sentences for people.

open()          make the first request: the file's length and version, and whether the server supports ranges
read(0, 8192)   read some bytes before the download
run()           download the file, over several connections if that is faster, and resume an earlier run's download
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ingest.download import checksums as checks
from ingest.download.byte_ranges import Ranges
from ingest.download.link_answers import MOST_LINKS, next_link
from ingest.download.partial_file import PartialFile, Progress, Room, storage_errors
from ingest.download.remote_file import NOTHING, Expired, OtherVersion, RemoteFile, Unchanged
from ingest.download.resume import EarlierDownload, ResumeNotes, ResumeRecord, left_behind, notes_of
from ingest.download.stream import Stream
from ingest.download.tiles import TileDownload
from ingest.download.transfer import LEAST_PIECE, Transfer, piece
from ingest.http import Cancellation, Connection, Guard, Hosts, OnlyBrowsers, Version
from ingest.links import Tiling
from ingest.settings import IngestSettings
from pipeline.errors import StageError, Stopped, TilewrightError

REFUSED = ("source_forbidden", "source_not_found", "source_refused")
"""Codes for a URL that may have expired."""

TILES = "tiles "
"""Before the digest of the tiles, where a resume record has the ETag of other files. No ETag begins like this."""

ANY_LENGTH = 1 << 62
"""Length of a file of tiles in its resume record, since nobody knows it before the end."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete download.

    Parameters
    ----------
    sha256: in hex.
    bytes: length of the file.
    version: the file's version; empty if the server sent no strong validator.
    is_known: whether the known version is still current, so that the server did not send the file. Nothing was written.
    """

    sha256: str
    bytes: int
    version: Version = NOTHING
    is_known: bool = False


class Fetch:
    """One download. `run` may be called only once.

    Parameters
    ----------
    path: the file to write; an existing file is overwritten. It lies in a folder of this run only. The folder may hold
        an earlier run's download to resume (EarlierDownload.adopt). After an error it may hold one for a later run.
    guard: decides which addresses may be connected to.
    hosts: counts the worker's connections.
    progress: called after each block with the bytes so far and in total, by one thread at a time.
    kept: called with the number of bytes that come from an earlier run.
    room: checks that the given number of bytes fits on the disk; default: no check.
    waiting: called regularly while the host has no room for another connection, or sends what is there already.
    asking: called with the host before each request over the first connection. Additional ones fetch the same file.
    known: a finished download of this URL. If its version is still current, the file is not downloaded again.
    expected_sha256: expected SHA-256 of the file in hex; "" for any.
    """

    def __init__(
        self,
        url: str,
        path: Path,
        *,
        settings: IngestSettings,
        guard: Guard,
        progress: Progress,
        kept: Callable[[int], None] = lambda _: None,
        hosts: Hosts | None = None,
        room: Room = lambda _: None,
        waiting: Callable[[], None] = lambda: None,
        asking: Callable[[str], None] = lambda _: None,
        known: Fetched | None = None,
        expected_sha256: str = "",
    ) -> None:
        self.remote_file = RemoteFile(url, settings)
        self._url = url
        self._path = path
        self._settings = settings
        self._progress = progress
        self._kept = kept
        self._room = room
        self._known = known if known is not None and expected_sha256 in ("", known.sha256) else None
        self._expected = checks.from_request(expected_sha256)
        self._earlier = EarlierDownload(path.parent, url)
        self._cancellation = Cancellation()
        self._make_connection = partial(
            Connection, settings, guard, hosts or Hosts(settings.source_host_connections), self._cancellation
        )
        self._waiting = waiting
        self._connection = self._make_connection(waiting, asking)
        self._side: Connection | None = None
        self._opened: Stream | Fetched | Tiling | None = None
        self._parts = 0
        self._is_named = False

    @property
    def is_resumable(self) -> bool:
        """Whether the folder holds a download that a later run can resume."""
        return left_behind(self._path.parent)

    def open(self) -> Stream | Fetched | Tiling:
        """Make the first request, unless it was already made. Afterwards `remote_file` describes the file.

        Returns the body as a stream, the known download if it is still current, or the tiles to fetch in its place.
        Raises the same errors as `run`.
        """
        if self._opened is None:
            with self._reasons():
                self._opened = self._begin()
        return self._opened

    def read(self, first: int, end: int) -> bytes:
        """Return the bytes from `first` up to but not including `end`, before the download; fewer if the file is short.

        Bytes near the beginning come from the first response, without another request (`is_near`). Others need
        `remote_file.gives_parts`, and are of the version that `run` downloads.

        Raises the same errors as `run`, and Crowded if the host has no room for a second connection, which is not a
        fault of the source.
        """
        opened = self.open()
        seconds = self._settings.source_answer_timeout
        slow = StageError(
            "source_timeout", f"{self.remote_file.host} did not send a part within {seconds:g} seconds. Retry later."
        )
        with self._reasons():
            if isinstance(opened, Stream) and self.is_near(first):
                with self._cancellation.limit(seconds, slow):
                    return opened.peek(end)[first:]
            if self._side is None:
                self._side = self._make_connection()
            with self._side.cancellation.limit(seconds, slow):
                part = self.remote_file.read(self._side, first, min(end, self.remote_file.length or end))
            self._parts += len(part)
            return part

    def is_near(self, first: int) -> bool:
        """Return whether `read` takes the byte at `first` from the first response, without another request."""
        opened = self.open()
        is_beginning = isinstance(opened, Stream) and opened.next == 0
        return is_beginning and not (first > self.ahead and self.remote_file.gives_parts)

    @property
    def ahead(self) -> int:
        """Number of bytes of the file's beginning that `read` has received."""
        return self._opened.ahead if isinstance(self._opened, Stream) else 0

    @property
    def received(self) -> int:
        """Number of bytes that `read` has received."""
        return self._parts + self.ahead

    def run(self) -> Fetched:
        """Download the file.

        Raises
        ------
        StageError: with one of the `source_…` codes, "not_an_image", "unsupported_format" or "out_of_disk".
        StorageError: the folder cannot be read or written.
        Stopped: `cancel` was called.
        """
        late = StageError(
            "source_timeout",
            f"The download took longer than {self._settings.source_time_limit:.0f} seconds. Retry later.",
        )
        try:
            with self._reasons(), self._cancellation.limit(self._settings.source_time_limit, late):
                opened = self.open()
                self._close_side()
                if isinstance(opened, Tiling):
                    return self._receive_tiles(opened)
                return opened if isinstance(opened, Fetched) else self._receive(opened)
        finally:
            self.close()

    def close(self) -> None:
        """Close all connections. `run` does this at its end."""
        self._close_side()
        self._connection.close()
        self._cancellation.release()

    def _close_side(self) -> None:
        if self._side is not None:
            self._side.close()
            self._side = None

    def cancel(self) -> None:
        """Make `run` raise Stopped at once, whatever it waits for. Thread-safe."""
        self._cancellation.cancel(Stopped("the download was stopped"))

    @contextmanager
    def _reasons(self) -> Iterator[None]:
        try:
            yield
        except TilewrightError:
            # A cancellation shows up as different errors, depending on the phase. Its reason takes precedence.
            self._cancellation.check()
            raise

    def _begin(self) -> Stream | Fetched | Tiling:
        """Request the missing bytes, or the whole file if the earlier download cannot be resumed."""
        record = self._earlier.record
        if record is None or record.version.etag.startswith(TILES):
            answer = self._ask(0, NOTHING)
            if not isinstance(answer, Tiling) or record is None or record.version != _version_of(answer):
                self._earlier.discard()
            return answer
        first = next(iter(Ranges(record.there).complement(record.length)))[0]
        try:
            answer = self._ask(first, record.version)
        except StageError as error:
            if error.code not in REFUSED or isinstance(error, OnlyBrowsers):
                raise
            raise Expired(self.remote_file.host) from error
        if not isinstance(answer, Stream):
            self._earlier.discard()
            return answer
        is_same = self.remote_file.length == record.length and record.version.is_same(self.remote_file.version)
        is_at = answer.next == first or answer.unranged
        if is_same and self.remote_file.is_divisible and is_at and self._has_room(record.length):
            if not self._earlier.is_elsewhere:
                return answer
            answer.close()
            if self._has_same_bytes():
                return self.remote_file.part(self._connection, first, record.length, or_whole=True)
            logger.info("%s: downloading from the start: the new URL leads to another file", self._path)
        self._earlier.discard()
        if answer.next == 0:
            return answer
        answer.close()
        return self._ask(0, NOTHING)

    def _has_same_bytes(self) -> bool:
        """Return whether another URL leads to the file of which an earlier run has a part, by samples of that part.

        Two servers may give two files one validator: some make it of the file's time and length.
        """
        seconds = self._settings.source_answer_timeout
        slow = StageError(
            "source_timeout", f"{self.remote_file.host} did not send samples within {seconds:g} seconds. Retry later."
        )
        try:
            with self._cancellation.limit(seconds, slow):
                return all(
                    self.remote_file.read(self._connection, first, first + len(sample)) == sample
                    for first, sample in self._earlier.samples()
                )
        except OtherVersion:
            return False

    def _ask(self, first: int, expected: Version) -> Stream | Fetched | Tiling:
        """Request the file, and follow responses that say where it is."""
        known = self._known
        for _ in range(MOST_LINKS):
            try:
                stream = self.remote_file.begin(
                    self._connection, first, expected, known.version if known is not None else NOTHING
                )
            except Unchanged:
                if known is None:
                    raise
                self._earlier.discard()
                return replace(known, is_known=True)
            try:
                link = next_link(stream, self.remote_file)
            except StageError as error:
                # The inspection and the header's reader report it as a refusal of these bytes.
                self.remote_file.page_advice = error.message
                return stream
            if link is None:
                return stream
            stream.close()
            self.remote_file.move(link)
            self._is_named = True
            if link.tiling is not None:
                self.remote_file.forget()
                return link.tiling
        raise StageError(
            "source_too_many_redirects",
            f"{self.remote_file.host} names a file that names another one, again and again. "
            "Use the URL of the image itself.",
        )

    def _has_room(self, length: int) -> bool:
        try:
            self._room(length)
        except StageError:
            logger.warning("%s: downloading from the start: no room for a copy of the earlier download", self._path)
            return False
        return True

    def _receive(self, stream: Stream) -> Fetched:
        remote_file, record = self.remote_file, self._earlier.record
        checksums = self._expected
        if not remote_file.is_decoded:
            checksums += checks.from_headers(remote_file.headers, is_whole=remote_file.is_whole)
        partial_file = PartialFile(
            self._path,
            remote_file.host,
            remote_file.length,
            page_advice=remote_file.page_advice,
            held=record.there if record is not None else (),
            piece=piece(remote_file, self._settings.source_connections),
            least=LEAST_PIECE,
            max_bytes=self._settings.max_source_bytes,
            algorithms=checks.algorithms(checksums),
            room=self._room,
            progress=self._progress,
            kept=self._kept,
        )
        try:
            with partial_file:
                self._transfer(partial_file, stream)
            partial_file.finish()
            digests = partial_file.digests()
        finally:
            partial_file.close()
        checks.verify(checksums, digests, remote_file.host)
        # A server that names the file elsewhere cannot say whether that file has changed.
        version = NOTHING if self._is_named else remote_file.version
        return Fetched(digests["sha256"], partial_file.count, version)

    def _receive_tiles(self, tiling: Tiling) -> Fetched:
        download = TileDownload(
            tiling,
            self._path,
            self._settings,
            first=self._connection,
            additional=self._make_connection,
            cancellation=self._cancellation,
            earlier=self._earlier,
            progress=self._progress,
            kept=self._kept,
            room=self._room,
            waiting=self._waiting,
        )

        def record() -> ResumeRecord:
            return ResumeRecord(self._url, ANY_LENGTH, _version_of(tiling), ((0, download.end),))

        try:
            with ResumeNotes(notes_of(self._path), download.descriptor, record, self._lost):
                sha256 = download.run()
        finally:
            download.close()
        self._cancellation.check()
        checks.verify(self._expected, {"sha256": sha256}, self.remote_file.host)
        return Fetched(sha256, download.end)

    def _transfer(self, partial_file: PartialFile, stream: Stream) -> None:
        transfer = Transfer(
            self.remote_file, partial_file, self._settings, self._cancellation, self._make_connection, self._waiting
        )
        if not self.remote_file.is_divisible:
            transfer.run(self._connection, stream)
            return

        def record() -> ResumeRecord:
            return ResumeRecord(self._url, self.remote_file.length or 0, self.remote_file.version, partial_file.there)

        with ResumeNotes(notes_of(self._path), partial_file.descriptor, record, self._lost) as notes:
            copying = threading.Thread(target=self._copy, args=(partial_file, notes), name="ingest-copy", daemon=True)
            copying.start()
            try:
                transfer.run(self._connection, stream)
            finally:
                copying.join()
        self._cancellation.check()

    def _lost(self, error: OSError) -> None:
        try:
            with storage_errors(self._path):
                raise error
        except TilewrightError as reason:
            self._cancellation.cancel(reason)

    def _copy(self, partial_file: PartialFile, notes: ResumeNotes) -> None:
        """Copy what earlier runs have downloaded, while connections fetch the rest."""
        if not self._earlier:
            return
        try:
            with storage_errors(self._path):
                for first, end in self._earlier.copy(partial_file.descriptor):
                    partial_file.copied(first, end)
                    if self._cancellation.reason is not None:
                        return
        except TilewrightError as error:
            self._cancellation.cancel(error)
        else:
            notes.note()
        # Also after an error: a copy that failed now would fail again.
        self._earlier.discard()


def _version_of(tiling: Tiling) -> Version:
    return Version(f"{TILES}{tiling.digest}")
