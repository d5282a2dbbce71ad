"""The standard health service, for the services that there are."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2

if TYPE_CHECKING:
    from grpc.aio import ServicerContext


class Health(health.aio.HealthServicer):  # type: ignore[misc]  # grpcio has no types for it
    """grpcio's service, which would keep the name of any service that somebody watches.

    Parameters
    ----------
    names: the services. A watch of another one is refused as NOT_FOUND, like a check of it.
    """

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self._names = frozenset(names)

    async def Watch(  # noqa: N802  # the name is the proto's
        self, request: health_pb2.HealthCheckRequest, context: ServicerContext[Any, Any]
    ) -> None:
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service.")
        await super().Watch(request, context)
