"""Map errors to HTTP statuses and codes, and respond to every error with application/problem+json (RFC 9457).

A browser that opens a URL in its window gets the problem as a page. A problem's `type` links to the documentation of
its code. `detail` says what happened and what to do. On 422, `errors` says what is wrong with which part of the
request.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import grpc
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from gateway.http import error_page, problem_schemas
from gateway.http.cross_site import ForeignOrigin, WrongHost
from pipeline.errors import (
    CODES,
    Conflict,
    NotFound,
    RegionsBusy,
    SearchTooSlow,
    StageError,
    StatusUnavailable,
    StorageError,
    StorageLost,
)
from pipeline.logs import Repeats, request_id

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER = 2
"""Seconds after which a client may retry: the gateway reconnects to a restarted statussvc within one second."""


class NotReady(NotFound):
    """Raised when a dataset has no pyramid yet.

    Parameters
    ----------
    will_be: whether the dataset is being worked on, so that a client may try again soon.
    """

    def __init__(self, detail: str, *, will_be: bool) -> None:
        super().__init__(detail)
        self.will_be = will_be


class Deleted(NotFound):
    """Raised when a dataset was deleted. Its id is never used again."""


BY_EXCEPTION: dict[type[Exception], tuple[int, str]] = {
    StageError: (422, "its own"),
    RequestValidationError: (422, "invalid_request"),
    NotFound: (404, "not_found"),
    NotReady: (404, "not_ready"),
    Deleted: (410, "deleted"),
    Conflict: (409, "conflict"),
    StatusUnavailable: (503, "service_unavailable"),
    SearchTooSlow: (503, "search_too_slow"),
    RegionsBusy: (503, "service_unavailable"),
    ForeignOrigin: (403, "forbidden_origin"),
    WrongHost: (421, "wrong_host"),
    StorageError: (503, "storage_unavailable"),
    OSError: (503, "storage_unavailable"),
    Exception: (500, "unexpected_error"),
}

BY_GRPC_CODE: dict[grpc.StatusCode, tuple[int, str]] = {
    grpc.StatusCode.INVALID_ARGUMENT: (422, "invalid_request"),
    grpc.StatusCode.ALREADY_EXISTS: (422, "idempotency_key_reused"),
    grpc.StatusCode.NOT_FOUND: (404, "not_found"),
    grpc.StatusCode.FAILED_PRECONDITION: (409, "conflict"),
    # statussvc is unreachable, stopping or overloaded: the same request may succeed later.
    grpc.StatusCode.UNAVAILABLE: (503, "service_unavailable"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (503, "service_unavailable"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (503, "service_unavailable"),
    grpc.StatusCode.CANCELLED: (503, "service_unavailable"),
    # A search took too long. Neither gRPC nor any of our other rpcs uses this code.
    grpc.StatusCode.ABORTED: (503, "search_too_slow"),
    # These should not occur: they mean a bug, or services of incompatible versions.
    grpc.StatusCode.OK: (500, "unexpected_error"),
    grpc.StatusCode.UNKNOWN: (500, "unexpected_error"),
    grpc.StatusCode.INTERNAL: (500, "unexpected_error"),
    grpc.StatusCode.DATA_LOSS: (500, "unexpected_error"),
    grpc.StatusCode.UNIMPLEMENTED: (500, "unexpected_error"),
    grpc.StatusCode.OUT_OF_RANGE: (500, "unexpected_error"),
    grpc.StatusCode.PERMISSION_DENIED: (500, "unexpected_error"),
    grpc.StatusCode.UNAUTHENTICATED: (500, "unexpected_error"),
}
"""HTTP status and problem code for each of gRPC's status codes."""

BY_HTTP_STATUS: dict[int, str] = {404: "not_found", 405: "method_not_allowed", 503: "service_unavailable"}
"""Codes for errors that the web framework raises. Any other status below 500 is `invalid_request`."""

STATUS_OF_CODE: dict[str, int] = {
    "invalid_request": 422,
    "source_invalid_url": 422,
    "source_forbidden_address": 422,
    "idempotency_key_reused": 422,
    "not_found": 404,
    "not_ready": 404,
    "deleted": 410,
    "method_not_allowed": 405,
    "forbidden_origin": 403,
    "wrong_host": 421,
    "conflict": 409,
    "service_unavailable": 503,
    "search_too_slow": 503,
    "storage_unavailable": 503,
    "unexpected_error": 500,
}
"""HTTP status of each code that a response may have, for the documentation."""

