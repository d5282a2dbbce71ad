"""Faults inside statussvc are told as such, over gRPC and REST, and logged: no caller is blamed for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import Connection, text

from pipeline.logs import Repeats
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.repository import catalogue
from statussvc.rpc import interceptor
from tests.support.rigs import gateway_rig
from tests.support.rigs.status_rig import code_of, running
from tests.support.rigs.waiting import until


@pytest.fixture(autouse=True)
def forget_what_was_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptor, "_repeats", Repeats())


def told(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == "statussvc.rpc.interceptor"]


def test_a_fault_that_is_a_value_error_is_no_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(f"sqlite:///{tmp_path}/rows.sqlite3") as status,
        gateway_rig.serving(status.address, tmp_path / "storage") as gateway,
    ):
        # Given a service in which something is wrong, told each time in other words
        def fail(_connection: Connection, wanted: object) -> NoReturn:
            raise ValueError(f"not enough values to unpack at {id(wanted)}")

        monkeypatch.setattr(catalogue, "page", fail)
        # When users ask, then it says that it is its own fault
        for _ in range(3):
            assert code_of(lambda: status.users.ListDatasets(pb.ListDatasetsRequest())) is grpc.StatusCode.INTERNAL
        answer = gateway.get("/api/datasets")
        assert (answer.status_code, answer.json()["code"]) == (500, "unexpected_error")
        assert "unpack" not in answer.text
        # And its log has it, once, with where it was raised
        (record,) = told(caplog)
        assert record.message == "/tilewright.status.v1.StatusService/ListDatasets failed"
        assert record.exc_info[0] is ValueError
        # But what a caller has said wrongly stays the caller's, and is not logged
        bad = pb.ListDatasetsRequest(page_token="x")
        assert code_of(lambda: status.users.ListDatasets(bad)) is grpc.StatusCode.INVALID_ARGUMENT
        answer = gateway.get("/api/datasets?cursor=x")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert len(told(caplog)) == 1


def test_a_value_that_the_database_refuses_is_a_fault_as_well(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(postgres_url) as status,
        gateway_rig.serving(status.address, tmp_path / "storage") as gateway,
    ):
        # Given a statement whose value PostgreSQL refuses (SQLAlchemy's DataError)
        def fail(connection: Connection, *_: object) -> None:
            connection.execute(text("SELECT 1 / 0"))

        monkeypatch.setattr(catalogue, "create", fail)
        # When a dataset is posted, then nobody is told that it was the request
        body = {"name": "Earth", "url": "https://example.org/earth.jpg"}
        answer = gateway.post("/api/datasets", json=body)
        assert (answer.status_code, answer.json()["code"]) == (500, "unexpected_error")
        assert code_of(status.create) is grpc.StatusCode.INTERNAL
        (record,) = told(caplog)
        assert "division by zero" in str(record.exc_info[1])


@pytest.mark.parametrize(
    "request_",
    [
        pb.ListDatasetsRequest(query="x" * 201),
        pb.ListDatasetsRequest(states=[pb.STATE_READY] * 3000),
        pb.ListDatasetsRequest(states=[pb.STATE_READY] * 3000, query="abc"),
        pb.ListDatasetsRequest(states=[999]),  # type: ignore[list-item]  # as a caller may send it
    ],
    ids=["a long query", "many states", "many states and a query", "no state"],
)
def test_a_list_that_asks_for_what_nobody_needs_is_its_callers_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, request_: pb.ListDatasetsRequest
) -> None:
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as status:
        assert code_of(lambda: status.users.ListDatasets(request_)) is grpc.StatusCode.INVALID_ARGUMENT
        assert told(caplog) == []


def test_what_is_no_message_and_what_is_too_long_to_repeat_is_refused_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as status:
        # Given bytes that are no request, and an id of half a megabyte, which the answer would repeat
        with grpc.insecure_channel(status.address) as channel:
            call: Any = channel.unary_unary("/tilewright.status.v1.StatusService/GetDataset")
            assert code_of(lambda: call(b"\xff\xff\xff")) is grpc.StatusCode.INVALID_ARGUMENT
        long = pb.GetDatasetRequest(dataset_id="custom_" + "a" * 500_000)
        assert code_of(lambda: status.users.GetDataset(long)) is grpc.StatusCode.NOT_FOUND
        # Then nobody has to look into a log
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_only_so_many_watches_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptor, "WATCHES_AT_ONCE", 2)
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as status:
        dataset_id = status.create()
        request = pb.WatchDatasetRequest(dataset_id=dataset_id)
        watches = [status.users.WatchDataset(request) for _ in range(2)]
        for watch in watches:
            assert next(watch).status.dataset_id == dataset_id
        # Given as many as there may be, when another is asked for, then it is refused
        assert code_of(lambda: next(status.users.WatchDataset(request))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        # And is given once one has ended
        watches[0].cancel()
        until(
            lambda: code_of(lambda: next(status.users.WatchDataset(request))) is grpc.StatusCode.OK, "a further watch"
        )


def test_health_is_told_of_the_services_that_there_are_only(tmp_path: Path) -> None:
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as status, grpc.insecure_channel(status.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tilewright.status.v1.StatusService"):
            watch = health.Watch(health_pb2.HealthCheckRequest(service=service))
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            watch.cancel()
        # When somebody watches a service that there is not, then its name is not kept: the call ends
        unknown = health_pb2.HealthCheckRequest(service="x" * 500_000)
        assert code_of(lambda: next(health.Watch(unknown))) is grpc.StatusCode.NOT_FOUND


def test_only_so_many_streams_of_health_and_reflection_are_open_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptor, "OTHERS_AT_ONCE", 2)
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as status, grpc.insecure_channel(status.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        reflection: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        done = threading.Event()

        def ask() -> Any:
            def questions() -> Iterator[bytes]:
                yield b"\x3a\x00"  # list_services
                done.wait()

            return reflection(questions())

        # Given a stream of each
        watch, asking = health.Watch(health_pb2.HealthCheckRequest()), ask()
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert b"tilewright.status.v1" in next(asking)
        # When others are opened, then they are refused, and a plain check is not
        another = health_pb2.HealthCheckRequest()
        assert code_of(lambda: next(health.Watch(another))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert code_of(lambda: next(ask())) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert health.Check(another).status == health_pb2.HealthCheckResponse.SERVING
        # And one is given once another has ended
        watch.cancel()
        until(lambda: code_of(lambda: next(health.Watch(another))) is grpc.StatusCode.OK, "a further watch")
        asking.cancel()
        done.set()


def test_a_key_of_what_was_deleted_is_free_for_another_request(tmp_path: Path) -> None:
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as status:
        first = status.create(name="Earth", idempotency_key="k")
        status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=first))
        second = status.create(name="Mars", idempotency_key="k")
        assert second != first
        # And it names that one from now on
        assert status.create(name="Mars", idempotency_key="k") == second
        assert code_of(lambda: status.create(name="Venus", idempotency_key="k")) is grpc.StatusCode.ALREADY_EXISTS
