"""Wait for the result of a dataset or an inspection, until the client disconnects or the gateway stops."""

from __future__ import annotations

import logging

import grpc

from gateway.http import Interrupt, interruptible
from gateway.rpc.calls import ask
from pipeline.errors import NotFound, StatusUnavailable
from pipeline.status import FINAL, RPC_TIMEOUT, AsyncStatusClient
from protos.tilewright.status.v1 import status_pb2 as pb

logger = logging.getLogger(__name__)


async def wait_until_final(client: AsyncStatusClient, dataset_id: str, seconds: float, *interrupts: Interrupt) -> bool:
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

    try:
        return bool(await interruptible(watch(), *interrupts, seconds=seconds))
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            raise NotFound(error.details() or "") from error
        logger.warning("%s: stopped waiting for the result: %s", dataset_id, error.details())
        return False
    finally:
        call.cancel()


async def wait_for_inspection(
    client: AsyncStatusClient, inspection_id: str, seconds: float, *interrupts: Interrupt
) -> pb.Inspection | None:
    """Return an inspection once it has ended; None if the time runs out or one of `interrupts` returns first.

    None also if statussvc became unreachable: the inspection is stored, and the client can poll it later.
    """
    request = pb.GetInspectionRequest(inspection_id=inspection_id, wait_seconds=seconds)
    asking = ask(client.status.GetInspection, request, seconds + RPC_TIMEOUT)
    try:
        response = await interruptible(asking, *interrupts)
    except StatusUnavailable:
        return None
    return response.inspection if response is not None and response.inspection.state in FINAL else None
