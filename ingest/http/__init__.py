"""HTTP connections to untrusted servers: allowed addresses, responses, cancellation.

Imports `pipeline` and the worker's settings. The rest of ingest imports what is listed here.
"""

from ingest.http.cancellation import Cancellation
from ingest.http.connection import Connection, Crowded, Response
from ingest.http.content_coding import MAX_RATIO, UNMEASURED, decoded
from ingest.http.cookies import ChainCookies
from ingest.http.guard import Guard
from ingest.http.hosts import Hosts
from ingest.http.response import (
    NOT_THESE_BYTES,
    OnlyBrowsers,
    Part,
    broken,
    check_framing,
    check_part,
    check_status,
    codings,
    incomplete,
    is_challenge,
    may_have_expired,
    part_of,
    refuses_range,
    too_large,
)
from ingest.http.validators import HeaderValues, Version, version

__all__ = [
    "MAX_RATIO",
    "NOT_THESE_BYTES",
    "UNMEASURED",
    "Cancellation",
    "ChainCookies",
    "Connection",
    "Crowded",
    "Guard",
    "HeaderValues",
    "Hosts",
    "OnlyBrowsers",
    "Part",
    "Response",
    "Version",
    "broken",
    "check_framing",
    "check_part",
    "check_status",
    "codings",
    "decoded",
    "incomplete",
    "is_challenge",
    "may_have_expired",
    "part_of",
    "refuses_range",
    "too_large",
    "version",
]
