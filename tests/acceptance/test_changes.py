"""The stream of changes: what a harvester learns of datasets, from the POST to the deletion."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import requests

from tests.acceptance.jobs import finish, ready
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

CONTEXT = "http://iiif.io/api/discovery/1/context.json"


def document(address: str) -> dict[str, Any]:
    answer = requests.get(address, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert (found["@context"], found["id"]) == (CONTEXT, address)
    return found


def pages(stack: LaunchedStack) -> Iterator[dict[str, Any]]:
    """All pages, newest first, each checked against its neighbours."""
    collection = document(f"{stack.url}/iiif/activity/all-changes")
    assert collection["type"] == "OrderedCollection"
    page = document(collection["last"]["id"])
    assert "next" not in page
    while True:
        assert page["type"] == collection["last"]["type"] == "OrderedCollectionPage"
        assert page["partOf"] == {"id": collection["id"], "type": "OrderedCollection"}
        yield page
        if "prev" not in page:
            break
        older = document(page["prev"]["id"])
        assert older["next"]["id"] == page["id"]
        page = older
    assert page["id"] == collection["first"]["id"]


def activities(stack: LaunchedStack, *dataset_ids: str) -> list[dict[str, Any]]:
    """What is told of some datasets, oldest first. The whole stream is in order."""
    newest_first = [activity for page in pages(stack) for activity in reversed(page["orderedItems"])]
    ends = [activity["endTime"] for activity in newest_first]
    assert ends == sorted(ends, reverse=True)
    of_these = [f"{stack.url}/iiif/{dataset_id}/manifest.json" for dataset_id in dataset_ids]
    return [activity for activity in reversed(newest_first) if activity["object"]["id"] in of_these]


def test_a_harvester_reads_what_came_what_changed_and_what_went(
    stack: LaunchedStack, client: Client, sources: SourceServer
) -> None:
    # Given a dataset that is tiled, one of the same image, and one that fails
    tiled = str(client.submit(sources.url("/map.jpg"), "Sheet 1")["dataset_id"])
    ready(client, tiled)
    same = str(client.submit(sources.url("/map.jpg"), "Sheet 2")["dataset_id"])
    failed = str(client.submit(sources.url("/page.html"), "Sheet 3")["dataset_id"])
    ready(client, same)
    assert finish(client, failed)["status"] == "failed"
    # When a harvester reads the stream, then two were created, and their manifests are there
    created = activities(stack, tiled, same, failed)
    assert [activity["type"] for activity in created] == ["Create", "Create"]
    for activity, dataset_id, name in zip(created, (tiled, same), ("Sheet 1", "Sheet 2"), strict=True):
        manifest = requests.get(activity["object"]["id"], timeout=60).json()
        assert (activity["object"]["type"], manifest["label"]) == ("Manifest", {"none": [name]})
        (about,) = activity["object"]["seeAlso"]
        assert requests.get(about["id"], timeout=60).json()["dataset_id"] == dataset_id
        assert activity["startTime"] == client.get(dataset_id)["created_at"]
        assert datetime.fromisoformat(activity["startTime"]) < datetime.fromisoformat(activity["endTime"])
    # A page of another origin may read it, and a harvester is told that nothing has changed
    last = requests.get(f"{stack.url}/iiif/activity/all-changes", timeout=60).json()["last"]["id"]
    answer = requests.get(last, headers={"Accept": "application/ld+json"}, timeout=60)
    assert answer.headers["Content-Type"] == f'application/ld+json;profile="{CONTEXT}"'
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    unchanged = {"Accept": "application/ld+json", "If-None-Match": answer.headers["ETag"]}
    assert requests.get(last, headers=unchanged, timeout=60).status_code == 304
    # When one is renamed and the other deleted, then that follows, and what was told stays
    address = f"{stack.url}/api/datasets/{same}"
    assert requests.patch(address, json={"name": "Sheet two"}, timeout=60).status_code == 200
    client.delete(tiled)
    client.delete(failed)
    told = activities(stack, tiled, same, failed)
    assert told[:2] == created
    assert [(activity["type"], activity["object"]["id"].split("/")[-2]) for activity in told[2:]] == [
        ("Update", same),
        ("Delete", tiled),
    ]
    assert "seeAlso" not in told[3]["object"]
    assert requests.get(told[3]["object"]["id"], timeout=60).status_code == 410
    client.delete(same)


def test_a_page_that_there_is_not_is_a_problem(stack: LaunchedStack) -> None:
    for path, status in (
        ("page-999999", 404),
        ("page-9007199254740991", 404),
        ("page-9007199254740992", 422),
        ("page--1", 422),
        ("page-", 404),
        ("page-0x1", 422),
        ("all", 404),
    ):
        answer = requests.get(f"{stack.url}/iiif/activity/{path}", timeout=60)
        assert (path, answer.status_code) == (path, status)
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert requests.post(f"{stack.url}/iiif/activity/all-changes", timeout=60).status_code == 405
