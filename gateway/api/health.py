"""/healthz: the process answers. /readyz: what it needs is there."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.context import Context
from gateway.http.problems import examples, respond
from gateway.rpc.calls import ask
from pipeline.errors import StatusUnavailable, StorageLost
from protos.tilewright.status.v1 import status_pb2 as pb

CHECK_TIMEOUT = 2.0
"""Seconds a check may take: probes commonly give up after a few."""

OK = "ok"


class Alive(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether requests can be served; `degraded` when they are accepted but will be worked on later."""

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
    checks: dict[str, str] = Field(description='By part: "ok", or what is wrong with it.')
    sandbox: dict[str, str] | None = Field(
        None,
        description=(
            "Of the processes that decode what strangers send, where this one starts them (`tilewright up`): by layer, "
            '"ok", or why the kernel does not hold it. Absent on a farm: there each worker says it in its log.'
        ),
    )


router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Liveness", responses={200: {"model": Alive}})
async def healthz() -> Response:
    """Asks nothing else."""
    return Response(Alive(status="ok").model_dump_json(), media_type="application/json")


@router.get(
    "/readyz",
    summary="Readiness",
    responses={200: {"model": Readiness}, **examples()},
)
async def readyz(request: Request) -> Response:
    """`degraded`: requests are accepted, and worked on later. 503: requests cannot be accepted."""
    context: Context = request.app.state.context
    statussvc, storage = await asyncio.gather(_statussvc(context), context.storage_watch.look())
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
        return respond(request.scope, 503, code, refusal, {"Retry-After": "2"}, **extensions)
    status = "ok" if all(check == OK for check in checks.values()) else "degraded"
    readiness = Readiness.model_validate({"status": status, "checks": checks, "sandbox": context.sandbox})
    return Response(
        readiness.model_dump_json(exclude_none=True),
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _refusal(context: Context) -> str:
    """Why a POST would be refused for the storage's sake; empty where it would not."""
    try:
        context.storage_watch.require()
    except StorageLost as error:
        return str(error)
    return ""


async def _statussvc(context: Context) -> str:
    try:
        # What a POST asks of it: a row is written where there is room for one, and it is under its path.
        await ask(context.status.status.CheckAccepting, pb.CheckAcceptingRequest(), CHECK_TIMEOUT)
    except StatusUnavailable as error:
        return f"statussvc cannot be reached, or cannot write: {error}"
    return OK
