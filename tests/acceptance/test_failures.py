"""What cannot be tiled ends `failed`, with a stable code, a sentence, and whether a retry can help."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from pipeline.errors import DATASET_CODES
from tests.acceptance.conftest import StartStack
from tests.acceptance.jobs import LOOK, finish, submit
from tests.support.images import hostile
from tests.support.network import answers
from tests.support.network.answers import redirect
from tests.support.network.sources import SourceServer
from tests.support.rigs.servers import free_port
from tilewright.client import Client
from tilewright.embedded import LaunchedStack


def failure(client: Client, url: str) -> dict[str, object]:
    """Submits what fails; gives the error, after checking that the contract's form holds."""
    dataset_id = submit(client, url)
    last = finish(client, dataset_id)
    assert last["status"] == "failed"
    error: dict[str, object] = last["error"]
    assert set(error) == {"code", "message", "retryable"}
    assert str(error["message"]).endswith((".", ")", "/"))
    assert error["code"] in DATASET_CODES
    dataset = client.get(dataset_id)
    assert (dataset["status"], dataset["error"]) == ("failed", error)
    assert dataset["tile_urls"] == {"dzi": None, "xyz": None, "thumbnail": None}
    return error


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing.jpg", "source_not_found"),
        ("page.html", "not_an_image"),
        ("truncated.jpg", "image_truncated"),
        ("unknown.img", "unsupported_format"),
    ],
)
def test_each_failure_has_its_own_code(client: Client, sources: SourceServer, name: str, code: str) -> None:
    error = failure(client, sources.url(f"/{name}"))
    assert (error["code"], error["retryable"]) == (code, False)


def test_a_jpeg_whose_passes_are_hidden_fails_at_once(client: Client, sources: SourceServer) -> None:
    error = failure(client, sources.on("/hidden.jpg", answers.whole(hostile.hidden_passes(800, 800))))
    assert (error["code"], error["retryable"]) == ("decoder_too_slow", False)


def test_a_refused_connection_is_tried_again_and_then_fails_by_its_own_code(start_stack: StartStack) -> None:
    # Given a stack whose automatic retries follow each other quickly, and an address at which nobody listens
    client = Client(start_stack(TILEWRIGHT_RETRY_BASE_SECONDS="0.05", TILEWRIGHT_RETRY_LIMIT="2").url)

    # When it is submitted, then it fails for what was the matter each time
    dataset_id = submit(client, f"http://127.0.0.1:{free_port()}/a.jpg")
    seen = list(client.watch(dataset_id, pause=LOOK))
    assert seen[-1]["error"]["code"] == "source_unreachable"
    assert seen[-1]["error"]["retryable"] is True
    assert max(status["attempt"] for status in seen[:-1]) == 3
    client.close()


def test_a_source_whose_first_answer_breaks_off_at_once_is_fetched_again(
    start_stack: StartStack, sources: SourceServer, picture_folder: Path
) -> None:
    # Given sources without a declared length, of which nothing or one kilobyte arrives at the first request
    whole = (picture_folder / "map.jpg").read_bytes()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    starts = {"/nothing.jpg": b"", "/kilobyte.jpg": b"%x\r\n%b" % (len(whole), whole[:1000])}
    client = Client(start_stack(TILEWRIGHT_RETRY_BASE_SECONDS="0.05").url)
    for path, start in starts.items():
        url = sources.on(path, answers.sequence(answers.raw(head + start), answers.chunked(whole)))
        # When each is submitted, then it becomes ready, and nobody had to retry it
        assert finish(client, submit(client, url))["status"] == "ready"
        assert sources.requests[path] == 2
    client.close()


def test_a_private_address_is_refused_at_once(stack: LaunchedStack) -> None:
    answer = requests.post(f"{stack.url}/api/datasets", json={"name": "A", "url": "http://10.0.0.1/a.jpg"}, timeout=60)
    assert answer.status_code == 422
    assert answer.json()["code"] == "source_forbidden_address"
    assert "TILEWRIGHT_ALLOW_SOURCES" in answer.json()["detail"]


def test_a_redirect_to_a_private_address_is_refused_as_well(client: Client, sources: SourceServer) -> None:
    # Given a source that is allowed and leads to one that is not, which would answer
    url = sources.on("/elsewhere.jpg", redirect(sources.url("/map.jpg", host="127.0.0.2")))

    # When it is fetched, then the second address is refused
    error = failure(client, url)
    assert (error["code"], error["retryable"]) == ("source_forbidden_address", False)


def test_a_failed_dataset_may_be_retried_when_its_source_is_mended(client: Client, sources: SourceServer) -> None:
    # Given a dataset whose source was missing
    path = "/late.jpg"
    dataset_id = submit(client, sources.url(path))
    assert finish(client, dataset_id)["error"]["code"] == "source_not_found"

    # When the source is there and it is retried
    sources.on(path, redirect("/map.jpg"))
    client.retry(dataset_id)

    # Then it becomes ready
    assert finish(client, dataset_id)["status"] == "ready"
