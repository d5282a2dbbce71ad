"""Steps that many stories share: submit, follow to a moment, follow to the end."""

from __future__ import annotations

from tilewright.client import Client, Json

LOOK = 0.05
"""Seconds between two looks: a phase of a small picture takes some tenths."""


def submit(client: Client, url: str, name: str = "A picture") -> str:
    """Submits and gives the new id."""
    return str(client.submit(url, name)["dataset_id"])


def as_png(client: Client, url: str, page: int = 0) -> str:
    """Submits a page for tiles without loss and gives the new id."""
    return str(client.submit(url, "A picture", format="png", page=page)["dataset_id"])


def until(client: Client, dataset_id: str, state: str, *, tiles: int = 0) -> Json:
    """Follows a dataset until it is in a state, with at least so many tiles done; gives that status."""
    for status in client.watch(dataset_id, pause=LOOK):
        if status.get("state") == state and status["tiles_done"] >= tiles:
            return status
    raise AssertionError(f"{dataset_id} ended without being seen in {state}")


def finish(client: Client, dataset_id: str) -> Json:
    """Follows a dataset to its end and gives its last status."""
    return list(client.watch(dataset_id, pause=LOOK))[-1]


def ready(client: Client, dataset_id: str) -> Json:
    """Follows a dataset until it is ready and gives its tile_info."""
    last = finish(client, dataset_id)
    assert last["status"] == "ready", last
    return dict(last["tile_info"])
