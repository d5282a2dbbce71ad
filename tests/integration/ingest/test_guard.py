"""The guard on the connection: what is checked is what is connected to."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import pytest

from ingest.download.fetch import Fetch, Fetched
from ingest.http.guard import Guard, look_up
from ingest.settings import IngestSettings
from pipeline.errors import StageError, Stopped
from pipeline.sources import Address, Allowed
from tests.support.network import answers
from tests.support.network.sources import TLS_AUTHORITY, Exchange, serve

IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(1000)


class Names:
    """A name service with fixed answers for the first label of each name."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.asked: Counter[str] = Counter()
        self._addresses = addresses

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked[host] += 1
        return [ip_address(address) for address in self._addresses[host.partition(".")[0]]]


LOOPBACK = Names(source=["127.0.0.1"], localhost=["127.0.0.1"])


def fetch(url: str, path: Path, guard: Guard, **settings: object) -> Fetched:
    made = IngestSettings.model_validate(settings)
    return Fetch(url, path, settings=made, guard=guard, progress=lambda done, total: None).run()


SPELLINGS = {
    "127.0.0.1": ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127%2e0.0.1", "①②⑦。0.1", "0x7f.1."],
    "0.0.0.0": ["0"],  # noqa: S104  an address to refuse, not one to listen on
    "::1": ["[::1]", "[0:0::1]"],
    "::ffff:7f00:1": ["[::ffff:127.0.0.1]"],
    "localhost": ["localhost", "LOCAL\thost", "loc\u00adalhost", "%6cocalhost", "ｌocalhost"],  # noqa: RUF001  the case
}


@pytest.mark.parametrize(("name", "host"), [(name, host) for name, hosts in SPELLINGS.items() for host in hosts])
def test_a_loopback_host_is_refused_in_every_spelling(name: str, host: str, tmp_path: Path) -> None:
    # Given a server on this machine
    with serve() as server:
        # When it is named in any spelling, with nothing allowed
        with pytest.raises(StageError) as refusal:
            fetch(f"http://{host}:{server.port}/a", tmp_path / "got", Guard(Allowed()))
        # Then it is refused, and was not asked
        assert refusal.value.code == "source_forbidden_address"
        assert not refusal.value.retryable
        assert refusal.value.message.startswith(f"{name} ")
        # Also if a public server redirects there, in all the ways that a browser follows
        for location in (f"http://{host}:{server.port}/a", f"//{host}:{server.port}/a", f"\\\\{host}:{server.port}\\a"):
            server.on("/away", answers.redirect(location.encode().decode("latin-1")))
            with pytest.raises(StageError) as refusal:
                fetch(server.url("/away", "source.test"), tmp_path / "got", Guard(Allowed(["source.test"]), LOOPBACK))
            assert refusal.value.code == "source_forbidden_address"
        assert "/a" not in server.requests


def test_a_name_that_leads_inside_is_refused_and_its_address_not_told(tmp_path: Path) -> None:
    guard = Guard(Allowed(), Names(source=["10.11.12.13"]))
    with pytest.raises(StageError) as refusal:
        fetch("http://source.test/a", tmp_path / "got", guard)
    assert refusal.value.code == "source_forbidden_address"
    assert "source.test" in refusal.value.message
    assert "10.11" not in refusal.value.message


def test_one_private_answer_among_public_ones_refuses_the_name(tmp_path: Path) -> None:
    # The public answer comes first: connecting to it would break the tests' own rule on sockets.
    guard = Guard(Allowed(), Names(source=["93.184.215.14", "127.0.0.1"]))
    with pytest.raises(StageError) as refusal:
        fetch("http://source.test/a", tmp_path / "got", guard)
    assert refusal.value.code == "source_forbidden_address"


def test_of_several_answers_those_the_operator_named_are_taken(tmp_path: Path) -> None:
    # Given a name with a private address of each kind, of which one is allowed
    names = Names(source=["::1", "127.0.0.1"])
    with serve() as server:
        server.on("/a", answers.whole(IMAGE))
        # When it is fetched, then the allowed one is asked
        url = server.url("/a", "source.test")
        assert fetch(url, tmp_path / "got", Guard(Allowed(["127.0.0.1"]), names)).bytes == len(IMAGE)


