"""Servers as they are: what a browser gets from them becomes tiles as well, and what nobody gets is said plainly."""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import ExitStack
from pathlib import Path

import brotli
import pytest
from backports import zstd

from tests.acceptance.conftest import Command, StartStack
from tests.acceptance.jobs import finish, submit
from tests.support.images import pictures
from tests.support.network import answers
from tests.support.network.answers import asked
from tests.support.network.certificates import Authority
from tests.support.network.sources import Behaviour, Exchange, SourceServer, serve
from tilewright.client import Client


@pytest.fixture(scope="module")
def picture(picture_folder: Path) -> bytes:
    """map.jpg, of some hundred kilobytes."""
    return (picture_folder / "map.jpg").read_bytes()


def by_range(refusal: Behaviour, plain: Behaviour) -> Behaviour:
    return lambda exchange: (refusal if "Range" in exchange.headers else plain)(exchange)


def all_ready(client: Client, sources: SourceServer, behaviours: dict[str, Behaviour]) -> None:
    """Submits all of them at once. Fails with those that do not become ready with the same tiles."""
    ids = {name: submit(client, sources.on(f"/{name}", behaviour), name) for name, behaviour in behaviours.items()}
    ends = {name: finish(client, dataset_id) for name, dataset_id in ids.items()}
    assert {name: end.get("error") for name, end in ends.items() if end["status"] != "ready"} == {}
    assert len({end["tile_info"]["tile_id"] for end in ends.values()}) == 1


