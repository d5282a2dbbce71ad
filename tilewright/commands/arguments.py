"""Arguments and options that several commands share, and the connection to the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tilewright.client import Client

DEFAULT_SERVER = "http://127.0.0.1:8000"

FAILED = 1
"""Exit code if the job failed, or a check found something wrong."""

DatasetId = Annotated[str, typer.Argument(metavar="ID", help="The dataset's id, such as custom_a1b2c3d4.")]
Server = Annotated[
    str, typer.Option("--server", envvar="TILEWRIGHT_SERVER", metavar="URL", help="Address of the server.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one value per line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress and no hints.")]


@contextmanager
def connect(server: str) -> Iterator[Client]:
    """Yield a client of a server, and close it after the block."""
    from tilewright.client import Client  # noqa: PLC0415  imports `requests`, which takes long

    client = Client(server)
    try:
        yield client
    finally:
        client.close()


def key_values(given: list[str] | None, option: str) -> dict[str, str] | None:
    """Return what a repeated option KEY=VALUE says; None if it is not given. Raises typer.BadParameter."""
    pairs = {}
    for text in given or ():
        key, mark, value = text.partition("=")
        if not (mark and key):
            raise typer.BadParameter(f"{text!r} is not of the form KEY=VALUE", param_hint=option)
        pairs[key] = value
    return pairs or None


def as_statement(text: str | None) -> dict[str, str] | None:
    """Return a statement of rights or attribution: a URL if the text is one, else a text."""
    if text is None:
        return None
    return {"url": text} if text.startswith(("http://", "https://")) else {"text": text}
