"""Every error has one HTTP status and one documented code."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from fastapi.exceptions import RequestValidationError
from grpc.aio import AioRpcError, Metadata
from starlette.exceptions import HTTPException

from gateway.http import problems
from gateway.http.problems import InvalidField, StateConflict
from pipeline.errors import (
    CODES,
    REQUEST_CODES,
    Conflict,
    NotFound,
    ObjectMissing,
    StageError,
    StatusUnavailable,
    StorageError,
)
from pipeline.status import REPEATABLE

SCOPE = {"type": "http", "method": "POST", "path": "/api/daten sätze"}


def rpc_error(code: grpc.StatusCode, details: str = "") -> AioRpcError:
    """An rpc's failure as grpc.aio raises it."""
    return AioRpcError(code, Metadata(), Metadata(), details)


def invalid(*loc: str | int, kind: str = "missing", msg: str = "Field required", **ctx: Any) -> RequestValidationError:
    """A request's refusal as FastAPI raises it."""
    return RequestValidationError([{"loc": loc, "msg": msg, "type": kind, "ctx": ctx}])


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StageError("source_invalid_url", "No."), 422, "source_invalid_url"),
        (InvalidField(StageError("source_forbidden_address", "No."), "/url"), 422, "source_forbidden_address"),
        (invalid("body", "name"), 422, "invalid_request"),
        (NotFound("no dataset"), 404, "not_found"),
        (Conflict("no"), 409, "conflict"),
        (StateConflict("no", "READY"), 409, "conflict"),
        (StatusUnavailable("away"), 503, "service_unavailable"),
        (StorageError("broken"), 503, "storage_unavailable"),
        (ObjectMissing("gone"), 503, "storage_unavailable"),
        (OSError(116, "Stale file handle"), 503, "storage_unavailable"),
        (ValueError("a bug"), 500, "unexpected_error"),
        (HTTPException(404), 404, "not_found"),
        (HTTPException(405), 405, "method_not_allowed"),
        (HTTPException(400, "odd"), 422, "invalid_request"),
        (HTTPException(413, "large"), 413, "invalid_request"),
        (HTTPException(503), 503, "service_unavailable"),
        (HTTPException(507), 507, "unexpected_error"),
        (rpc_error(grpc.StatusCode.INVALID_ARGUMENT), 422, "invalid_request"),
        (rpc_error(grpc.StatusCode.ALREADY_EXISTS), 422, "idempotency_key_reused"),
        (rpc_error(grpc.StatusCode.NOT_FOUND), 404, "not_found"),
        (rpc_error(grpc.StatusCode.FAILED_PRECONDITION), 409, "conflict"),
        (rpc_error(grpc.StatusCode.UNAVAILABLE), 503, "service_unavailable"),
        (rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED), 503, "service_unavailable"),
        (rpc_error(grpc.StatusCode.INTERNAL), 500, "unexpected_error"),
    ],
)
def test_an_error_is_answered_with_its_status_and_code(error: Exception, status: int, code: str) -> None:
    response = problems.error_response(error, SCOPE)
    problem = json.loads(bytes(response.body))
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"/docs/errors#{code}"
    assert problem["title"] == CODES[code].meaning
    assert problem["success"] is False
    assert problem["instance"] == "/api/daten%20s%C3%A4tze"
    assert problem["detail"]
    assert ("errors" in problem) == (status == 422)
    assert ("retry-after" in response.headers) == (status == 503)


def test_a_problem_tells_nothing_of_the_gateways_inside() -> None:
    problem = problems.error_response(ValueError("secret"), SCOPE)
    assert b"secret" not in bytes(problem.body)


@pytest.mark.parametrize(
    ("error", "detail", "errors"),
    [
        (
            invalid("body", "name"),
            "name: Field required.",
            [{"pointer": "/name", "detail": "Field required."}],
        ),
        (
            invalid("body", "a/b~c", 0),
            "a~1b~0c/0: Field required.",
            [{"pointer": "/a~1b~0c/0", "detail": "Field required."}],
        ),
        (
            invalid("query", "limit", msg="too many"),
            "limit: Too many.",
            [{"parameter": "limit", "detail": "Too many."}],
        ),
        (
            invalid("header", "Idempotency-Key", msg="too long"),
            "Idempotency-Key: Too long.",
            [{"header": "Idempotency-Key", "detail": "Too long."}],
        ),
        (
            invalid("body", 9, kind="json_invalid", error="Expecting value"),
            "This is not JSON: Expecting value at character 9.",
            [{"pointer": "", "detail": "This is not JSON: Expecting value at character 9."}],
        ),
        (
            invalid("body"),
            "Send a JSON object, with Content-Type: application/json.",
            [{"pointer": "", "detail": "Send a JSON object, with Content-Type: application/json."}],
        ),
        (
            InvalidField(StageError("source_invalid_url", "Names no host."), "/url"),
            "Names no host.",
            [{"pointer": "/url", "detail": "Names no host."}],
        ),
        (
            rpc_error(grpc.StatusCode.INVALID_ARGUMENT, "page_token: not one of ours"),
            "cursor: Not one of ours.",
            [{"parameter": "cursor", "detail": "Not one of ours."}],
        ),
        (
            rpc_error(grpc.StatusCode.INVALID_ARGUMENT, "the moon is full"),
            "The moon is full.",
            [{"detail": "The moon is full."}],
        ),
    ],
)
def test_a_refused_request_says_what_is_wrong_where(error: Exception, detail: str, errors: list[Any]) -> None:
    problem = json.loads(bytes(problems.error_response(error, SCOPE).body))
    assert (problem["detail"], problem["errors"]) == (detail, errors)


def test_a_conflict_names_the_present_state_and_what_to_do() -> None:
    problem = json.loads(bytes(problems.error_response(StateConflict("it is ready", "READY"), SCOPE).body))
    assert problem["state"] == "READY"
    assert problem["detail"] == "It is ready. Check its status first."


def test_every_code_of_a_request_has_a_status_and_an_example() -> None:
    assert set(REQUEST_CODES) <= set(problems.STATUS_OF_CODE) <= set(CODES)
    for code, status in problems.STATUS_OF_CODE.items():
        assert problems.example(code)["status"] == status


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_every_code_of_grpc_has_a_status_of_its_own(code: grpc.StatusCode) -> None:
    status, name = problems.classify(rpc_error(code))
    assert name in REQUEST_CODES
    assert (status == 503) == (code in {*REPEATABLE, grpc.StatusCode.ABORTED})
