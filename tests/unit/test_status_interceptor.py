"""What a caller has begun and left is ended all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.rpc.interceptor import ErrorsToCodes


def test_a_call_whose_caller_has_left_goes_on_to_its_end() -> None:
    async def story() -> None:
        may_go_on, ended = asyncio.Event(), asyncio.Event()

        async def inner(request: Any, context: Any) -> str:
            await may_go_on.wait()
            ended.set()
            return "answer"

        async def continuation(details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(inner)

        class Details:
            method = "/tilewright.status.v1.PipelineService/BeginStage"

        interceptor: Any = ErrorsToCodes(lambda: True)
        handler = await interceptor.intercept_service(continuation, Details())
        # Given a call that is at work
        call = asyncio.create_task(handler.unary_unary(pb.BeginStageRequest(), None))
        await asyncio.sleep(0)
        # When its caller leaves, as gRPC tells by a cancel
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        # Then the call itself still comes to its end
        may_go_on.set()
        await asyncio.wait_for(ended.wait(), 5)

    asyncio.run(story())
