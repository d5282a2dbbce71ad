"""Handling that all HTTP requests share: limits, origins, request ids, conditional requests, problems.

Imports `pipeline` only. The rest of the gateway imports what is listed here: ASGI middleware, the server's protocol
with its limits, and functions that routes call.
"""

from gateway.http.access_log import AccessLog, access_logger
from gateway.http.body_limit import BodyLimit
from gateway.http.cors import Cors
from gateway.http.cross_site import CrossSiteCheck
from gateway.http.error_page import error_codes_page
from gateway.http.error_responses import ErrorResponses
from gateway.http.etags import is_not_modified
from gateway.http.forwarded import Forwarded
from gateway.http.interrupts import Interrupt, disconnected, interruptible
from gateway.http.limited_protocol import RESPONDED, LimitedProtocol
from gateway.http.limits import SWEEP, Limits
from gateway.http.own_address import base_of
from gateway.http.preferences import preferred_wait
from gateway.http.problem_schemas import Problem, State
from gateway.http.problems import (
    Deleted,
    InvalidField,
    NotReady,
    StateConflict,
    error_response,
    examples,
    handle_error,
    problem_response,
)
from gateway.http.request_bodies import MAX_BODIES, RequestBodies
from gateway.http.request_id import RequestId
from gateway.http.schema_fields import absent, few, url_without_default, without_default
from gateway.http.unfinished_bodies import UnfinishedBody
from gateway.http.unsent_bytes import MAX_UNSENT, Unsent

__all__ = [
    "MAX_BODIES",
    "MAX_UNSENT",
    "RESPONDED",
    "SWEEP",
    "AccessLog",
    "BodyLimit",
    "Cors",
    "CrossSiteCheck",
    "Deleted",
    "ErrorResponses",
    "Forwarded",
    "Interrupt",
    "InvalidField",
    "LimitedProtocol",
    "Limits",
    "NotReady",
    "Problem",
    "RequestBodies",
    "RequestId",
    "State",
    "StateConflict",
    "UnfinishedBody",
    "Unsent",
    "absent",
    "access_logger",
    "base_of",
    "disconnected",
    "error_codes_page",
    "error_response",
    "examples",
    "few",
    "handle_error",
    "interruptible",
    "is_not_modified",
    "preferred_wait",
    "problem_response",
    "url_without_default",
    "without_default",
]
