"""/healthz reports that the process answers. /readyz reports whether its dependencies work."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.context import Context
from gateway.http import examples, problem_response
from gateway.rpc import ask
from pipeline.errors import StatusUnavailable, StorageLost
from protos.tilewright.status.v1 import status_pb2 as pb

CHECK_TIMEOUT = 2.0
"""Seconds that a check may take: probes usually give up after a few."""

OK = "ok"


class Alive(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether requests can be served. `degraded`: they are accepted, but some part does not work."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"status": "ok", "checks": {"statussvc": "ok", "storage": "ok", "broker": "ok"}},
                {
                    "status": "degraded",
                    "checks": {
                        "statussvc": "ok",
                        "storage": "ok",
                        "broker": "RabbitMQ at rabbitmq:5672 cannot be reached.",
                    },
                },
            ]
        }
    )

    status: Literal["ok", "degraded"]
    checks: dict[str, str] = Field(description='For each part, "ok" or what is wrong with it.')
    sandbox: dict[str, str] | None = Field(
        None,
        description=(
            'For each layer of the sandbox around the decoders, "ok" or why the kernel does not enforce it. Only with '
            "`tilewright up`; separate workers report this in their logs."
        ),
    )
    iiif: dict[str, float] | None = Field(
        None,
        description=(
            "What the IIIF service has made on request since the gateway's start: counts of results, those that are "
            "being made or wait, `made_seconds` of work, and how often its cache had one."
        ),
    )
    warnings: list[str] | None = Field(
        None, description="What is probably configured wrongly, as requests have shown; left out if nothing is."
    )


router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Check liveness", responses={200: {"model": Alive}})
async def healthz() -> Response:
    """Returns 200 as long as the process answers. Checks nothing else."""
    return Response(Alive(status="ok").model_dump_json(), media_type="application/json")


@router.get(
    "/readyz",
    summary="Check readiness",
    responses={200: {"model": Readiness}, **examples()},
)
async def readyz(request: Request) -> Response:
    """200 with `degraded`: requests are accepted, but some part does not work. 503: requests are refused."""
    context: Context = request.app.state.context
    statussvc, storage = await asyncio.gather(_statussvc(context), context.storage_watch.check())
    checks = {
        "statussvc": statussvc,
        "storage": storage,
        "broker": context.relay.state(),
        **context.background.failures,
    }
    if (swept := context.janitor.state()) != OK:
        checks["janitor"] = swept
    refusal = statussvc if statussvc != OK else _refusal(context)
    if refusal:
        extensions: dict[str, Any] = {"checks": checks}
        code = "service_unavailable" if statussvc != OK else "storage_unavailable"
        return problem_response(request.scope, 503, code, refusal, {"Retry-After": "2"}, **extensions)
    status = "ok" if all(check == OK for check in checks.values()) else "degraded"
    readiness = Readiness.model_validate(
        {
            "status": status,
            "checks": checks,
            "sandbox": context.sandbox,
            "iiif": context.regions() or None,
            "warnings": list(context.warnings.values()) or None,
        }
    )
    return Response(
        readiness.model_dump_json(exclude_none=True),
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _refusal(context: Context) -> str:
    """Return why a POST would be refused because of the storage; empty if it would not."""
    try:
        context.storage_watch.require()
    except StorageLost as error:
        return str(error)
    return ""


async def _statussvc(context: Context) -> str:
    try:
        # Checks what a POST needs: the database file is still at its path, and has room for a row.
        await ask(context.status.status.CheckAccepting, pb.CheckAcceptingRequest(), CHECK_TIMEOUT)
    except StatusUnavailable as error:
        return f"statussvc cannot be reached, or cannot write: {error}"
    return OK
