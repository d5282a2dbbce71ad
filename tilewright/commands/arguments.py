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
