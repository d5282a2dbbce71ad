"""IIIF collections: what a filter of the catalogue finds, from the POST to a viewer's list of manifests."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish, ready
from tests.support.images import pictures
from tests.support.network.sources import SourceServer
from tests.support.rigs import conformance
from tests.support.rigs.waiting import until
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

TAG = "Blätter/A 1&b=2"
"""A tag with what has a meaning in an address."""

PREZI = """
import json, sys
from iiif_prezi3 import Collection
given = json.load(sys.stdin)
made = json.loads(Collection.model_validate(given).json())
assert made == given, (made, given)
"""
"""Reads a collection by the schema of the Presentation API, and writes it again."""


def get(address: str, **headers: str) -> requests.Response:
    return requests.get(address, headers=headers, timeout=60)


def document(address: str) -> dict[str, Any]:
    answer = get(address)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found.get("id", found.get("@id")) == address
    return found


def check(collection: dict[str, Any]) -> None:
    text = json.dumps(collection)
    done = conformance.run("-c", PREZI, stdin=text)
    assert done.returncode == 0, done.stderr


def test_a_tag_is_a_collection_of_its_ready_datasets(
    stack: LaunchedStack, client: Client, sources: SourceServer, command: Command
) -> None:
    # Given two ready datasets with a tag, one of another, and one of the tag that failed
    first = client.submit(sources.url("/map.jpg"), "Sheet <1>", tags=[TAG], metadata={"shelf": "K 12"})["dataset_id"]
    second = client.submit(sources.url("/glass.png"), "Sheet 2", tags=[TAG], category="maps")["dataset_id"]
    other = client.submit(sources.url("/map.jpg"), "Sheet 3", tags=["another"])["dataset_id"]
    failed = client.submit(sources.url("/page.html"), "Sheet 4", tags=[TAG])["dataset_id"]
    for dataset_id in (first, second, other):
        ready(client, dataset_id)
    assert finish(client, failed)["status"] == "failed"
    address = f"{stack.url}/iiif/collections/tag/{quote(TAG, safe='')}"
    # When its collection is requested, then the two are there, newest first, as the schema wants it
    collection = document(address)
    check(collection)
    assert (collection["type"], collection["label"]) == ("Collection", {"en": [f"Tag: {TAG}"]})
    assert [item["id"] for item in collection["items"]] == [
        f"{stack.url}/iiif/{dataset_id}/manifest.json" for dataset_id in (second, first)
    ]
    # Each with the label of its manifest, which is there, and a thumbnail of the size that is stated
    for item in collection["items"]:
        manifest = document(item["id"])
        assert (manifest["type"], manifest["label"]) == (item["type"], item["label"])
        (thumbnail,) = item["thumbnail"]
        assert thumbnail == manifest["thumbnail"][0]
        picture = pictures.decode(get(thumbnail["id"]).content)
        assert picture.shape[:2] == (thumbnail["height"], thumbnail["width"])
    # The same is found by a query, with other filters too
    everywhere = f"{stack.url}/iiif/collections/all"
    assert document(f"{everywhere}?tag={quote(TAG, safe='')}")["items"] == collection["items"]
    assert [item["label"] for item in document(f"{address}?category=maps")["items"]] == [{"none": ["Sheet 2"]}]
    assert document(f"{everywhere}?metadata.shelf=K%2012")["items"] == collection["items"][1:]
    assert document(f"{everywhere}?q=nothing%20of%20this")["items"] == []
    ids = [item["id"] for item in document(everywhere)["items"]]
    assert [f"{stack.url}/iiif/{dataset_id}/manifest.json" for dataset_id in (other, second, first)] == [
        address for address in ids if any(dataset_id in address for dataset_id in (first, second, other, failed))
    ]
    # Page by page, each page leads to the older ones
    page = document(f"{address}?limit=1")
    check(page)
    newest, older = page["items"]
    assert (newest["label"], older["type"]) == ({"none": ["Sheet 2"]}, "Collection")
    last = document(older["id"])
    check(last)
    assert [item["label"] for item in last["items"]] == [{"none": ["Sheet <1>"]}]
    assert last["partOf"][0]["id"] == page["id"]
    # Version 2.1 stands beside it
    older_version = document(f"{stack.url}/iiif/2/collections/tag/{quote(TAG, safe='')}?limit=1")
    assert older_version["@type"] == "sc:Collection"
    (listed,) = older_version["manifests"]
    assert document(listed["@id"])["label"] == listed["label"] == "Sheet 2"
    (rest,) = older_version["collections"]
    assert [each["label"] for each in document(rest["@id"])["manifests"]] == ["Sheet <1>"]
    # The command line says where it is
    shown = command("list", "--tag", TAG, "--category", "maps", "--server", stack.url)
    (said,) = [line for line in shown.err.splitlines() if "/iiif/collections/" in line]
    assert len(document(said.split(": ", 1)[1])["items"]) == 1
    assert "/iiif/" not in command("list", "--tag", TAG, "--status", "failed", "--server", stack.url).err
    # What is renamed and what is deleted changes it
    requests.patch(f"{stack.url}/api/datasets/{second}", json={"name": "Sheet two"}, timeout=60)
    assert document(address)["items"][0]["label"] == {"none": ["Sheet two"]}
    client.delete(first)
    until(lambda: len(document(address)["items"]) == 1, "the deleted dataset to leave the collection")
    for dataset_id in (second, other, failed):
        client.delete(dataset_id)


def test_a_collection_is_read_from_any_page_and_confirmed_by_its_etag(stack: LaunchedStack) -> None:
    address = f"{stack.url}/iiif/collections/all"
    answer = get(address)
    # Also without an Origin: a shared cache may keep it for a page of another origin
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Content-Type"] == "application/json"
    assert get(address, Origin="https://viewer.example").headers["Access-Control-Allow-Origin"] == "*"
    assert requests.head(address, timeout=60).headers["ETag"] == answer.headers["ETag"]
    preflight = requests.options(
        address,
        headers={
            "Origin": "https://viewer.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization, x-requested-with",
        },
        timeout=60,
    )
    assert preflight.status_code == 200
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"].lower()
    unchanged = get(address, **{"If-None-Match": answer.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    linked = get(address, Accept='application/ld+json;profile="http://iiif.io/api/presentation/3/context.json"')
    assert linked.headers["Content-Type"].startswith("application/ld+json;profile=")
    assert "Accept" in linked.headers["Vary"]
    assert linked.headers["ETag"] != answer.headers["ETag"]


def test_a_public_url_begins_its_addresses_and_lets_caches_keep_them(start_stack: Any) -> None:
    stack = start_stack(TILEWRIGHT_PUBLIC_URL="https://pictures.example.org")
    answer = get(f"{stack.url}/iiif/collections/all?category=a&q=")
    assert answer.json()["id"] == "https://pictures.example.org/iiif/collections/all?category=a"
    assert answer.headers["Cache-Control"].startswith("public, max-age=60")
    assert get(f"{stack.url}/iiif/collections/all", Host="pictures.example.org").json()["items"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("all?limit=0", 422),
        ("all?cursor=x", 422),
        ("all?tag=" + "&tag=".join("abcdefghijk"), 422),
        ("tag/", 404),
        ("none", 404),
        ("all/", 404),
    ],
)
def test_what_is_no_collection_is_refused(stack: LaunchedStack, path: str, status: int) -> None:
    answer = get(f"{stack.url}/iiif/collections/{path}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
