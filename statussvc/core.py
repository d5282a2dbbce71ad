"""What both gRPC services and the background tasks share."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from pipeline.errors import Conflict, NotFound, SearchTooSlow, StatusUnavailable, TooBusy
from pipeline.logs import Repeats
from statussvc.db.claim import LOST
from statussvc.db.database import Database
from statussvc.db.repository.catalogue import KeyReused
from statussvc.leases import Leases
from statussvc.malformed import Malformed
from statussvc.policy import Policy
from statussvc.storable import drop_nul, refuse_long_lists, refuse_nul
from statussvc.watch import Hub

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Core:
    """The rows, the runs at work, the watchers, and the policy.

    Parameters
    ----------
    now: wall-clock seconds since the epoch, for rows.
    require_room: raises StatusUnavailable where nothing new can be accepted; from the database's thread.
    """

    database: Database
    leases: Leases
    hub: Hub
    policy: Policy
    now: Callable[[], float] = time.time
    require_room: Callable[[], None] = lambda: None


CODES: dict[type[Exception], grpc.StatusCode] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    KeyReused: grpc.StatusCode.ALREADY_EXISTS,
    Malformed: grpc.StatusCode.INVALID_ARGUMENT,
    TooBusy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StatusUnavailable: grpc.StatusCode.UNAVAILABLE,
    SearchTooSlow: grpc.StatusCode.ABORTED,
}
"""The one table of errors to gRPC codes; anything else is INTERNAL, and logged: a fault of this service."""

_repeats = Repeats()
"""A fault is one, however many calls meet it."""


PIPELINE = "/tilewright.status.v1.PipelineService/"
"""What the methods of workers, relay and janitor begin with."""


USERS_AT_ONCE = 256
"""Calls of StatusService that may be under way: more would only wait for the threads that read, and beats behind them.
A gateway makes 32 at most, and one of each dataset that is polled."""

WATCHES_AT_ONCE = 1000
"""Streams that may be open, a request that waits for its dataset (`Prefer: wait`) among them."""

MOST_SAID = 1000
"""Characters of an error's sentence: it goes into a header, and may quote what a caller has sent."""

WAITS_BY_ITSELF = "/GetInspection"
"""The method of StatusService that may take minutes, and costs nothing meanwhile."""


ENDS_WITH_ITS_CALLER = "/ListDatasets"
"""The method that may cost much, and changes nothing: it is not gone on with for nobody."""


class ErrorsToCodes(grpc.aio.ServerInterceptor):
    """Answers errors with their code of CODES and their sentence, and ends what a caller has begun and left.

    Before a request reaches its method, its texts are such as both databases hold.

    A caller who leaves (killed, or out of time) cancels its call. What is being written is committed all the
    same, so that the call goes on to tell it to the runs' leases and to the watchers. A search ends.

    Parameters
    ----------
    is_held: whether this service has the database; while it has not, every call is refused.
    """

    def __init__(self, is_held: Callable[[], bool]) -> None:
        self._is_held = is_held
        self._calls: set[asyncio.Task[Any]] = set()
        self._users = 0
        self._watches = 0

    async def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        handler = await continuation(details)
        if handler is None or not details.method.startswith("/tilewright."):
            return handler
        clean = drop_nul if details.method.startswith(PIPELINE) else refuse_nul

        def take(request: Any) -> None:
            if request is None:
                raise Malformed("the message cannot be read")
            refuse_long_lists(request)
            clean(request)

        readable = _or_none(handler.request_deserializer)
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
                except Exception as error:  # noqa: BLE001  # each is answered and, where it is none of CODES, logged
                    await _abort(context, error, details.method)

            return grpc.unary_unary_rpc_method_handler(unary, readable, handler.response_serializer)
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

        return grpc.unary_stream_rpc_method_handler(stream, readable, handler.response_serializer)

    def _require_claim(self) -> None:
        if not self._is_held():
            raise StatusUnavailable(LOST)

    @contextmanager
    def _counted(self, method: str) -> Iterator[None]:
        """Refuse a user's call where too many are under way. Never one of the pipeline, beats above all."""
        if method.startswith(PIPELINE) or method.endswith(WAITS_BY_ITSELF):
            yield
            return
        if self._users >= USERS_AT_ONCE:
            raise TooBusy("More calls come in than can be answered; try again in a while.")
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Refuse a watch where too many are open: each is told of every change."""
        if self._watches >= WATCHES_AT_ONCE:
            raise TooBusy("More watches are open than can be told of changes; poll instead, or try again in a while.")
        self._watches += 1
        try:
            yield
        finally:
            self._watches -= 1

    async def _to_the_end(self, call: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: whoever would have been told may have left


def _or_none(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Have a message that cannot be read be None: gRPC would answer UNKNOWN, and log a traceback each time."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return None

    return read


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception, method: str) -> NoReturn:
    for kind, code in CODES.items():
        if isinstance(error, kind):
            await context.abort(code, str(error)[:MOST_SAID])
    if (left_out := _repeats.left_out(f"{method} {type(error).__name__} {_place(error)}")) is not None:
        more = f" (and {left_out} more like it since it was last logged)" if left_out else ""
        logger.error("%s failed%s", method, more, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "Something went wrong inside statussvc. Its log has the details.")
    raise AssertionError("abort raises")


def _place(error: Exception) -> str:
    """Where an error was raised. Its text may have an id in it, and differ each time."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