def test_the_next_address_is_tried_where_one_does_not_answer(tmp_path: Path) -> None:
    # Given a name of two addresses, at the first of which nobody listens
    names = Names(source=["127.0.0.2", "127.0.0.1"])
    with serve() as server:
        server.on("/a", answers.whole(IMAGE))
        # When it is fetched, then the second one gives the file
        url = server.url("/a", "source.test")
        assert fetch(url, tmp_path / "got", Guard(Allowed(["127.0.0.0/8"]), names)).bytes == len(IMAGE)


def test_a_name_is_looked_up_once_and_stays_in_the_host_header(tmp_path: Path) -> None:
    # Given a name that is allowed
    names = Names(source=["127.0.0.1"])
    with serve() as server:
        server.on("/a", answers.whole(IMAGE))
        # When it is fetched
        fetch(server.url("/a", "source.test"), tmp_path / "got", Guard(Allowed(["source.test"]), names))
        # Then it was resolved once, so that no second answer could lead elsewhere
        assert names.asked == {"source.test": 1}
        # And the server saw the name
        assert server.headers["/a"][0]["Host"] == f"source.test:{server.port}"


def test_a_name_that_is_rebound_inside_is_refused_at_the_redirect(tmp_path: Path) -> None:
    # Given a name that first leads to an allowed address and then to a private one
    replies = iter(["127.0.0.1", "10.0.0.1"])
    guard = Guard(Allowed(["127.0.0.1"]), lambda host, port: [ip_address(next(replies))])
    with serve() as server:
        server.on("/a", answers.redirect("/b"))
        # When its redirect to itself is followed
        with pytest.raises(StageError) as refusal:
            fetch(server.url("/a", "source.test"), tmp_path / "got", guard)
        # Then the second connection is refused
        assert refusal.value.code == "source_forbidden_address"
        assert refusal.value.message.startswith("source.test redirects to another URL")
        assert server.requests == {"/a": 1}


