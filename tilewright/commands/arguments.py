"""What several commands take, and how they reach the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tilewright.client import Client

DEFAULT_SERVER = "http://127.0.0.1:8000"

FAILED = 1
"""Exit code where the job failed, or what was looked at is not in order."""

DatasetId = Annotated[str, typer.Argument(metavar="ID", help="The dataset's id, such as custom_a1b2c3d4.")]
Server = Annotated[
    str, typer.Option("--server", envvar="TILEWRIGHT_SERVER", metavar="URL", help="Where the server is.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one value a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress and no hints.")]


@contextmanager
def connect(server: str) -> Iterator[Client]:
    """A client of a server, for the length of a block."""
    from tilewright.client import Client  # noqa: PLC0415  brings `requests`, which takes long to import

    client = Client(server)
    try:
        yield client
    finally:
        client.close()
