"""List an error and its causes."""

from __future__ import annotations

from collections.abc import Iterator


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all its causes, each once.

    Libraries wrap errors in their own. urllib3 and requests keep the wrapped error as `reason` or as an argument.
    """
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        cause = pending.pop()
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [*cause.args, cause.__cause__, cause.__context__, getattr(cause, "reason", None)]