def test_a_name_without_an_address_is_unresolvable(tmp_path: Path) -> None:
    def unknown(host: str, port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for resolver in (unknown, Names(source=[])):
        with pytest.raises(StageError) as failure:
            fetch("http://source.test/a", tmp_path / "got", Guard(Allowed(), resolver))
        assert failure.value.code == "source_unresolvable"
        assert failure.value.message.startswith("The name source.test could not be resolved")


def test_a_look_up_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    # Given a name service that does not answer
    over = threading.Event()

    def slow(host: str, port: int) -> list[Address]:
        over.wait(30)
        return []

    # When a name is fetched, then the connect timeout covers the look-up too
    with pytest.raises(StageError) as failure:
        fetch("http://source.test/a", tmp_path / "got", Guard(Allowed(), slow), source_connect_timeout=0.1)
    assert failure.value.code == "source_unresolvable"
    over.set()


def test_a_server_that_takes_no_connection_is_timed_out(tmp_path: Path) -> None:
    # Given a listener whose queue is full
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for queued in (first, second):
            queued.setblocking(False)
            queued.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a"
        # When a file is fetched from it
        with pytest.raises(StageError) as failure:
            fetch(url, tmp_path / "got", Guard(Allowed(["127.0.0.1"])), source_connect_timeout=0.2)
    # Then it is given up
    assert failure.value.code == "source_timeout"
    assert "did not accept a connection" in failure.value.message


def test_tls_is_verified_for_the_name_though_the_address_is_connected_to(tmp_path: Path) -> None:
    # Given a server that can prove to be source.test, and another name for its address
    names = Names(source=["127.0.0.1"], other=["127.0.0.1"])
    guard = Guard(Allowed(["127.0.0.1"]), names)
    with serve(tls=True) as server:
        server.on("/a", answers.whole(IMAGE))
        # When it is fetched by its name, then the file is there, and the name was asked for in the handshake
        url = server.url("/a", "source.test")
        assert fetch(url, tmp_path / "got", guard, source_ca_bundle=TLS_AUTHORITY).bytes == len(IMAGE)
        assert server.server_names == ["source.test"]
        # When it is fetched by the other name, or its authority is unknown, then nothing is asked of it
        for name, bundle in [("other.test", TLS_AUTHORITY), ("source.test", None)]:
            with pytest.raises(StageError) as failure:
                fetch(server.url("/a", name), tmp_path / "got", guard, source_ca_bundle=bundle)
            assert failure.value.code == "source_unreachable"
            assert not failure.value.retryable
            assert "certificate" in failure.value.message
        assert server.requests == {"/a": 1}


@pytest.mark.parametrize("is_ended", [True, False], ids=["ended", "cut"])
def test_a_body_without_length_is_whole_only_where_tls_says_so(tmp_path: Path, is_ended: bool) -> None:
    # Given a body without length under TLS, and a connection that its server ends, or somebody on the way
    def answer(exchange: Exchange) -> None:
        answers.unknown_length(IMAGE)(exchange)
        if is_ended:
            cast("ssl.SSLSocket", exchange.connection).unwrap()

    guard = Guard(Allowed(["127.0.0.1"]), Names(source=["127.0.0.1"]))
    with serve(tls=True) as server:
        url = server.on("/a", answer).replace("127.0.0.1", "source.test")
        # When it is fetched, then it is taken where the server has ended it
        if is_ended:
            assert fetch(url, tmp_path / "got", guard, source_ca_bundle=TLS_AUTHORITY).bytes == len(IMAGE)
            return
        # And else it is a part of a file at best
        with pytest.raises(StageError) as failure:
            fetch(url, tmp_path / "got", guard, source_ca_bundle=TLS_AUTHORITY)
        assert (failure.value.code, failure.value.retryable) == ("source_incomplete", True)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nETag: x\r\n"], ids=["before", "within"])
def test_a_tls_connection_that_ends_before_the_body_is_incomplete(tmp_path: Path, start: bytes) -> None:
    guard = Guard(Allowed(["127.0.0.1"]), Names(source=["127.0.0.1"]))
    with serve(tls=True) as server:
        url = server.on("/a", answers.raw(start)).replace("127.0.0.1", "source.test")
        with pytest.raises(StageError) as failure:
            fetch(url, tmp_path / "got", guard, source_ca_bundle=TLS_AUTHORITY)
        assert (failure.value.code, failure.value.retryable) == ("source_incomplete", True)


def test_https_to_a_server_without_tls_is_unreachable(tmp_path: Path) -> None:
    with serve() as server:
        url = server.url("/a").replace("http:", "https:")
        with pytest.raises(StageError) as failure:
            fetch(url, tmp_path / "got", Guard(Allowed(["127.0.0.1"])))
    assert failure.value.code == "source_unreachable"
    assert failure.value.retryable


def test_a_stopped_fetch_leaves_a_tls_connection_too(tmp_path: Path) -> None:
    # Given a body under TLS that is held back
    gate = threading.Event()
    guard = Guard(Allowed(["127.0.0.1"]), Names(source=["127.0.0.1"]))
    with serve(tls=True) as server:
        url = server.on("/a", answers.gated(IMAGE, 10, gate)).replace("127.0.0.1", "source.test")
        job = Fetch(
            url,
            tmp_path / "got",
            settings=IngestSettings(source_ca_bundle=TLS_AUTHORITY),
            guard=guard,
            progress=lambda done, total: job.cancel() if done else None,
        )
        # When the fetch is closed after the first bytes, then it ends with Stopped, not with a part of the file
        with pytest.raises(Stopped):
            job.run()


def test_the_system_resolver_gives_each_address_once() -> None:
    assert ip_address("127.0.0.1") in look_up("localhost", 80)
    assert len(set(look_up("localhost", 80))) == len(look_up("localhost", 80))
