"""The REST client, against a scripted server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.rigs.rest import Answer, ScriptedGateway, scripted_gateway
from tests.support.rigs.servers import free_port
from tilewright.client import Client, NoAddress, NotSendable, Problem, Unreachable

ID = "custom_0123abcd"
WORKING = {"dataset_id": ID, "status": "processing", "progress": "downloading", "attempt": 1}
READY = {"dataset_id": ID, "status": "ready", "tile_info": {}}


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with scripted_gateway() as running:
        yield running


@pytest.fixture
def client(gateway: ScriptedGateway) -> Iterator[Client]:
    client = Client(gateway.url + "/")
    yield client
    client.close()


def test_submit_sends_only_the_fields_that_were_given(gateway: ScriptedGateway, client: Client) -> None:
    # Given a server that accepts
    gateway.on("POST /api/datasets", Answer(202, {"dataset_id": ID}))

    # When a dataset is submitted with some of the optional fields
    answer = client.submit("https://example.org/a.tif", "A", category="maps", subject=None, tile_size=512)

    # Then the body holds these and no others
    assert answer == {"dataset_id": ID}
    assert gateway.asked[0].body == {
        "url": "https://example.org/a.tif",
        "name": "A",
        "category": "maps",
        "tile_size": 512,
    }


def test_a_watch_gives_each_status_once_and_ends_with_the_final_one(gateway: ScriptedGateway, client: Client) -> None:
    # Given a status that stays the same for one poll, then becomes final
    gateway.on(
        f"GET /api/datasets/{ID}/status",
        Answer(200, WORKING, {"ETag": 'W/"1"'}),
        Answer(304, None, {"ETag": 'W/"1"'}),
        Answer(200, READY, {"ETag": 'W/"2"'}),
    )

    # When it is watched
    statuses = list(client.watch(ID, pause=0))

    # Then the unchanged poll gives nothing, and asked with the ETag it had
    assert statuses == [WORKING, READY]
    assert [asked.headers.get("If-None-Match") for asked in gateway.asked] == [None, 'W/"1"', 'W/"1"']


@pytest.mark.parametrize(
    ("hint", "pause"), [(None, 0.5), ("1", 1.0), ("3600", 5.0), ("soon", 0.5)], ids=["none", "1 s", "1 h", "no number"]
)
def test_the_servers_polling_hint_is_obeyed_within_reason(
    gateway: ScriptedGateway, client: Client, hint: str | None, pause: float
) -> None:
    # Given a status with a hint
    headers = {} if hint is None else {"Retry-After": hint}
    gateway.on(f"GET /api/datasets/{ID}/status", Answer(200, WORKING, headers))

    # When it is polled, then the pause to the next poll is the hint's, within the limit
    assert client.poll(ID).pause == pause


def test_a_watch_bears_a_server_that_is_away_for_a_moment(gateway: ScriptedGateway, client: Client) -> None:
    # Given a server that is out of service between two answers
    gateway.on(
        f"GET /api/datasets/{ID}/status",
        Answer(200, WORKING),
        Answer(503, {"code": "service_unavailable", "detail": "Away."}),
        Answer(200, READY),
    )

    # When it is watched, then the watch goes on to the end
    assert list(client.watch(ID, pause=0)) == [WORKING, READY]


def test_a_watch_of_a_server_that_never_answered_ends_at_once() -> None:
    # Given an address at which nobody listens
    client = Client(f"http://127.0.0.1:{free_port()}")

    # When it is watched, then it says so
    with pytest.raises(Unreachable, match="tilewright up"):
        next(client.watch(ID))
    client.close()


def test_all_pages_of_the_catalogue_are_read(gateway: ScriptedGateway, client: Client) -> None:
    # Given a catalogue of two pages
    gateway.on(
        "GET /api/datasets",
        Answer(200, {"datasets": [{"dataset_id": "b"}], "next_cursor": "c1"}),
        Answer(200, {"datasets": [{"dataset_id": "a"}], "next_cursor": None}),
    )

    # When all datasets of a filter are asked for
    found = [dataset["dataset_id"] for dataset in client.datasets(status="ready", q=None)]

    # Then both pages are there, and the second was asked for by its cursor
    assert found == ["b", "a"]
    assert [asked.target for asked in gateway.asked] == [
        "/api/datasets?status=ready",
        "/api/datasets?cursor=c1&status=ready",
    ]


def test_a_problem_tells_its_code_and_each_field(gateway: ScriptedGateway, client: Client) -> None:
    # Given a server that refuses the body
    problem = {
        "code": "invalid_request",
        "detail": "The request is invalid.",
        "errors": [{"pointer": "/url", "detail": "The URL has to begin with http:// or https://."}],
    }
    gateway.on("POST /api/datasets", Answer(422, problem))

    # When it is asked, then the error says all that
    with pytest.raises(Problem) as caught:
        client.submit("ftp://example.org", "A")
    assert caught.value.status == 422
    assert caught.value.code == "invalid_request"
    assert str(caught.value).splitlines() == [
        "The request is invalid.",
        "  url: The URL has to begin with http:// or https://.",
    ]


def test_a_field_that_the_detail_tells_already_is_not_told_again(gateway: ScriptedGateway, client: Client) -> None:
    detail = "String should have at least 1 character."
    problem = {"detail": f"name: {detail}", "errors": [{"pointer": "/name", "detail": detail}]}
    gateway.on("POST /api/datasets", Answer(422, problem))
    with pytest.raises(Problem) as caught:
        client.submit("https://example.org/a.tif", "")
    assert str(caught.value) == "name: String should have at least 1 character."


@pytest.mark.parametrize("key", ["", "a\nb", " a", "a\x7f"])
def test_a_key_that_cannot_be_sent_is_refused_before_anything_is_sent(
    gateway: ScriptedGateway, client: Client, key: str
) -> None:
    with pytest.raises(NotSendable, match="idempotency key"):
        client.submit("https://example.org/a.tif", "A", key=key)
    assert gateway.asked == []


@pytest.mark.parametrize("key", ["\u00e9\u6f22", "\udcff"])
def test_a_key_in_any_script_is_sent_as_its_bytes(gateway: ScriptedGateway, client: Client, key: str) -> None:
    gateway.on("POST /api/datasets", Answer(202, {"dataset_id": ID}))
    client.submit("https://example.org/a.tif", "A", key=key)
    sent = gateway.asked[0].headers["Idempotency-Key"]
    assert sent.encode("latin-1") == key.encode(errors="surrogateescape")


def test_an_argument_that_is_no_text_is_named(gateway: ScriptedGateway, client: Client) -> None:
    # An id is sent as its bytes, and unknown
    gateway.on("GET /api/datasets/%FF/status", Answer(404, {"detail": "No such dataset."}))
    with pytest.raises(Problem, match="No such dataset"):
        client.status("\udcff")
    # A search cannot be
    with pytest.raises(NotSendable, match="UTF-8"):
        client.page(q="\udcff")


def test_an_answer_that_is_no_problem_document_is_still_a_problem(gateway: ScriptedGateway, client: Client) -> None:
    # Given a server that is something else
    gateway.on(f"GET /api/datasets/{ID}", Answer(404, "<html>nope</html>"))

    # When it is asked, then the status is told
    with pytest.raises(Problem, match="404"):
        client.get(ID)


def test_a_page_where_json_should_be_is_no_tilewright_server(gateway: ScriptedGateway, client: Client) -> None:
    gateway.on(f"GET /api/datasets/{ID}", Answer(200, "<html>hello</html>"))
    with pytest.raises(Unreachable, match="is not that of a Tilewright server"):
        client.get(ID)


@pytest.mark.parametrize("server", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[::1"])
def test_what_is_no_address_of_a_server_is_named(server: str) -> None:
    with pytest.raises(NoAddress, match="not the address of a server"):
        Client(server)


def test_an_id_cannot_leave_its_place_in_the_path(gateway: ScriptedGateway, client: Client) -> None:
    # Given an id with a path in it
    gateway.on("GET /api/datasets/..%2F..%2Freadyz", Answer(404, {"detail": "No such dataset."}))

    # When it is asked for, then it stays one segment
    with pytest.raises(Problem, match="No such dataset"):
        client.get("../../readyz")


def test_a_connection_that_was_closed_while_it_lay_idle_is_no_failure() -> None:
    # Given a server that answers once on each connection, and hangs up when it is asked again
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve() -> None:
        for number in range(2):
            connection, _address = listener.accept()
            connections.append(connection)
            with connection, connection.makefile("rb") as asked:
                while asked.readline().strip():
                    pass
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"ok": true}')
                if number == 0:
                    asked.readline()

    with listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}")
        # When it is asked twice, then both are answered
        assert client.ready() == client.ready() == {"ok": True}
        client.close()
        thread.join(30)
        assert not thread.is_alive()
    assert len(connections) == 2
