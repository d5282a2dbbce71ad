"""Make rpcs to statussvc, each with a deadline. Failures are raised as errors of pipeline.errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from pipeline.errors import NotFound
from pipeline.status import FINAL, RPC_TIMEOUT, AsyncStatusClient, rpc_error
from protos.tilewright.status.v1 import status_pb2 as pb

if TYPE_CHECKING:
    from grpc.aio import UnaryUnaryMultiCallable

Request = TypeVar("Request")
Response = TypeVar("Response")

logger = logging.getLogger(__name__)


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


async def wait_until_final(
    client: AsyncStatusClient, dataset_id: str, seconds: float, *interrupts: Coroutine[Any, Any, object]
) -> bool:
    """Wait until a dataset reaches a final state, the time runs out, or one of `interrupts` returns.

    Returns
    -------
    Whether the dataset reached a final state. False also if statussvc became unreachable: the dataset is stored, and
    the client can poll it later.

    Raises
    ------
    NotFound: the dataset was deleted in the meantime.
    """
    call = client.status.WatchDataset(pb.WatchDatasetRequest(dataset_id=dataset_id))

    async def watch() -> bool:
        async for response in call:
            if response.status.state in FINAL:
                return True
        return False

    watching = asyncio.ensure_future(watch())
    tasks = {watching, *(asyncio.ensure_future(interrupt) for interrupt in interrupts)}
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not watching.done():
            return False
        return watching.result()
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            raise NotFound(error.details() or "") from error
        logger.warning("%s: stopped waiting for the result: %s", dataset_id, error.details())
        return False
    finally:
        call.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
