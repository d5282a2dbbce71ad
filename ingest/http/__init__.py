"""One HTTP connection to a stranger's server: allowed addresses, answers, cancellation.

Imports `pipeline` and the worker's settings.
"""

from ingest.http.cancellation import Wire
from ingest.http.connection import Answer, Crowded, Line
from ingest.http.guard import Guard
from ingest.http.hosts import Hosts
from ingest.http.response import incomplete, too_large
from ingest.http.validators import HeaderValues, Version, version

__all__ = [
    "Answer",
    "Crowded",
    "Guard",
    "HeaderValues",
    "Hosts",
    "Line",
    "Version",
    "Wire",
    "incomplete",
    "too_large",
    "version",
]
