"""One file from its URL to the disk: in parts, resumed, counted, hashed and verified.

Imports `ingest.http`, `pipeline` and the worker's settings.
"""

from ingest.download.checksums import REQUEST, ChecksumMismatch
from ingest.download.fetch import Fetch, Fetched
from ingest.download.resume import EarlierDownload, left_behind

__all__ = [
    "REQUEST",
    "ChecksumMismatch",
    "EarlierDownload",
    "Fetch",
    "Fetched",
    "left_behind",
]
