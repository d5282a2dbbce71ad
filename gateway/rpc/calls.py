"""Make rpcs to statussvc, each with a deadline. Failures are raised as errors of pipeline.errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import grpc

from pipeline.status import RPC_TIMEOUT, rpc_error

if TYPE_CHECKING:
    from grpc.aio import UnaryUnaryMultiCallable

Request = TypeVar("Request")
Response = TypeVar("Response")


async def ask(
    method: UnaryUnaryMultiCallable[Request, Response], request: Request, seconds: float = RPC_TIMEOUT
) -> Response:
    """Make one rpc.

    Raises
    ------
    StatusUnavailable, NotFound, Conflict: as pipeline.status.rpc_error maps the gRPC code.
    grpc.RpcError: for any other code, such as INVALID_ARGUMENT.
    """
    try:
        return await method(request, timeout=seconds)
    except grpc.RpcError as error:
        raise rpc_error(error) from error
