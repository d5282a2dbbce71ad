"""Download one file from a URL to disk, with range requests, resuming, checksums and limits.

Imports `ingest.http`, `pipeline` and the worker's settings. The rest of ingest imports what is listed here.
"""

from ingest.download.checksums import REQUEST, ChecksumMismatch
from ingest.download.fetch import Fetch, Fetched
from ingest.download.resume import EarlierDownload, can_go_on, left_behind

__all__ = [
    "REQUEST",
    "ChecksumMismatch",
    "EarlierDownload",
    "Fetch",
    "Fetched",
    "can_go_on",
    "left_behind",
]