_repeats = Repeats()
"""Limits how often the same error is logged: an outage is one fault, however many requests it affects."""

logger = logging.getLogger(__name__)


class StateConflict(Conflict):
    """Raised when a dataset's current state does not allow the requested change.

    Parameters
    ----------
    state: the dataset's current state.
    """

    def __init__(self, detail: str, state: problem_schemas.State) -> None:
        super().__init__(detail)
        self.state = state


class InvalidField(StageError):
    """Raised when a field of a request's body is refused with a specific code.

    Parameters
    ----------
    pointer: the JSON pointer of the field.
    """

    def __init__(self, error: StageError, pointer: str) -> None:
        super().__init__(error.code, error.message, retryable=error.retryable)
        self.pointer = pointer


def classify(error: Exception) -> tuple[int, str]:
    """Return the HTTP status and the code for an error. The code is a key of CODES."""
    if isinstance(error, grpc.RpcError):
        return BY_GRPC_CODE[error.code()]
    if isinstance(error, HTTPException):
        if error.status_code == 400:
            # FastAPI raises 400 for a body that is not text. A body that is not JSON gets a 422 from it.
            return BY_EXCEPTION[RequestValidationError]
        fallback = "invalid_request" if error.status_code < 500 else "unexpected_error"
        return error.status_code, BY_HTTP_STATUS.get(error.status_code, fallback)
    for kind in type(error).__mro__:
        if kind in BY_EXCEPTION:
            status, code = BY_EXCEPTION[kind]
            return status, error.code if isinstance(error, StageError) else code
    return BY_EXCEPTION[Exception]


def place_of(error: Exception) -> str:
    """Return an error's type and the line that raised it: the same for one cause, whatever the clients sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return f"{type(error).__name__} {where}"


def error_response(error: Exception, scope: Scope) -> Response:
    """Return the response for an error. Log it if it is a server error."""
    status, code = classify(error)
    if status >= 500 and (left_out := _repeats.left_out(place_of(error))) is not None:
        more = f" (and {left_out} more like it since it was last logged)" if left_out else ""
        trace = error if status == 500 else None
        logger.error("%s %s: %s%s", scope["method"], scope["path"], error, more, exc_info=trace)
    extensions: dict[str, Any] = {}
    if status == 422:
        extensions["errors"] = [problem_schemas.FieldProblem(**field) for field in _fields(error)]
    if isinstance(error, StateConflict):
        extensions["state"] = error.state
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status == 503 or (isinstance(error, NotReady) and error.will_be):
        headers["Retry-After"] = str(RETRY_AFTER)
    return problem_response(
        scope, status, code, _detail(error, code, extensions.get("errors", ())), headers, **extensions
    )


def problem_response(
    scope: Scope, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **extensions: Any
) -> Response:
    """Return the response for a problem: JSON, or a page if the client prefers HTML.

    Parameters
    ----------
    extensions: additional members of the problem.
    """
    problem = problem_schemas.Problem(
        type=documentation(code),
        title=CODES[code].meaning,
        status=status,
        detail=detail,
        instance=quote(scope["path"]),
        code=code,
        request_id=request_id.get(),
        success=False,
        **extensions,
    )
    headers = {"Cache-Control": "no-store", "Vary": "Accept", **(headers or {})}
    if error_page.wants_page(scope["path"], scope.get("headers", ())):
        page = error_page.problem_page(problem, scope["path"])
        return Response(page, status, {**headers, **error_page.HEADERS}, media_type=error_page.MEDIA_TYPE)
    return Response(problem.model_dump_json(exclude_unset=True), status, headers, media_type=MEDIA_TYPE)


async def handle_error(request: Request, error: Exception) -> Response:
    """Return the response for an error. FastAPI calls this handler for all errors."""
    response = error_response(error, request.scope)
    if response.status_code == 405:
        response.headers["Allow"] = ", ".join(_allowed_methods(request))
    return response


def _allowed_methods(request: Request) -> list[str]:
    # The framework's own Allow header has only the methods of the first route with this path.
    routes, scope = request.app.router.routes, request.scope
    methods = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ["GET", "HEAD", *methods[1:]] if methods[:1] == ["GET"] else methods


def documentation(code: str) -> str:
    """Return the link to a code's documentation."""
    return f"/docs/errors#{code}"


