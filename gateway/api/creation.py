"""What the POSTs that create a dataset or an inspection share.

Both check a URL, and wait for the result if the client prefers that (`Prefer: wait=N`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.types import Receive

from gateway.api.context import Context
from gateway.api.routing import LaterResponse, json_response, request_header, response_header
from gateway.http import Interrupt, InvalidField, disconnected, preferred_wait
from pipeline.errors import StageError
from pipeline.sources import check_literal_host

PREFER = request_header("Prefer", "`wait=N`: wait up to N seconds for the result, at most 300 (RFC 7240).")

_APPLIED = response_header("Preference-Applied", "The wait that was granted.")


def created_responses(
    noun: str, finished: type[BaseModel], created: type[BaseModel], headers: Mapping[str, Any] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI of both successful responses.

    Parameters
    ----------
    headers: OpenAPI of further headers of both.
    """
    sent = response_header("Location", f"The {noun}.") | _APPLIED | dict(headers or {})
    return {
        201: {"model": finished, "description": "Finished within `Prefer: wait`.", "headers": sent},
        202: {"model": created, "description": "Accepted.", "headers": sent},
    }


def require_acceptable(context: Context, url: str) -> None:
    """Raise InvalidField if the URL may not be fetched, and StorageLost if the storage cannot take the result."""
    require_allowed(context, url)
    context.storage_watch.require()


def require_allowed(context: Context, url: str) -> None:
    """Raise InvalidField if the URL may not be fetched."""
    try:
        check_literal_host(url, context.allowed)
    except StageError as error:
        raise InvalidField(error, "/url") from error


def respond_when_preferred(
    context: Context,
    request: Request,
    created: BaseModel,
    headers: dict[str, str],
    wait: Callable[[float, Interrupt, Interrupt], Awaitable[BaseModel | None]],
) -> Response:
    """Respond 202 with `created`; or wait as the client prefers, and respond 201 with the result.

    The wait ends with a 202 if its time runs out, the client disconnects or the gateway stops. The request's body is
    freed before the wait begins, so `wait` must not refer to it.

    Parameters
    ----------
    headers: headers of the response, such as Location.
    wait: takes the seconds to wait and coroutines that end the wait when they return. Returns the result, or None.
    """
    seconds = preferred_wait(request.headers.getlist("prefer"), context.settings.max_wait)
    if seconds is None:
        return json_response(created, 202, headers)
    applied = {**headers, "Preference-Applied": f"wait={seconds:.0f}"}

    async def respond(receive: Receive) -> Response:
        result = await wait(seconds, context.stopping.wait(), disconnected(receive))
        return json_response(created, 202, applied) if result is None else json_response(result, 201, applied)

    return LaterResponse(respond)
