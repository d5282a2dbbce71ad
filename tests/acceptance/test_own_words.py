"""A client's own words: given, found, changed, shown and given free."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import ready
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

OWN: dict[str, Any] = {
    "reference": "Karte/7 ä",
    "tags": ["alps", "Zürich"],
    "metadata": {"shelf": "K 12", "scale": "1:25000"},
    "rights": {"text": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"},
    "attribution": {"text": "A <b>library</b> & co", "url": "https://example.org/?a=1&b=2"},
}


def found(client: Client, **filters: Any) -> list[str]:
    return [dataset["dataset_id"] for dataset in client.datasets(**filters)]


def test_own_words_from_the_post_to_the_manifest(
    stack: LaunchedStack, client: Client, sources: SourceServer, command: Command
) -> None:
    # Given a dataset with all of them, and one with some
    first = client.submit(sources.url("/map.jpg"), "Sheet 7", **OWN)["dataset_id"]
    second = client.submit(sources.url("/glass.png"), "Sheet 8", tags=["alps"], metadata={"shelf": "K 13"})
    other = second["dataset_id"]
    try:
        dataset = client.get(first)
        assert {field: dataset[field] for field in OWN} == OWN
        # When the list is filtered, then it has what matches all of it, newest first
        assert found(client, reference=OWN["reference"]) == [first]
        assert found(client, reference="karte/7 ä") == []
        assert found(client, tag="alps") == [other, first]
        assert found(client, tag=["alps", "Zürich"]) == [first]
        assert found(client, **{"metadata.shelf": "K 12"}) == [first]
        assert found(client, tag="alps", **{"metadata.shelf": "K 13"}) == [other]
        assert found(client, tag="alps", category="none") == []
        assert found(client, tag="alps", q="sheet 8") == [other]
        page = client.page(tag="alps", limit=1)
        assert [each["dataset_id"] for each in page["datasets"]] == [other]
        assert [each["dataset_id"] for each in client.page(page["next_cursor"], tag="alps")["datasets"]] == [first]
        # A reference belongs to one dataset only
        taken = requests.post(
            f"{stack.url}/api/datasets",
            json={"name": "Again", "url": sources.url("/map.jpg"), "reference": OWN["reference"]},
            timeout=60,
        )
        assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
        assert first in taken.json()["detail"]
        # The manifest and the command line show them
        ready(client, first)
        manifest = requests.get(f"{stack.url}{dataset['urls']['manifest']}", timeout=60).json()
        assert manifest["rights"] == OWN["rights"]["url"]
        assert manifest["requiredStatement"]["value"] == {
            "none": ['<a href="https://example.org/?a=1&amp;b=2">A &lt;b&gt;library&lt;/b&gt; &amp; co</a>']
        }
        assert {"label": {"none": ["shelf"]}, "value": {"none": ["K 12"]}} in manifest["metadata"]
        listed = command("list", "--tag", "alps", "--metadata", "shelf=K 12", "--json", "--server", stack.url)
        assert [json.loads(line)["dataset_id"] for line in listed.out.splitlines()] == [first]
        # When they are changed, then only what was given has changed, and the list knows
        changed = requests.patch(
            f"{stack.url}/api/datasets/{first}",
            json={"tags": ["new"], "metadata": {"shelf": None, "room": "2"}, "rights": None, "reference": "r2"},
            timeout=60,
        ).json()
        assert (changed["tags"], changed["metadata"]) == (["new"], {"room": "2", "scale": "1:25000"})
        assert (changed["rights"], changed["attribution"]) == (None, OWN["attribution"])
        assert found(client, tag="alps") == [other]
        assert found(client, tag="new", **{"metadata.room": "2"}) == [first]
        assert (found(client, reference="r2"), found(client, reference=OWN["reference"])) == ([first], [])
        conflict = requests.patch(f"{stack.url}/api/datasets/{other}", json={"reference": "r2"}, timeout=60)
        assert conflict.status_code == 409
        # null clears all
        cleared = requests.patch(
            f"{stack.url}/api/datasets/{first}", json={"tags": None, "metadata": None, "attribution": None}, timeout=60
        ).json()
        assert (cleared["tags"], cleared["metadata"], cleared["attribution"]) == ([], {}, None)
    finally:
        client.delete(first)
    # A deleted dataset gives its reference free
    again = client.submit(sources.url("/map.jpg"), "Sheet 7 again", reference="r2", tags=["new"])["dataset_id"]
    assert found(client, tag="new") == [again]
    client.delete(again)
    client.delete(other)


def test_the_command_line_gives_them(
    stack: LaunchedStack, client: Client, sources: SourceServer, command: Command
) -> None:
    words = [
        "--tag",
        "a",
        "--tag",
        "b",
        "--metadata",
        "k=v=w",
        "--rights",
        "https://example.org/r",
        "--attribution",
        "Me",
    ]
    ended = command(
        "submit", sources.url("/map.jpg"), "-n", "x", *words, "--reference", "cli", "--quiet", "--server", stack.url
    )
    dataset = client.get(ended.out.strip())
    assert (dataset["reference"], dataset["tags"], dataset["metadata"]) == ("cli", ["a", "b"], {"k": "v=w"})
    assert dataset["rights"] == {"text": "", "url": "https://example.org/r"}
    assert dataset["attribution"] == {"text": "Me", "url": ""}
    client.delete(dataset["dataset_id"])
    assert command("list", "--metadata", "nothing", "--server", stack.url).code == 2


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"reference": "x" * 256}, "/reference"),
        ({"tags": ["a"] * 51}, "/tags"),
        ({"tags": [" "]}, "/tags/0"),
        ({"tags": "a"}, "/tags"),
        ({"metadata": {"k": "v" * 1001}}, "/metadata/k"),
        ({"metadata": {str(number): "" for number in range(51)}}, "/metadata"),
        ({"metadata": {"k": {"nested": 1}}}, "/metadata/k"),
        ({"rights": {"url": "javascript:alert(1)"}}, "/rights/url"),
        ({"rights": {"url": "https://\nexample.org"}}, "/rights/url"),
        ({"metadata": {str(number): 1 for number in range(20_000)}}, "/metadata"),
        ({"attribution": {"text": "a\0"}}, "/attribution/text"),
    ],
)
def test_what_is_no_such_word_is_refused_by_name(
    stack: LaunchedStack, sources: SourceServer, fields: dict[str, Any], pointer: str
) -> None:
    body = {"name": "x", "url": sources.url("/map.jpg"), **fields}
    answer = requests.post(f"{stack.url}/api/datasets", json=body, timeout=60)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
