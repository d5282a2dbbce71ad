"""What both gRPC services and the background tasks share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio

from pipeline.errors import Conflict, NotFound, StatusUnavailable
from statussvc.database import Database
from statussvc.leases import Leases
from statussvc.repository.catalogue import KeyReused
from statussvc.repository.stages import Policy
from statussvc.watch import Hub


@dataclass(frozen=True, slots=True)
class Core:
    """The rows, the runs at work, the watchers, and the policy."""

    database: Database
    leases: Leases
    hub: Hub
    policy: Policy

    @staticmethod
    def now() -> float:
        """Wall-clock seconds since the epoch, for rows."""
        return time.time()


CODES: dict[type[Exception], grpc.StatusCode] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    KeyReused: grpc.StatusCode.ALREADY_EXISTS,
    ValueError: grpc.StatusCode.INVALID_ARGUMENT,
    StatusUnavailable: grpc.StatusCode.UNAVAILABLE,
}
"""The one table of errors to gRPC codes; anything else is INTERNAL, and logged."""


class ErrorsToCodes(grpc.aio.ServerInterceptor):
    """Answers the errors of CODES with their code and sentence."""

    async def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        handler = await continuation(details)
        if handler is None or not details.method.startswith("/tilewright."):
            return handler
        if handler.unary_unary:
            inner = handler.unary_unary

            async def unary(request, context):  # type: ignore[no-untyped-def]
                try:
                    return await inner(request, context)
                except tuple(CODES) as error:
                    await _abort(context, error)

            return grpc.unary_unary_rpc_method_handler(unary, handler.request_deserializer, handler.response_serializer)
        inner_stream = handler.unary_stream

        async def stream(request, context):  # type: ignore[no-untyped-def]
            try:
                async for response in inner_stream(request, context):
                    yield response
            except tuple(CODES) as error:
                await _abort(context, error)

        return grpc.unary_stream_rpc_method_handler(stream, handler.request_deserializer, handler.response_serializer)


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    code = next(code for kind, code in CODES.items() if isinstance(error, kind))
    await context.abort(code, str(error))
    raise AssertionError("abort raises")
