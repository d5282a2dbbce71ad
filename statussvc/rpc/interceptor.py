"""What every call goes through: checks of the request, limits, and errors as gRPC codes."""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from pipeline.errors import Conflict, NotFound, SearchTooSlow, StatusUnavailable, TooBusy
from pipeline.logs import Repeats
from statussvc.db import LOST, KeyReused
from statussvc.rpc.malformed import Malformed
from statussvc.rpc.storable import drop_nul, refuse_long_lists, refuse_nul

T = TypeVar("T")

logger = logging.getLogger(__name__)

CODES: dict[type[Exception], grpc.StatusCode] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    KeyReused: grpc.StatusCode.ALREADY_EXISTS,
    Malformed: grpc.StatusCode.INVALID_ARGUMENT,
    TooBusy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StatusUnavailable: grpc.StatusCode.UNAVAILABLE,
    SearchTooSlow: grpc.StatusCode.ABORTED,
}
"""The gRPC code of each error. Any other error is a bug in this service: it is logged, and answered as INTERNAL."""

_repeats = Repeats()
"""Keeps a bug from being logged for every call that meets it."""

PIPELINE = "/tilewright.status.v1.PipelineService/"
"""How the names of PipelineService's methods begin."""

USERS_AT_ONCE = 256
"""Calls of StatusService at once. More would only queue for the reading threads, and delay beats. A gateway makes 32 at
most, and one for each dataset that is polled."""

WATCHES_AT_ONCE = 1000
"""Streams at once. A request that waits for its dataset (`Prefer: wait`) holds one of them."""

OTHERS_AT_ONCE = 100
"""Streams of other services (health, reflection) at once. A load balancer or a tool opens one."""

LONGEST_MESSAGE = 1000
"""Characters of an error's message: it is sent in a header, and may quote what a caller sent."""

MAY_WAIT = "/GetInspection"
"""The method of StatusService that may take minutes, and costs nothing while it waits."""

ENDS_WITH_ITS_CALLER = "/ListDatasets"
"""The method that may be expensive and changes nothing: it ends when its caller is gone."""


class _AtOnce:
    """Counts what is under way."""

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def one_more(self, most: int, refusal: str) -> Iterator[None]:
        """Count one more within this context. Raises TooBusy with the refusal where `most` are under way."""
        if self._count >= most:
            raise TooBusy(refusal)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


class ErrorsToCodes(grpc.aio.ServerInterceptor):
    """Checks requests, answers errors with the codes of CODES, and finishes calls whose caller is gone.

    Texts reach a method only if both databases can store them.

    A caller that is killed or out of time cancels its call. A write is committed all the same, so the call runs to its
    end and tells the leases and the watchers. A search is ended.

    Parameters
    ----------
    is_held: whether this service has the database. While it has not, every call is refused.
    """

    def __init__(self, is_held: Callable[[], bool]) -> None:
        self._is_held = is_held
        self._calls: set[asyncio.Task[Any]] = set()
        self._users = _AtOnce()
        self._watches = _AtOnce()
        self._others = _AtOnce()

    async def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        handler = await continuation(details)
        if handler is None:
            return None
        if not details.method.startswith("/tilewright."):
            return self._counting_streams(handler, details.method) if handler.response_streaming else handler
        clean = drop_nul if details.method.startswith(PIPELINE) else refuse_nul

        def take(request: Any) -> None:
            if request is None:
                raise Malformed("the request is not a valid message")
            refuse_long_lists(request)
            clean(request)

        deserializer = _or_none(handler.request_deserializer)
        ends_with_its_caller = details.method.endswith(ENDS_WITH_ITS_CALLER)
        if handler.unary_unary:
            inner = handler.unary_unary

            async def unary(request, context):  # type: ignore[no-untyped-def]
                try:
                    self._require_claim()
                    take(request)
                    with self._counted(details.method):
                        call = inner(request, context)
                        return await (call if ends_with_its_caller else self._to_the_end(call))
                except Exception as error:  # noqa: BLE001  # _abort answers it, and logs it where it is a bug
                    await _abort(context, error, details.method)

            return grpc.unary_unary_rpc_method_handler(unary, deserializer, handler.response_serializer)
        inner_stream = handler.unary_stream

        async def stream(request, context):  # type: ignore[no-untyped-def]
            try:
                self._require_claim()
                take(request)
                with self._watching():
                    async for response in inner_stream(request, context):
                        self._require_claim()
                        yield response
            except Exception as error:  # noqa: BLE001  # the same
                await _abort(context, error, details.method)

        return grpc.unary_stream_rpc_method_handler(stream, deserializer, handler.response_serializer)

    def _counting_streams(self, handler: Any, method: str) -> Any:
        """Return a handler of another service's streams that counts them."""
        inner = handler.stream_stream or handler.unary_stream

        async def written(request, context):  # type: ignore[no-untyped-def]
            try:
                with self._counting_other():
                    await inner(request, context)
            except TooBusy as error:
                await _abort(context, error, method)

        async def yielded(request, context):  # type: ignore[no-untyped-def]
            try:
                with self._counting_other():
                    async for response in inner(request, context):
                        yield response
            except TooBusy as error:
                await _abort(context, error, method)

        make = grpc.stream_stream_rpc_method_handler if handler.stream_stream else grpc.unary_stream_rpc_method_handler
        counting = yielded if inspect.isasyncgenfunction(inner) else written
        return make(counting, handler.request_deserializer, handler.response_serializer)

    def _require_claim(self) -> None:
        if not self._is_held():
            raise StatusUnavailable(LOST)

    def _counted(self, method: str) -> AbstractContextManager[None]:
        """Count a user's call. The pipeline's are never refused."""
        if method.startswith(PIPELINE) or method.endswith(MAY_WAIT):
            return nullcontext()
        return self._users.one_more(USERS_AT_ONCE, "Too many calls at once. Try again later.")

    def _watching(self) -> AbstractContextManager[None]:
        """Count a watch: each has to be told every change."""
        return self._watches.one_more(WATCHES_AT_ONCE, "Too many watches are open. Poll instead, or try again later.")

    def _counting_other(self) -> AbstractContextManager[None]:
        return self._others.one_more(OTHERS_AT_ONCE, "Too many streams are open. Close some, or try again later.")

    async def _to_the_end(self, call: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the caller may be gone


def _or_none(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Deserialize an invalid message as None: gRPC would answer UNKNOWN, and log a traceback each time."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return None

    return read


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception, method: str) -> NoReturn:
    for kind, code in CODES.items():
        if isinstance(error, kind):
            await context.abort(code, str(error)[:LONGEST_MESSAGE])
    if (left_out := _repeats.left_out(f"{method} {type(error).__name__} {_place(error)}")) is not None:
        more = f" (and {left_out} more like it since it was last logged)" if left_out else ""
        logger.error("%s failed%s", method, more, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "Something went wrong inside statussvc. Its log has the details.")
    raise AssertionError("abort raises")


def _place(error: Exception) -> str:
    """Where an error was raised. Unlike its message, which may contain an id, this is the same each time."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