def test_servers_that_refuse_ranges_are_asked_plainly(
    client: Client, sources: SourceServer, command: Command, picture: bytes
) -> None:
    # Given servers that refuse each request with a range, in their own ways, at once or after a while
    whole = answers.whole(picture, {"ETag": '"v1"'})
    refusals = {str(code): answers.status(code) for code in (400, 403, 404, 405, 500, 501, 503)}
    refusals["206"] = answers.status(206, {"ETag": '"v1"'}, picture)
    first = answers.breaking(picture, len(picture) // 3)
    behaviours = {f"at-once-{name}.jpg": by_range(refusal, whole) for name, refusal in refusals.items()} | {
        f"later-{name}.jpg": by_range(answers.sequence(first, refusal), whole) for name, refusal in refusals.items()
    }
    # When their files are submitted, then all become ready
    all_ready(client, sources, behaviours)
    # And so does one whose server says that it is busy for an hour, to who asks for a range and has no other connection
    all_ready(client, sources, {"at-once-busy.jpg": by_range(answers.status(503, {"Retry-After": "3600"}), whole)})
    # And can be inspected
    ended = command("inspect", sources.url("/at-once-403.jpg"), "--json")
    assert json.loads(ended.out)["report"]["source"] == {"format": "jpeg", "width": 1500, "height": 1100, "pages": 1}


def test_a_content_coding_is_undone_if_it_is_one(
    client: Client, sources: SourceServer, command: Command, picture: bytes
) -> None:
    # Given servers that name a content coding which was not requested
    bodies = {
        "gzip": gzip.compress(picture),
        "deflate": zlib.compress(picture),
        "br": brotli.compress(picture),
        "zstd": zstd.compress(picture),
        **dict.fromkeys(("aws-chunked", "UTF-8", "none", "binary"), picture),
    }
    all_ready(
        client,
        sources,
        {f"{name}.jpg": answers.ranges(body, headers={"Content-Encoding": name}) for name, body in bodies.items()},
    )
    ended = command("inspect", sources.url("/br.jpg"), "--json")
    assert json.loads(ended.out)["report"]["source"]["width"] == 1500
    # And a bomb is refused with a reason
    bomb = answers.whole(brotli.compress(picture[:2000] + bytes(200 << 20)), {"Content-Encoding": "br"})
    error = finish(client, submit(client, sources.on("/bomb.jpg", bomb)))["error"]
    assert (error["code"], error["retryable"]) == ("source_too_large", False)
    assert "unpacks to more than" in error["message"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_link_that_expires_is_replaced_and_the_download_goes_on(
    client: Client, sources: SourceServer, command: Command, picture: bytes, status: int
) -> None:
    # Given a signed link that expires after the first part
    third = len(picture) // 3
    old = sources.on(f"/old-{status}.jpg", answers.sequence(answers.breaking(picture, third), answers.status(status)))
    dataset_id = submit(client, old)
    error = finish(client, dataset_id)["error"]
    assert (error["code"], error["retryable"]) == ("source_expired", False)
    # When it is retried with a new link to the same file
    path = f"/new-{status}.jpg"
    new = sources.on(path, answers.ranges(picture))
    told = command("status", dataset_id)
    assert f"tilewright retry {dataset_id} --url URL" in told.err
    assert command("retry", dataset_id, "--url", new).code == 0
    # Then it becomes ready, the dataset's URL is the new one, and only samples of what had arrived came once more
    assert finish(client, dataset_id)["status"] == "ready"
    assert client.get(dataset_id)["url"] == new
    assert sources.headers[path][0]["Range"] == f"bytes={third}-"
    again = [span for headers in sources.headers[path] if (span := asked(headers)) and span[0] < third]
    assert sum((last or len(picture)) - first for first, last in again) < third + 200_000
    assert all(last is not None and last < third for _, last in again)


def test_a_new_link_to_another_file_begins_from_the_start(
    client: Client, sources: SourceServer, picture: bytes, tmp_path: Path
) -> None:
    # Given a part of a file, and a new link to another picture of the same length and ETag
    pictures.jpeg(tmp_path / "other.jpg", 900, 700)
    other = (tmp_path / "other.jpg").read_bytes().ljust(len(picture), b"\0")
    assert len(other) == len(picture)
    old = sources.on("/one.jpg", answers.sequence(answers.breaking(picture, len(picture) // 3), answers.status(403)))
    dataset_id = submit(client, old)
    assert finish(client, dataset_id)["error"]["code"] == "source_expired"
    # When it is retried with that link, then its tiles are those of the other picture alone
    client.retry(dataset_id, sources.on("/two.jpg", answers.ranges(other)))
    tile_id = finish(client, dataset_id)["tile_info"]["tile_id"]
    alone = submit(client, sources.on("/three.jpg", answers.whole(other)))
    assert finish(client, alone)["tile_info"]["tile_id"] == tile_id


def test_a_server_that_sets_a_cookie_and_redirects_gets_it_back(
    client: Client, sources: SourceServer, picture: bytes
) -> None:
    # Given a shared link as SharePoint has them: a cookie, and a redirect to a file that is not given without it
    def guest(exchange: Exchange) -> None:
        (answers.breaking(picture, 100_000) if exchange.headers["Cookie"] else answers.status(403))(exchange)

    sources.on("/guest.jpg", guest)
    shared = {"Set-Cookie": "FedAuth=77u/PD9; path=/; SameSite=None; HttpOnly", "Location": "/guest.jpg"}
    # When it is submitted, then it becomes ready
    dataset_id = submit(client, sources.on("/shared.jpg", answers.status(302, shared)))
    assert finish(client, dataset_id)["status"] == "ready"


def test_an_archive_that_fetches_from_tape_is_waited_for(
    start_stack: StartStack, sources: SourceServer, picture: bytes
) -> None:
    # Given a stack that retries nothing, and an archive that is ready at the fourth request
    client = Client(start_stack(TILEWRIGHT_RETRY_BASE_SECONDS="0.05", TILEWRIGHT_RETRY_LIMIT="0").url)
    staging = answers.status(202, {"Retry-After": "1"}, b"Staging")
    url = sources.on("/tape.jpg", answers.sequence(staging, staging, staging, answers.ranges(picture)))
    # When its file is submitted, then it becomes ready, and the status said what is waited for
    seen = list(client.watch(submit(client, url), pause=0.05))
    assert seen[-1]["status"] == "ready", seen[-1]
    assert any("as from a tape archive" in status.get("message", "") for status in seen)
    client.close()


def test_a_challenge_for_browsers_fails_at_once(client: Client, sources: SourceServer) -> None:
    # Given servers that want a browser to solve something
    challenges = {
        "aws": answers.status(202, {"x-amzn-waf-action": "challenge"}),
        "captcha": answers.status(405, {"x-amzn-waf-action": "captcha"}),
        "cloudflare": answers.status(403, {"cf-mitigated": "challenge"}, b"<html>Just a moment...</html>"),
        "busy": answers.status(503, {"cf-mitigated": "challenge", "Retry-After": "5"}),
    }
    # When their files are submitted, then each fails at the first request, and the reason helps
    for name, behaviour in challenges.items():
        error = finish(client, submit(client, sources.on(f"/challenge-{name}.jpg", behaviour)))["error"]
        assert (error["code"], error["retryable"]) == ("source_forbidden", False)
        assert "127.0.0.1 lets only browsers in" in error["message"]
        assert sources.requests[f"/challenge-{name}.jpg"] == 1


def test_what_is_wrong_with_tls_is_told_apart(start_stack: StartStack, picture: bytes, tmp_path: Path) -> None:
    # Given servers with certificates of an authority that the operator has added, all but one wrong in a way of its own
    authority, stranger = Authority.of("127.0.0.1"), Authority.of("127.0.0.1")
    said = {
        "expired": (authority.expired(), "has expired. Have the server's owner renew it"),
        "other name": (authority.other_name(), "is for another name"),
        "incomplete": (authority.intermediate(complete=False), "sends an incomplete chain"),
        "old": (authority.old(), "offers only versions of TLS before 1.2"),
        "unknown": (stranger.good(), "TILEWRIGHT_SOURCE_CA_BUNDLE"),
    }
    stack = start_stack(TILEWRIGHT_SOURCE_CA_BUNDLE=str(authority.bundle(tmp_path)))
    client = Client(stack.url)
    with ExitStack() as running:
        good = running.enter_context(serve(tls=authority.good()))
        servers = {name: running.enter_context(serve(tls=context)) for name, (context, _) in said.items()}
        # When a file of each is submitted
        ids = {name: submit(client, server.on("/a.jpg", answers.whole(picture))) for name, server in servers.items()}
        ready = submit(client, good.on("/a.jpg", answers.ranges(picture)))
        # Then each failure says what it is, at once
        for name, dataset_id in ids.items():
            error = finish(client, dataset_id)["error"]
            assert (error["code"], error["retryable"]) == ("source_unreachable", False), error
            assert said[name][1] in error["message"]
        # And the added authority is trusted
        assert finish(client, ready)["status"] == "ready"
    client.close()
