"""HTTP connections to untrusted servers: allowed addresses, responses, cancellation.

Imports `pipeline` and the worker's settings. The rest of ingest imports what is listed here.
"""

from ingest.http.cancellation import Cancellation
from ingest.http.connection import Connection, Crowded, Response
from ingest.http.guard import Guard
from ingest.http.hosts import Hosts
from ingest.http.response import Part, broken, check_framing, check_part, check_status, incomplete, too_large
from ingest.http.validators import HeaderValues, Version, version

__all__ = [
    "Cancellation",
    "Connection",
    "Crowded",
    "Guard",
    "HeaderValues",
    "Hosts",
    "Part",
    "Response",
    "Version",
    "broken",
    "check_framing",
    "check_part",
    "check_status",
    "incomplete",
    "too_large",
    "version",
]