def examples(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an OpenAPI operation by HTTP status, with an example of each code."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, "wrong_host", "service_unavailable", "storage_unavailable", "unexpected_error"):
        status = STATUS_OF_CODE[code]
        response = by_status.setdefault(
            status,
            {
                "description": http.HTTPStatus(status).phrase,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        response["content"][MEDIA_TYPE]["examples"][code] = {"value": example(code)}
    return by_status


def example(code: str) -> dict[str, Any]:
    """Return an example of a problem."""
    status = STATUS_OF_CODE[code]
    problem: dict[str, Any] = {
        "type": documentation(code),
        "title": CODES[code].meaning,
        "status": status,
        "detail": f"{CODES[code].meaning} {CODES[code].advice}",
        "instance": "/api/datasets",
        "code": code,
        "request_id": "5f0c2ab19d3e-1a",
        "success": False,
    }
    if status == 422:
        problem["errors"] = [_EXAMPLE_FIELDS.get(code, {"pointer": "/url", "detail": CODES[code].advice})]
    if code == "conflict":
        problem["state"] = "READY"
    return problem


_EXAMPLE_FIELDS = {
    "invalid_request": {"pointer": "/name", "detail": "Field required."},
    "idempotency_key_reused": {"header": "Idempotency-Key", "detail": CODES["idempotency_key_reused"].advice},
}


MAX_FIELDS = 20
"""Maximum errors in one response, so that the response is not larger than the request. Nobody needs a longer list."""

_UNREADABLE = "The body is nested too deeply, or not valid JSON in UTF-8."

_PARAMETER_OF_FIELD = {"page_token": "cursor"}
"""Names of request parameters that statussvc checks under another name."""


def _detail(error: Exception, code: str, fields: Sequence[problem_schemas.FieldProblem]) -> str:
    meaning, advice = CODES[code].meaning, CODES[code].advice
    match error:
        case StageError():
            return error.message
        case StorageLost():
            return str(error)
        case RequestValidationError() | grpc.RpcError() if code == "invalid_request":
            return " ".join(f"{_place(field)}{field.detail}" for field in fields)
        case NotReady():
            return _sentence(str(error))
        case NotFound() | Conflict() if str(error):
            return f"{_sentence(str(error))} {advice}"
        case HTTPException(status_code=400):
            return _UNREADABLE
        case HTTPException() if code == "invalid_request":
            return _sentence(error.detail)
    return f"{meaning} {advice}"


def _fields(error: Exception) -> list[dict[str, str]]:
    match error:
        case RequestValidationError():
            return [_field(one) for one in error.errors()[:MAX_FIELDS]]
        case HTTPException():
            return [{"pointer": "", "detail": _UNREADABLE}]
        case InvalidField():
            return [{"pointer": error.pointer, "detail": error.message}]
        case grpc.RpcError() if error.code() is grpc.StatusCode.ALREADY_EXISTS:
            return [_EXAMPLE_FIELDS["idempotency_key_reused"]]
        case grpc.RpcError():
            field, _, reason = (error.details() or "").partition(": ")
            if field in _PARAMETER_OF_FIELD:
                return [{"parameter": _PARAMETER_OF_FIELD[field], "detail": _sentence(reason)}]
            return [{"detail": _sentence(error.details() or "")}]
    return []


def _field(error: Mapping[str, Any]) -> dict[str, str]:
    """Turn an error of pydantic into a FieldProblem's fields."""
    place, *path = error["loc"]
    # Pydantic's words for a ValueError of our own, which is a sentence already.
    detail = _sentence(error["msg"].removeprefix("Value error, "))
    if place == "body":
        if error["type"] == "json_invalid":
            return {"pointer": "", "detail": f"This is not JSON: {error['ctx']['error']} at character {path[0]}."}
        if not path:
            return {"pointer": "", "detail": "Send a JSON object, with Content-Type: application/json."}
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
        return {"pointer": pointer, "detail": detail}
    return {"header" if place == "header" else "parameter": str(path[0]), "detail": detail}


def _place(field: problem_schemas.FieldProblem) -> str:
    name = field.pointer.lstrip("/") if field.pointer else field.parameter or field.header
    return f"{name}: " if name else ""


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
