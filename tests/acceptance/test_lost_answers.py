"""A POST whose answer is lost on its way: whoever asks again gets the dataset that is there."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.conftest import Command
from tests.support.network.losing_proxy import Loss, losing_proxy
from tests.support.network.sources import SourceServer
from tilewright import client as client_module
from tilewright.client import Client, Unreachable
from tilewright.embedded import LaunchedStack


def named(client: Client, name: str) -> list[str]:
    """The ids of all datasets of this name."""
    return [dataset["dataset_id"] for dataset in client.datasets() if dataset["name"] == name]


@pytest.mark.parametrize("loss", Loss)
def test_a_lost_answer_makes_no_second_dataset(
    stack: LaunchedStack, client: Client, sources: SourceServer, loss: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a way on which the first two answers are lost
    monkeypatch.setattr(client_module, "PATIENCE", 2.0)
    with losing_proxy(stack.url, loss, 2) as proxy:
        # When an image is submitted
        careful = Client(proxy.url)
        answer = careful.submit(sources.url("/map.jpg"), f"Lost by {loss.value}")
        careful.close()
    # Then the server has taken it each time, by one key, and there is one dataset
    assert proxy.lost == [202, 202]
    assert len(proxy.posts) == 3
    assert len(set(proxy.posts)) == 1
    assert named(client, f"Lost by {loss.value}") == [answer["dataset_id"]]


def test_the_command_makes_one_dataset_and_tells_how_to_ask_again(
    stack: LaunchedStack, client: Client, command: Command, sources: SourceServer
) -> None:
    url, name = sources.url("/map.jpg"), "Lost by the command"
    with losing_proxy(stack.url, Loss.CUT) as proxy:
        first = command("submit", url, "--name", name, "--quiet", server=proxy.url)
    assert (first.code, named(client, name)) == (0, [first.out.strip()]), first.err
    # And by the same key it can be repeated
    again = command("submit", url, "--name", name, "--quiet", "--idempotency-key", str(proxy.posts[0]))
    assert (again.code, again.out) == (0, first.out)
    assert named(client, name) == [first.out.strip()]


def test_where_no_answer_comes_the_key_is_told(
    stack: LaunchedStack, client: Client, sources: SourceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a way on which every answer is lost
    monkeypatch.setattr(client_module, "LOST_MOST", 0.0)
    url, name = sources.url("/map.jpg"), "Lost for good"
    with losing_proxy(stack.url, Loss.CUT, 100) as proxy:
        careful = Client(proxy.url)
        # When an image is submitted, then the error names the key
        with pytest.raises(Unreachable, match=r"The dataset may or may not have been accepted") as lost:
            careful.submit(url, name)
        careful.close()
    key = re.search(r"--idempotency-key ([0-9a-f]{32})", str(lost.value))
    assert key is not None
    assert set(proxy.posts) == {key[1]}
    # And by that key there is no second one
    assert [client.submit(url, name, key=key[1])["dataset_id"]] == named(client, name)
