"""HTTP connections to untrusted servers: allowed addresses, responses, cancellation.

Imports `pipeline` and the worker's settings.
"""

from ingest.http.cancellation import Cancellation
from ingest.http.connection import Connection, Crowded, Response
from ingest.http.guard import Guard
from ingest.http.hosts import Hosts
from ingest.http.response import incomplete, too_large
from ingest.http.validators import HeaderValues, Version, version

__all__ = [
    "Cancellation",
    "Connection",
    "Crowded",
    "Guard",
    "HeaderValues",
    "Hosts",
    "Response",
    "Version",
    "incomplete",
    "too_large",
    "version",
]
