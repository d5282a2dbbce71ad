"""Rpcs to statussvc as the gateway makes them: with a deadline, and with failures as errors of our own tree."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from pipeline.errors import NotFound
from pipeline.status import FINAL, RPC_TIMEOUT, AsyncStatusClient, explain
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
    StatusUnavailable, NotFound, Conflict: as pipeline.status.explain says.
    grpc.RpcError: for what has no error of our own, such as INVALID_ARGUMENT.
    """
    try:
        return await method(request, timeout=seconds)
    except grpc.RpcError as error:
        raise explain(error) from error


async def wait_until_final(
    client: AsyncStatusClient, dataset_id: str, seconds: float, *interrupts: Coroutine[Any, Any, object]
) -> bool:
    """Watch a dataset until it comes to an end, the time is over, or one of `interrupts` returns.

    Returns
    -------
    Whether it came to an end. False also where statussvc went away meanwhile: the dataset is safe with it.

    Raises
    ------
    NotFound: the dataset was deleted meanwhile.
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
        logger.warning("%s: waited for no longer: %s", dataset_id, error.details())
        return False
    finally:
        call.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
